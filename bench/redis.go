package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/rhaptos/sessiondb/internal/pgserver"
	"github.com/rhaptos/sessiondb/sid"
)

// openRedis starts two servers, one that keeps all in memory and one that syncs
// every write to disk before it answers, as PostgreSQL does.
func openRedis(ctx context.Context, o options, stored sessionSet) (all targets, clean cleanups, err error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: there is no redis-server (apt-get install redis-server): its rows are left out")
		return all, clean, nil //nolint:nilerr // the other targets are measured without it
	}
	folder, err := os.MkdirTemp("", "sessiondb-bench-")
	if err != nil {
		return all, clean, err
	}
	clean.add(func() error { return os.RemoveAll(folder) })

	memory, err := startRedis(ctx, path, folder, "memory", o, &clean, "--appendonly", "no")
	if err != nil {
		return all, clean, err
	}
	synced, err := startRedis(ctx, path, folder, "synced", o, &clean, "--appendonly", "yes", "--appendfsync", "always")
	if err != nil {
		return all, clean, err
	}

	all.stores, err = redisTargets(ctx, memory, synced, stored, &clean)
	return all, clean, err
}

// redisTargets connects the clients, and stores the sessions in memory.
func redisTargets(ctx context.Context, memory, synced redisServer, stored sessionSet, clean *cleanups) ([]target, error) {
	pipelining, err := memory.rueidis(clean)
	if err != nil {
		return nil, err
	}
	if err := fillRedis(ctx, pipelining, stored); err != nil {
		return nil, err
	}
	pipeliningSynced, err := synced.rueidis(clean)
	if err != nil {
		return nil, err
	}
	pooled := redis.NewClient(&redis.Options{Addr: memory.address})
	clean.add(pooled.Close)

	cached, err := memory.clientSideCaching(stored, clean)
	if err != nil {
		return nil, err
	}

	set := func(client rueidis.Client) operation {
		return func(ctx context.Context, i int) error {
			user := rueidis.BinaryString(stored.newUser(i))
			return client.Do(ctx, client.B().Set().Key(sid.New().String()).Value(user).Nx().Ex(lifetime).Build()).Error()
		}
	}
	return []target{
		{name: "Redis, rueidis", server: memory.server, operations: map[string]operation{
			"get": func(ctx context.Context, i int) error {
				_, err := pipelining.Do(ctx, pipelining.B().Get().Key(stored.at(i)).Build()).AsBytes()
				return err
			},
			getHot: func(ctx context.Context, i int) error {
				_, err := pipelining.Do(ctx, pipelining.B().Get().Key(stored.at(i)).Build()).AsBytes()
				return err
			},
			"set": set(pipelining),
		}},
		{name: "Redis, go-redis", server: memory.server, operations: map[string]operation{
			"get": func(ctx context.Context, i int) error {
				_, err := pooled.Get(ctx, stored.at(i)).Bytes()
				return err
			},
			"set": func(ctx context.Context, i int) error {
				return pooled.SetNX(ctx, sid.New().String(), []byte(stored.newUser(i)), lifetime).Err()
			},
		}},
		cached,
		{name: "Redis, fsync always", server: synced.server, operations: map[string]operation{
			"set": set(pipeliningSynced),
		}},
	}, nil
}

// redisServer is a server and where to reach it.
type redisServer struct {
	server
	address string
}

// startRedis runs a server, behind the delaying proxy if a delay is asked for.
func startRedis(ctx context.Context, path, folder, name string, o options, clean *cleanups, settings ...string) (redisServer, error) {
	port, err := pgserver.FreePort()
	if err != nil {
		return redisServer{}, err
	}
	data := filepath.Join(folder, name)
	if err := os.Mkdir(data, 0o700); err != nil {
		return redisServer{}, err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{
		"--bind", "127.0.0.1", "--port", port, "--dir", data, "--save", "", "--daemonize", "no",
	}, settings...)...)
	if err := cmd.Start(); err != nil {
		return redisServer{}, err
	}
	clean.add(func() error {
		err := cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		return err
	})
	r := redisServer{server: server{pid: cmd.Process.Pid}, address: "127.0.0.1:" + port}
	client := redis.NewClient(&redis.Options{Addr: r.address, MaxRetries: 50, MinRetryBackoff: 10 * time.Millisecond})
	if err := errors.Join(client.Ping(ctx).Err(), client.Close()); err != nil {
		return r, fmt.Errorf("redis-server: %w", err)
	}
	if o.delay > 0 {
		at, stop, err := startProxy(ctx, r.address, o.delay)
		if err != nil {
			return r, err
		}
		clean.add(stop)
		r.address = at
	}
	return r, nil
}

func (r redisServer) rueidis(clean *cleanups) (rueidis.Client, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress:  []string{r.address},
		DisableCache: true, // every lookup asks the server, as everybody's does
	})
	if err != nil {
		return nil, err
	}
	clean.add(func() error { client.Close(); return nil })
	return client, nil
}

func fillRedis(ctx context.Context, client rueidis.Client, stored sessionSet) error {
	const batch = 1000
	for from := 0; from < len(stored.ids); from += batch {
		var commands rueidis.Commands
		for _, id := range stored.ids[from:min(from+batch, len(stored.ids))] {
			commands = append(commands, client.B().Set().Key(id.String()).Value(string(stored.user)).Ex(24*time.Hour).Build())
		}
		for _, answer := range client.DoMulti(ctx, commands...) {
			if err := answer.Error(); err != nil {
				return err
			}
		}
	}
	return nil
}
