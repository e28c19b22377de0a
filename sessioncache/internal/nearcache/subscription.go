package nearcache

import (
	"sync"

	"github.com/rhaptos/sessiondb/sid"
)

// topic is what all subscribers of one id share.
type topic struct {
	changed     chan struct{}
	subscribers int
}

// Subscribe returns a channel that is closed when a poll names id or empties memory, or
// when the feed stops working. It covers changes that commit after Subscribe has
// returned. To see a state and all later changes, subscribe first and look up the state
// then.
//
// The feed is polled until the channel is closed or stop is called. stop may be called
// several times. While [Cache.Working] is false the channel stays open; it is closed
// for such a change when the feed works again.
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

// notify closes the channels of the subscribers of ids. The caller holds mu.
func (p *poller) notify(ids []sid.ID) {
	for _, id := range ids {
		if t := p.topics[id]; t != nil {
			close(t.changed)
			delete(p.topics, id)
		}
	}
}

// notifyAll closes the channels of all subscribers. The caller holds mu.
func (p *poller) notifyAll() {
	for _, t := range p.topics {
		close(t.changed)
	}
	clear(p.topics)
}
