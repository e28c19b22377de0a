package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/rhaptos/sessiondb/sessioncache"
)

type purgeCommand struct {
	Budget time.Duration `help:"Stop after this time; the next purge removes the rest (default, and 0s: no limit)."`
	Quiet  bool          `short:"q" xor:"output" help:"Print only errors."`
	JSON   bool          `xor:"output" help:"Print JSON, and no progress."`
}

func (purgeCommand) Help() string {
	return `It removes the expired sessions of all applications. With --json it prints

    {"removed": 1500, "oldest_expired": 0}

where oldest_expired is how long ago, in seconds, the oldest session that is left has expired (0 if none is left).

` + example("purge --budget 1m --quiet")
}

func (c *purgeCommand) Run(e *environment) error {
	if c.Budget < 0 {
		return usageError{errors.New("--budget must not be negative")}
	}
	return e.withCache(func(cache *cache) error {
		show := func(sessioncache.Progress) {}
		if !c.Quiet && !c.JSON { // the count is only for the progress
			var err error
			if show, err = e.progress(cache); err != nil {
				return err
			}
		}
		var options []sessioncache.PurgeOption
		var last sessioncache.Progress
		if !c.Quiet { // it costs a query a batch
			options = append(options, sessioncache.WithProgress(func(p sessioncache.Progress) {
				last = p
				show(p)
			}))
		}
		if c.Budget > 0 {
			options = append(options, sessioncache.WithBudget(c.Budget))
		}
		n, err := cache.Purge(e, options...)
		switch {
		case c.JSON: // an interrupted purge has removed these, too
			document := map[string]any{"removed": n, "oldest_expired": last.OldestExpired.Seconds()}
			if err := e.printJSON(document); err != nil {
				return err
			}
		case !c.Quiet:
			if e.terminal {
				e.print("\n")
			}
			if err == nil {
				e.print("%s removed, %s\n", count(n, "expired session"), left(last))
			}
		}
		if err != nil {
			return fmt.Errorf("%s removed, then: %w", count(n, "expired session"), err)
		}
		return nil
	})
}

// progress returns a function that shows how far a purge has come: as a bar on a terminal,
// otherwise as a line every ten seconds.
func (e *environment) progress(cache *cache) (func(sessioncache.Progress), error) {
	stats, err := cache.Stats(e)
	if err != nil {
		return nil, err
	}
	shown := time.Now()
	return func(p sessioncache.Progress) {
		all := max(stats.Expired, p.Rows) // more sessions may have expired meanwhile
		if e.terminal {
			e.control("\r")
			e.print("%s %d of %d, %s", bar(p.Rows, all), p.Rows, all, left(p))
			e.control("\x1b[K")
		} else if time.Since(shown) >= 10*time.Second {
			shown = time.Now()
			e.print("%d of %d expired sessions removed, %s\n", p.Rows, all, left(p))
		}
	}, nil
}

// left says what a purge has not removed.
func left(p sessioncache.Progress) string {
	if p.OldestExpired > 0 {
		return fmt.Sprintf("the oldest left expired %s ago", p.OldestExpired.Round(time.Second))
	}
	return "none left"
}

func bar(done, all int64) string {
	const width = 30
	filled := width
	if done < all {
		filled = int(width * done / all)
	}
	return "[" + strings.Repeat("█", filled) + strings.Repeat("░", width-filled) + "]"
}

type reindexCommand struct{}

func (reindexCommand) Help() string { return example("reindex") }

func (reindexCommand) Run(e *environment) error {
	return e.withCache(func(cache *cache) error {
		if err := cache.Reindex(e); err != nil {
			return err
		}
		e.print("The indexes of session_cache have been rebuilt.\n")
		return nil
	})
}

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (completionCommand) Help() string {
	return "Example:\n\n    eval \"$(sessionctl completion bash)\""
}

// Run prints a script for the shell to evaluate: eval "$(sessionctl completion bash)".
func (c *completionCommand) Run(e *environment, parsed *kong.Context) error { //nolint:unparam // kong wants an error
	var names []string
	words := map[string][]string{} // the directions of migrate, and flags
	for _, command := range parsed.Model.Children {
		names = append(names, command.Name)
		for _, direction := range command.Children {
			words[command.Name] = append(words[command.Name], direction.Name)
		}
		for _, flag := range flags(command) {
			words[command.Name] = append(words[command.Name], "--"+flag.Name)
		}
	}
	if c.Shell == "fish" {
		e.print("complete -c sessionctl -f\n")
		for _, command := range parsed.Model.Children {
			e.print("complete -c sessionctl -n __fish_use_subcommand -a %s -d %q\n", command.Name, command.Help)
			for _, direction := range command.Children {
				e.print("complete -c sessionctl -n '__fish_seen_subcommand_from %s' -a %s -d %q\n", command.Name, direction.Name, direction.Help)
			}
			for _, flag := range flags(command) {
				e.print("complete -c sessionctl -n '__fish_seen_subcommand_from %s' -l %s -d %q\n", command.Name, flag.Name, flag.Help)
			}
		}
		return nil
	}
	if c.Shell == "zsh" {
		e.print("autoload -U +X bashcompinit && bashcompinit\n")
	}
	e.print("_sessionctl() {\n\tlocal words=%q\n\tcase ${COMP_WORDS[1]} in\n", strings.Join(names, " "))
	for _, name := range names {
		if len(words[name]) > 0 {
			e.print("\t%s) [ $COMP_CWORD -gt 1 ] && words=%q ;;\n", name, strings.Join(words[name], " "))
		}
	}
	e.print("\tesac\n\tCOMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\ncomplete -F _sessionctl sessionctl\n")
	return nil
}

// flags returns the flags of a command and of its directions, each once.
func flags(command *kong.Node) (all []*kong.Flag) {
	seen := map[string]bool{}
	for _, node := range append([]*kong.Node{command}, command.Children...) {
		for _, flag := range node.Flags {
			if !seen[flag.Name] {
				seen[flag.Name] = true
				all = append(all, flag)
			}
		}
	}
	return all
}
