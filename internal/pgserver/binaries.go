// Package pgserver finds PostgreSQL's server binaries and helps to run them. It is for
// package sessiontest and for system tests, which crash and cut off servers.
package pgserver

import (
	"cmp"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Binaries returns the folder of PostgreSQL's server binaries: the one in PATH, or else
// the package manager's with the highest version.
func Binaries() (folder string, ok bool) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), true
		}
	}
	var installed []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin/initdb", // Debian
		"/opt/homebrew/opt/postgresql@*/bin/initdb",
		"/usr/local/opt/postgresql@*/bin/initdb", // Homebrew on Intel
	} {
		found, _ := filepath.Glob(pattern)
		installed = append(installed, found...)
	}
	if len(installed) == 0 {
		return "", false
	}
	newest := slices.MaxFunc(installed, func(a, b string) int {
		return cmp.Compare(majorVersion(a), majorVersion(b))
	})
	return filepath.Dir(newest), true
}

// majorVersion returns the 15 in /usr/lib/postgresql/15/bin/initdb, and the 18 in
// /opt/homebrew/opt/postgresql@18/bin/initdb.
func majorVersion(path string) int {
	folder := filepath.Base(filepath.Dir(filepath.Dir(path)))
	version, _ := strconv.Atoi(strings.TrimPrefix(folder, "postgresql@"))
	return version
}
