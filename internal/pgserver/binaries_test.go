package pgserver

import "testing"

func TestMajorVersion(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{
		"/usr/lib/postgresql/15/bin/initdb":          15,
		"/opt/homebrew/opt/postgresql@18/bin/initdb": 18,
		"/home/me/postgres/bin/initdb":               0,
	} {
		if version := majorVersion(path); version != want {
			t.Errorf("%s: %d; want %d", path, version, want)
		}
	}
}
