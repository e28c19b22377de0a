// Package proxy stands between clients and a server on this machine, as a longer
// network does: it delays what the server answers.
package proxy

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// Proxy forwards connections to a server. Its delay may change at any time.
type Proxy struct {
	server   string
	listener net.Listener
	delay    atomic.Int64
}

// Listen opens a port for clients of the server. Serve then forwards them.
func Listen(server string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &Proxy{server: server, listener: listener}, nil
}

// Address is where clients connect to.
func (p *Proxy) Address() string {
	return p.listener.Addr().String()
}

// SetDelay makes answers that arrive from now on wait for so long.
func (p *Proxy) SetDelay(delay time.Duration) {
	p.delay.Store(int64(delay))
}

// Serve forwards connections until Close, and then returns nil.
func (p *Proxy) Serve() error {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close() // the client sees a server that is not there
			continue
		}
		go func() {
			_, _ = io.Copy(server, client)
			_ = server.Close()
		}()
		go func() {
			p.copyDelayed(client, server)
			_ = client.Close()
		}()
	}
}

// Close refuses new connections. Open ones go on until one side closes them.
func (p *Proxy) Close() {
	_ = p.listener.Close()
}

// copyDelayed passes each piece on when the delay has passed since it arrived. It reads
// on meanwhile, so that the delay does not limit the throughput.
func (p *Proxy) copyDelayed(to io.Writer, from io.Reader) {
	type piece struct {
		due  time.Time
		data []byte
	}
	pieces := make(chan piece, 4096)
	go func() {
		defer close(pieces)
		for {
			data := make([]byte, 64<<10)
			n, err := from.Read(data)
			if n > 0 {
				pieces <- piece{time.Now().Add(time.Duration(p.delay.Load())), data[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for piece := range pieces {
		time.Sleep(time.Until(piece.due))
		if _, err := to.Write(piece.data); err != nil {
			return
		}
	}
}
