package sessiontest

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestOutputFits80Columns(t *testing.T) {
	t.Parallel()
	const prefix = "withpostgres: sessiontest: "
	cause := errors.New("cause")
	for _, text := range []string{
		prefix + noServer(cause).Error(),
		prefix + noImage("postgres:18-alpine", cause).Error(),
		sharesTable,
	} {
		for line := range strings.Lines(text) {
			line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", strings.Repeat(" ", 8))
			if columns := utf8.RuneCountInString(line); columns > 80 {
				t.Errorf("%d columns: %q", columns, line)
			}
		}
	}
}
