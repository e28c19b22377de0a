package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// startProxy puts a distance between clients and a server on this machine: what
// the server answers comes later by the delay. It runs in a process of its own,
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
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		upstream, err := net.Dial("tcp", server)
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(upstream, client)
			_ = upstream.Close()
		}()
		go func() {
			copyLater(client, upstream, delay)
			_ = client.Close()
		}()
	}
}

// copyLater copies what comes from one side to the other, each piece when the
// delay has passed since it came.
func copyLater(to io.Writer, from io.Reader, delay time.Duration) {
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
				pieces <- piece{time.Now().Add(delay), data[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			return
		}
	}
}
