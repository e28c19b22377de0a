package systemtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rhaptos/sessiondb/sessioncache"
)

// processVariable holds the configuration of a node that is a process of its own: this
// program, once more.
const processVariable = "SYSTEMTEST_NODE"

// request is what a node is asked for: one of these.
type request struct {
	Number  int
	Watch   *watch
	Unwatch *unwatch
	Change  *change
	Look    *look
	Occupy  time.Duration // every connection of the pool
	Metrics bool
}

type unwatch struct {
	Key    string
	Secret int64 // -1: all
}

type response struct {
	Number  int
	Outcome outcome
	Sight   sight
	Reads   readResult
	Metrics sessioncache.Metrics
	HasRead int64
}

func (n *node) respond(r request) (answer response) {
	answer.Number = r.Number
	switch {
	case r.Watch != nil:
		n.watch(*r.Watch)
	case r.Unwatch != nil:
		answer.Reads = n.unwatch(r.Unwatch.Key, r.Unwatch.Secret)
	case r.Change != nil:
		answer.Outcome = n.change(*r.Change)
	case r.Look != nil:
		answer.Sight = n.look(*r.Look)
	case r.Occupy != 0:
		n.occupy(r.Occupy)
	case r.Metrics:
		answer.Metrics, answer.HasRead = n.cache.Metrics(), n.hasRead.Load()
	}
	return answer
}

// runProcess is what a process of a node's own does, until its standard input ends.
func runProcess(config string) error {
	var c nodeConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	n, err := startNode(c)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	in := json.NewDecoder(os.Stdin)
	for {
		var r request
		if err := in.Decode(&r); err != nil {
			return nil //nolint:nilerr // the test has closed the pipe
		}
		respond := func() {
			answer := n.respond(r)
			mu.Lock()
			defer mu.Unlock()
			_ = out.Encode(answer) // whoever does not read it has gone
		}
		if r.Watch != nil || r.Unwatch != nil { // in order
			respond()
		} else {
			go respond()
		}
	}
}

// asker is a node, of this process or of another.
type asker interface {
	// ask returns false when the node has gone.
	ask(request) (response, bool)
}

func (n *node) ask(r request) (response, bool) {
	return n.respond(r), true
}

// process is a node that is a process of its own.
type process struct {
	name string
	cmd  *exec.Cmd
	exit chan struct{} // closed when it has gone

	mu      sync.Mutex
	more    *sync.Cond // of queue; Broadcast when closed
	queue   []request  // a process that is stopped does not read
	closed  bool
	number  int
	waiting map[int]chan response
}

// startProcess starts a node, which ends with the test.
func startProcess(t *testing.T, config nodeConfig) *process {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{name: config.Name, exit: make(chan struct{}), waiting: map[int]chan response{}}
	p.more = sync.NewCond(&p.mu)
	p.cmd = exec.Command(cmp.Or(config.program, os.Args[0]))
	p.cmd.Env = append(os.Environ(), processVariable+"="+string(text), clockVariable+"="+config.clock)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer in.Close()
		encoder := json.NewEncoder(in)
		for {
			r, ok := p.next()
			if !ok || encoder.Encode(r) != nil {
				return
			}
		}
	}()
	go func() {
		decoder := json.NewDecoder(out)
		for {
			var answer response
			if err := decoder.Decode(&answer); err != nil {
				break
			}
			p.mu.Lock()
			waiting := p.waiting[answer.Number]
			delete(p.waiting, answer.Number)
			p.mu.Unlock()
			if waiting != nil {
				waiting <- answer
			}
		}
		_ = p.cmd.Wait()
		close(p.exit)
	}()
	t.Cleanup(p.close)
	return p
}

func (p *process) next() (r request, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) == 0 && !p.closed {
		p.more.Wait()
	}
	if len(p.queue) == 0 {
		return r, false
	}
	r, p.queue = p.queue[0], p.queue[1:]
	return r, true
}

func (p *process) ask(r request) (response, bool) {
	answer := make(chan response, 1)
	p.send(r, answer)
	select {
	case a := <-answer:
		return a, true
	case <-p.exit:
		return response{}, false
	}
}

// send asks, and has the answer sent, unless answer is nil. Requests keep their order.
func (p *process) send(r request, answer chan response) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number++
	r.Number = p.number
	if answer != nil {
		p.waiting[r.Number] = answer
	}
	p.queue = append(p.queue, r)
	p.more.Signal()
}

// close ends the process.
func (p *process) close() {
	p.mu.Lock()
	p.closed = true
	p.more.Broadcast()
	p.mu.Unlock()
	p.signal(syscall.SIGCONT)
	select {
	case <-p.exit:
	case <-time.After(10 * time.Second):
		p.signal(syscall.SIGKILL)
		<-p.exit
	}
}

func (p *process) signal(signal syscall.Signal) {
	select {
	case <-p.exit: // the number may be another's by now
	default:
		_ = p.cmd.Process.Signal(signal)
	}
}

func (p *process) String() string {
	return fmt.Sprintf("%s (process %d)", p.name, p.cmd.Process.Pid)
}
