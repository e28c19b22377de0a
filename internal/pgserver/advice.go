package pgserver

import (
	"os"
	"runtime"
	"slices"
	"strings"
)

// installers has the command that installs PostgreSQL's server on each system: a
// Linux by its ID in os-release(5), others by their GOOS.
var installers = []struct {
	system    string
	command   string
	needsRoot bool
}{
	{"debian", "apt-get install postgresql", true},
	{"fedora", "dnf install postgresql-server", true},
	{"alpine", "apk add postgresql", true},
	{"darwin", "brew install postgresql@18", false},
	// Package sessiontest starts no local server there.
	{"windows", "winget install Docker.DockerDesktop", false},
}

// InstallAdvice says how this user gets PostgreSQL's server on this machine: the
// command where the system is known.
func InstallAdvice() string {
	osRelease, _ := os.ReadFile("/etc/os-release") // only a Linux has it
	return installAdvice(runtime.GOOS, string(osRelease), os.Getuid() == 0)
}

func installAdvice(goos, osRelease string, root bool) string {
	systems := append(distributions(osRelease), goos)
	for _, installer := range installers {
		if !slices.Contains(systems, installer.system) {
			continue
		}
		if installer.needsRoot && !root {
			return "sudo " + installer.command
		}
		return installer.command
	}
	return "install PostgreSQL's server, with initdb in PATH"
}

// distributions returns what a Linux is, and what it is like.
func distributions(osRelease string) (ids []string) {
	for line := range strings.Lines(osRelease) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key == "ID" || key == "ID_LIKE" {
			ids = append(ids, strings.Fields(strings.Trim(value, `"'`))...)
		}
	}
	return ids
}
