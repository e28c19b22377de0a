package pgserver

import (
	"os"
	"runtime"
	"slices"
	"strings"
)

// installers are the commands that install PostgreSQL's server on each system. A Linux is
// named by its ID in os-release(5), another system by its GOOS.
var installers = []struct {
	system    string
	command   string
	needsRoot bool
}{
	{"debian", "apt-get install postgresql", true},
	{"fedora", "dnf install postgresql-server", true},
	{"alpine", "apk add postgresql", true},
	{"darwin", "brew install postgresql@18", false},
	// On Windows, package sessiontest uses Docker.
	{"windows", "winget install Docker.DockerDesktop", false},
}

// InstallAdvice says how to install PostgreSQL's server on this machine. It is a command,
// if the system is known.
func InstallAdvice() string {
	osRelease, _ := os.ReadFile("/etc/os-release") // exists only on Linux
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

// distributions returns the values of ID and ID_LIKE.
func distributions(osRelease string) (ids []string) {
	for line := range strings.Lines(osRelease) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key == "ID" || key == "ID_LIKE" {
			ids = append(ids, strings.Fields(strings.Trim(value, `"'`))...)
		}
	}
	return ids
}
