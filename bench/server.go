package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// server is a server process, with whatever children it has.
type server struct {
	pid int
}

// tick is the unit in which Linux's /proc counts CPU time: USER_HZ, which is 100
// on every architecture that Go runs on.
const tick = time.Second / 100

// cpu is the CPU time of the server's processes so far, those of its children
// that have ended included.
func (s server) cpu() time.Duration {
	var total time.Duration
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		pid, parent, used := readStat(path)
		if pid == s.pid || parent == s.pid {
			total += used
		}
	}
	return total
}

// readStat reads a process's own CPU time and that of its children it has waited
// for from /proc/PID/stat, as proc(5) lays it out. A process that is gone by now
// has none.
func readStat(path string) (pid, parent int, used time.Duration) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, 0
	}
	// The name, in parentheses, may hold anything.
	pid, _ = strconv.Atoi(string(data[:bytes.IndexByte(data, ' ')]))
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	number := func(field int) int { // as numbered in proc(5), from 1
		n, _ := strconv.Atoi(string(fields[field-3]))
		return n
	}
	const ppid, utime, cstime = 4, 14, 17
	for field := utime; field <= cstime; field++ {
		used += time.Duration(number(field)) * tick
	}
	return pid, number(ppid), used
}
