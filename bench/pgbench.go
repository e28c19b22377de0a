package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// references are what PostgreSQL can do, by its own benchmark in C. No target on
// PostgreSQL can be faster than the second.
func (pg *postgres) references() []reference {
	path, err := exec.LookPath("pgbench")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: there is no pgbench: its rows are left out")
		return nil
	}
	const columns = "FROM session_cache WHERE now() BETWEEN session_startutc AND session_endutc AND sessionid = "
	return []reference{
		{
			name: "pgbench, one key a query", operation: "get", server: pg.server,
			run: pg.pgbench(path, 1, fmt.Sprintf("\\set n random(0, %d)\nSELECT userdict %s md5(:n::text)::uuid;\n",
				len(pg.stored.ids)-1, columns)),
		},
		{
			name: "pgbench, 64 keys a query", operation: "get", server: pg.server,
			run: pg.pgbench(path, 64, "\\set n random(0, 999)\nSELECT sessionid, userdict "+columns+
				"ANY ((SELECT sessionids FROM batches WHERE batches.n = :n)::uuid[]);\n"),
		},
	}
}

var tps = regexp.MustCompile(`tps = ([0-9.]+)`)

// pgbench measures a script that looks up so many keys at a time, on as many
// connections as the targets have.
func (pg *postgres) pgbench(path string, keys float64, script string) func(context.Context, time.Duration) (float64, error) {
	return func(ctx context.Context, length time.Duration) (float64, error) {
		file := filepath.Join(os.TempDir(), fmt.Sprintf("sessiondb-bench-%d.sql", os.Getpid()))
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			return 0, err
		}
		defer func() { _ = os.Remove(file) }()
		seconds := max(1, int(length.Seconds()))
		output, err := exec.CommandContext(ctx, path, "-n", "-M", "prepared", "-f", file,
			"-c", strconv.Itoa(pg.pool), "-j", "2", "-T", strconv.Itoa(seconds), pg.url).CombinedOutput()
		if err != nil {
			return 0, fmt.Errorf("%w: %s", err, output)
		}
		match := tps.FindSubmatch(output)
		if match == nil {
			return 0, fmt.Errorf("no tps in %s", output)
		}
		transactions, err := strconv.ParseFloat(string(match[1]), 64)
		return transactions * keys, err
	}
}
