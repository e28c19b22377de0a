// Withpostgres runs a command that needs a database:
//
//	go run github.com/rhaptos/sessiondb/sessioncache/sessiontest/withpostgres COMMAND [ARGUMENT…]
//
// It creates a throwaway, migrated database, and sets the environment variable
// DATABASE_URL to its connection string. Package sessiontest describes which server it
// uses. The exit code is the command's.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	_ "github.com/rhaptos/sessiondb/sessioncache/sessiontest/docker"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: withpostgres COMMAND [ARGUMENT…]")
		os.Exit(2)
	}
	err := run(os.Args[1], os.Args[2:])
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpostgres:", err)
		os.Exit(1)
	}
}

func run(command string, arguments []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return sessiontest.Use(ctx, func(_ *sessiontest.Server, database *sessiontest.Database) error {
		cmd := exec.CommandContext(ctx, command, arguments...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), "DATABASE_URL="+database.URL)
		return cmd.Run()
	})
}
