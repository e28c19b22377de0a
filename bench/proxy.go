package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/rhaptos/sessiondb/bench/internal/proxy"
)

// startProxy starts a delaying proxy before a server. It runs in a process of its own,
// so that its work is not counted as the client's.
func startProxy(ctx context.Context, server string, delay time.Duration) (address string, stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-proxy", server, "-delay", delay.String())
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() error {
		err := cmd.Process.Kill()
		_ = cmd.Wait()
		return err
	}
	address, err = bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", nil, fmt.Errorf("the proxy did not start: %w", err)
	}
	return strings.TrimSpace(address), stop, nil
}

// runProxy prints the address it listens on, and serves until it is killed.
func runProxy(server string, delay time.Duration) error {
	p, err := proxy.Listen(server)
	if err != nil {
		return err
	}
	p.SetDelay(delay)
	fmt.Println(p.Address())
	return p.Serve()
}
