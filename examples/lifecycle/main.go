// The lifecycle example runs sessions with tokens and plain sessions from login to purge,
// on a throwaway PostgreSQL, and prints each step. It exits with 1 if a step fails. The
// steps are in package demo.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/rhaptos/sessiondb/internal/demo"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "lifecycle:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := demo.Run(ctx, os.Stdout); err != nil {
		return err
	}
	fmt.Print(`
Where to look next:
  README.md              how to use it in a service of your own
  queries/               the SQL behind every call
  internal/demo          these steps
  make webapp            logins in a browser
  make help              everything else
`)
	return nil
}
