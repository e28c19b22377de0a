package sessioncache_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	codeBlock   = regexp.MustCompile("(?s)```.*?\n```")
	resultLink  = regexp.MustCompile(`\]\((?:\.\./)?(bench/results/[^)#]+)`)
	codeAndURLs = regexp.MustCompile("`[^`\n]*`|\\]\\([^)]*\\)")

	// figure is a number with a decimal point, or before ×, % or "times".
	figure = regexp.MustCompile(`\d[\d,]*\.\d+|\d[\d,]*\s*(?:×|%|times\b)`)

	// measured is a figure that only a measurement can give, with or without a link.
	measured = regexp.MustCompile(`[\d.]*\d\s*(?:×|%|times\b|µs)|\d+\.\d+ ms\b`)
)

// TestFiguresAreInTheResults compares figures in the README and in docs/ with the results
// of the measurements. The convention: a measured figure has a link to its file under
// bench/results/ in its paragraph, its table row or the head of its table, and is
// written as it stands in that file.
func TestFiguresAreInTheResults(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages, %v", err)
	}
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, paragraph := range strings.Split(codeBlock.ReplaceAllString(string(text), ""), "\n\n") {
			parts, head := []string{paragraph}, ""
			if strings.HasPrefix(paragraph, "|") {
				parts = strings.Split(paragraph, "\n")
				head = parts[0]
			}
			for _, part := range parts {
				checkFigures(t, page, part, slices.Concat(resultLink.FindAllStringSubmatch(part, -1), resultLink.FindAllStringSubmatch(head, -1)))
			}
		}
	}
}

func checkFigures(t *testing.T, page, text string, links [][]string) {
	t.Helper()
	var results string
	for _, link := range links {
		result, err := os.ReadFile(filepath.Join("..", link[1]))
		if err != nil {
			t.Errorf("%s links to a result that is not there: %v", page, err)
		}
		results += string(result) + "\n"
	}
	text = codeAndURLs.ReplaceAllString(text, "")
	if found := measured.FindString(text); found != "" && len(links) == 0 {
		t.Errorf("%s: %q has no link to a file under bench/results/:\n%s", page, found, text)
	}
	for _, found := range figure.FindAllString(text, -1) {
		number := strings.ReplaceAll(strings.TrimRight(found, " \n×%times"), ",", "")
		inResults := regexp.MustCompile(`(?:^|[^\d.])` + regexp.QuoteMeta(number) + `(?:[^\d.]|\.\D|$)`)
		if len(links) > 0 && !inResults.MatchString(results) {
			t.Errorf("%s: %q is not in the linked results:\n%s", page, found, text)
		}
	}
}
