package nearcache

import (
	"sync"

	"github.com/rhaptos/sessiondb/sessioncache/sid"
)

// topic is what those share who have subscribed to one id.
type topic struct {
	changed     chan struct{}
	subscribers int
}

// Subscribe returns a channel that is closed when a poll tells of a change of id, or
// that anything may have changed, or when the feed stops working. It tells of changes
// that commit after Subscribe has returned, so whoever wants to know a state and its
// changes subscribes first and looks afterwards.
//
// It is closed once. The feed is polled until then, or until stop is called, which may
// be called more than once. While [Cache.Working] is false nothing is told; a change of
// then is told when the feed works again.
func (c *Cache[V]) Subscribe(id sid.ID) (changed <-chan struct{}, stop func()) {
	return c.poller.subscribe(id)
}

// Working tells whether a poll has been applied and none has failed since.
func (c *Cache[V]) Working() bool {
	return c.base.Load() != nil
}

func (p *poller) subscribe(id sid.ID) (changed <-chan struct{}, stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.topics[id]
	if t == nil {
		t = &topic{changed: make(chan struct{})}
		p.topics[id] = t
	}
	t.subscribers++
	p.start()
	return t.changed, sync.OnceFunc(func() { p.unsubscribe(id, t) })
}

func (p *poller) unsubscribe(id sid.ID, t *topic) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.subscribers--
	if t.subscribers == 0 && p.topics[id] == t {
		delete(p.topics, id)
	}
}

// notify tells those who have subscribed to one of the ids. The caller holds mu.
func (p *poller) notify(ids []sid.ID) {
	for _, id := range ids {
		if t := p.topics[id]; t != nil {
			close(t.changed)
			delete(p.topics, id)
		}
	}
}

// notifyAll tells all who have subscribed. The caller holds mu.
func (p *poller) notifyAll() {
	for _, t := range p.topics {
		close(t.changed)
	}
	clear(p.topics)
}
