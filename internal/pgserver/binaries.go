// Package pgserver finds PostgreSQL's server binaries and has them run: for
// package sessiontest, and for system tests that do worse things to a server.
package pgserver

import (
	"cmp"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// Binaries returns the folder of PostgreSQL's server binaries: the one in
// PATH, or else Debian's with the highest version.
func Binaries() (folder string, ok bool) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), true
		}
	}
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(installed) == 0 {
		return "", false
	}
	newest := slices.MaxFunc(installed, func(a, b string) int {
		return cmp.Compare(majorVersion(a), majorVersion(b))
	})
	return filepath.Dir(newest), true
}

// majorVersion reads the 15 in /usr/lib/postgresql/15/bin/initdb.
func majorVersion(path string) int {
	version, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return version
}
