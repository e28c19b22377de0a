package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escapingWriter escapes characters that could control a terminal: control characters,
// and characters that change the direction of text. JSON stays valid, because there they
// occur only in strings. Each Write must hold whole characters.
type escapingWriter struct{ io.Writer }

func (w escapingWriter) Write(p []byte) (int, error) {
	var text bytes.Buffer
	for rest := p; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1: // not UTF-8: may be a control character of another encoding
			fmt.Fprintf(&text, `\x%02x`, rest[0])
		case r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Bidi_Control):
			fmt.Fprintf(&text, `\u%04x`, r)
		default:
			text.Write(rest[:size])
		}
		rest = rest[size:]
	}
	if _, err := w.Writer.Write(text.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (e *environment) print(format string, arguments ...any) {
	fmt.Fprintf(e.out, format, arguments...)
}

// control prints a control sequence to the terminal.
func (e *environment) control(sequence string) {
	_, _ = fmt.Fprint(e.raw, sequence)
}

// printJSON prints a document on one line.
func (e *environment) printJSON(document any) error {
	return json.NewEncoder(e.out).Encode(document)
}

var errNothingDone = errors.New("nothing was done")

// read reads the input, or returns errNothingDone when the context ends. Reading alone
// would not end with the context.
func read[T any](e *environment, from func(in io.Reader) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := from(e.in)
		done <- result{value, err}
	}()
	select {
	case result := <-done:
		return result.value, result.err
	case <-e.Done():
		if e.terminal {
			e.print("\n") // a new line after the ^C
		}
		var zero T
		return zero, errNothingDone
	}
}

// confirm asks whether to run command, unless yes is true. It returns an error if the
// answer is not yes.
func (e *environment) confirm(command string, yes bool, question func() (string, error)) error {
	if yes {
		return nil
	}
	if !e.terminal {
		return usageError{fmt.Errorf("%s needs --yes if there is no terminal", command)}
	}
	text, err := question()
	if err != nil {
		return err
	}
	e.print("%s [y/N] ", text)
	answer, err := read(e, func(in io.Reader) (string, error) { return bufio.NewReader(in).ReadString('\n') })
	if errors.Is(err, io.EOF) {
		e.print("\n") // Ctrl-D ends no line
	}
	if err != nil {
		return errNothingDone
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errNothingDone
}
