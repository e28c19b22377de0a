package pgserver

import "testing"

func TestInstallAdvice(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		goos, osRelease string
		root            bool
		want            string
	}{
		"Debian, root": {"linux", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n", true,
			"apt-get install postgresql"},
		"Debian":     {"linux", "ID=debian\n", false, "sudo apt-get install postgresql"},
		"Ubuntu":     {"linux", "ID=ubuntu\nID_LIKE=debian\n", false, "sudo apt-get install postgresql"},
		"Linux Mint": {"linux", "ID=linuxmint\nID_LIKE=\"ubuntu debian\"", true, "apt-get install postgresql"},
		"Fedora":     {"linux", "NAME=\"Fedora Linux\"\nID=fedora\n", false, "sudo dnf install postgresql-server"},
		"Rocky": {"linux", "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", true,
			"dnf install postgresql-server"},
		"Alpine, root":   {"linux", "NAME=\"Alpine Linux\"\nID=alpine\n", true, "apk add postgresql"},
		"Alpine":         {"linux", "ID='alpine'\r\n", false, "sudo apk add postgresql"},
		"macOS":          {"darwin", "", false, "brew install postgresql@18"},
		"macOS, root":    {"darwin", "", true, "brew install postgresql@18"},
		"Windows":        {"windows", "", false, "winget install Docker.DockerDesktop"},
		"Arch":           {"linux", "ID=arch\nBUG_REPORT_URL=https://debian\n", true, installAdvice("", "", true)},
		"no os-release":  {"linux", "", true, "install PostgreSQL's server, with initdb in PATH"},
		"another system": {"freebsd", "", true, "install PostgreSQL's server, with initdb in PATH"},
	} {
		if advice := installAdvice(c.goos, c.osRelease, c.root); advice != c.want {
			t.Errorf("%s: %q; want %q", name, advice, c.want)
		}
	}
	for _, installer := range installers {
		if line := "\tsudo " + installer.command; len(line) > 80-7 { // a tab is 8 columns
			t.Errorf("%q is wider than 80 columns", line)
		}
	}
}
