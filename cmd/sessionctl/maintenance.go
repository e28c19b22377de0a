package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/rhaptos/sessiondb/sessioncache"
)

type purgeCommand struct {
	Budget time.Duration `help:"Stop after this time. The next purge removes the rest."`
	Quiet  bool          `short:"q" xor:"output" help:"Print only errors."`
	JSON   bool          `xor:"output" help:"Print JSON, and no progress."`
}

func (purgeCommand) Help() string {
	return "With --json it prints how many sessions it removed:\n\n    {\"removed\": 1500}"
}

func (c *purgeCommand) Run(e *environment) error {
	return e.withCache(func(cache *cache) error {
		var options []sessioncache.PurgeOption
		if c.Budget > 0 {
			options = append(options, sessioncache.WithBudget(c.Budget))
		}
		progress := !c.Quiet && !c.JSON
		if progress { // the count is only for the progress
			report, err := c.report(e, cache)
			if err != nil {
				return err
			}
			options = append(options, sessioncache.WithProgress(report))
		}
		n, err := cache.Purge(e, options...)
		if e.terminal && progress {
			e.print("\n")
		}
		if err != nil {
			return fmt.Errorf("%d expired sessions removed, then: %w", n, err)
		}
		switch {
		case c.JSON:
			return e.printJSON(map[string]int64{"removed": n})
		case !c.Quiet:
			e.print("%d expired sessions removed\n", n)
		}
		return nil
	})
}

// report returns a function that shows the progress: as a bar on a terminal, otherwise as
// a line every ten seconds.
func (c *purgeCommand) report(e *environment, cache *cache) (func(sessioncache.Progress), error) {
	stats, err := cache.Stats(e)
	if err != nil {
		return nil, err
	}
	last := time.Now()
	return func(p sessioncache.Progress) {
		all := max(stats.Expired, p.Rows) // more sessions may have expired meanwhile
		left := "none left"
		if p.OldestExpired > 0 {
			left = fmt.Sprintf("the oldest left expired %s ago", p.OldestExpired.Round(time.Second))
		}
		if e.terminal {
			e.control("\r")
			e.print("%s %d of %d, %s", bar(p.Rows, all), p.Rows, all, left)
			e.control("\x1b[K")
		} else if time.Since(last) >= 10*time.Second {
			last = time.Now()
			e.print("%d of %d expired sessions removed, %s\n", p.Rows, all, left)
		}
	}, nil
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

func (reindexCommand) Run(e *environment) error {
	return e.withCache(func(cache *cache) error { return cache.Reindex(e) })
}

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints a script for the shell to evaluate: eval "$(sessionctl completion bash)".
func (c *completionCommand) Run(e *environment, parsed *kong.Context) error { //nolint:unparam // kong wants an error
	var names []string
	flags := map[string][]string{}
	for _, command := range parsed.Model.Children {
		names = append(names, command.Name)
		for _, flag := range command.Flags {
			flags[command.Name] = append(flags[command.Name], "--"+flag.Name)
		}
	}
	if c.Shell == "fish" {
		e.print("complete -c sessionctl -f\n")
		for _, command := range parsed.Model.Children {
			e.print("complete -c sessionctl -n __fish_use_subcommand -a %s -d %q\n", command.Name, command.Help)
			for _, flag := range command.Flags {
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
		if len(flags[name]) > 0 {
			e.print("\t%s) [ $COMP_CWORD -gt 1 ] && words=%q ;;\n", name, strings.Join(flags[name], " "))
		}
	}
	e.print("\tesac\n\tCOMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\ncomplete -F _sessionctl sessionctl\n")
	return nil
}
