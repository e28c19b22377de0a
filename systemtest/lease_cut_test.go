package systemtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// leaseAnswersCut has logouts on one server end without an answer, after the commit. The
// client tries again elsewhere, where there is nothing left to end.
func leaseAnswersCut(t *testing.T) leaseEnvironment {
	const logouts = 20
	env := leaseOn(startWithTable(t))
	var cutter cutter
	n, err := startNode(nodeConfig{
		Name: "test, cut off after each commit", Timeout: 10 * time.Second, Lease: env.lease, dial: cutter.dial,
		URLs:     []string{env.admin + "&default_query_exec_mode=exec"}, // one round trip per statement
		MaxConns: logouts,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.pool.Close)
	env.pause = 50 * time.Millisecond
	env.atLeast = 3
	env.disturb = func(ctx context.Context, r *leaseRun) error {
		cuts := cutter.cuts.Load()
		sessions := append(r.createHot(logouts/2, true), r.createHot(logouts/2, false)...)
		defer r.retireSoon(sessions...)
		var all sync.WaitGroup
		for _, s := range sessions {
			all.Go(func() {
				kinds := []changeKind{"Delete", "Delete in Tx", "Delete in WithTx", "DeleteUserSessions"}
				if s.isToken() {
					kinds = []changeKind{"Revoke", "DeleteSession", "DeleteUserSessions"}
				}
				c := change{Kind: kinds[rand.IntN(len(kinds))]}
				if o := r.changeOn(n, s, c); !o.Unknown {
					r.t.Errorf("%s was answered", c.Kind)
				}
				var there bool
				err := r.admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM session_cache WHERE sessionid = $1)", s.id).Scan(&there)
				if err != nil || there {
					r.t.Errorf("%s was cut off before its commit, %v", c.Kind, err)
				}
				if o := r.change(s, c); o.Unknown {
					r.t.Errorf("%s, for the second time, was not answered", c.Kind)
				}
			})
		}
		if all.Wait(); cutter.cuts.Load()-cuts != int64(len(sessions)) {
			return fmt.Errorf("%d answers were cut; want %d", cutter.cuts.Load()-cuts, len(sessions))
		}
		return nil
	}
	return env
}

// cutter makes connections that end instead of telling that a statement which ends
// sessions has been committed.
type cutter struct{ cuts atomic.Int64 }

func (c *cutter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &cutConn{Conn: conn, cuts: &c.cuts}, nil
}

type cutConn struct {
	net.Conn
	cuts   *atomic.Int64
	ending atomic.Bool // a statement that ends sessions is under way
}

func (c *cutConn) Write(message []byte) (int, error) {
	c.ending.Store(bytes.Contains(message, []byte("DELETE FROM session_cache")) || bytes.Contains(message, []byte("commit")))
	return c.Conn.Write(message)
}

// readyIdle is ReadyForQuery outside a transaction: what was to commit has.
var readyIdle = []byte{'Z', 0, 0, 0, 5, 'I'}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil || !c.ending.Load() || !bytes.HasSuffix(b[:n], readyIdle) {
		return n, err
	}
	c.cuts.Add(1)
	_ = c.Close()
	return 0, io.EOF
}
