package sessionhttp

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Guesses tells how many tokens that no session has have come from where this
// request comes from, in the last hour or two. Nobody guesses 256 bits, but who
// sends many such tokens tries to, and a service may want to stop listening. A
// browser that comes back after its session has been purged sends one, too.
//
// It is this process's count. [WithRemoteAddress] says where a request comes from.
func (m *Manager[T]) Guesses(r *http.Request) int {
	return m.guesses.count(m.config.remote(r))
}

const (
	guessWindow    = time.Hour
	guessAddresses = 1 << 14 // in a window
)

// guesses counts by address, in a window that is going on and the one before it:
// so it forgets, and whoever has many addresses cannot fill the memory.
type guesses struct {
	mu             sync.Mutex
	began          time.Time
	current, older map[string]int
}

func (g *guesses) add(address string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn()
	if len(g.current) >= guessAddresses && g.current[address] == 0 {
		g.next()
	}
	g.current[address]++
	return g.current[address] + g.older[address]
}

func (g *guesses) count(address string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn()
	return g.current[address] + g.older[address]
}

// turn begins new windows as time passes. The caller holds mu.
func (g *guesses) turn() {
	switch age := time.Since(g.began); {
	case age >= 2*guessWindow:
		g.next()
		g.older = nil
	case age >= guessWindow:
		g.next()
	}
}

func (g *guesses) next() {
	g.began = time.Now()
	g.current, g.older = map[string]int{}, g.current
}

// remoteAddress is the default of [WithRemoteAddress].
func remoteAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	address = address.Unmap().WithZone("")
	if address.Is6() {
		if prefix, err := address.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return address.String()
}
