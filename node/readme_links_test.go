package node_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// anchors returns what the headings of a page may be linked by.
func anchors(t *testing.T, page string) map[string]bool {
	all := map[string]bool{"": true}
	for _, heading := range matches(`(?m)^#+ (.*)$`, read(t, page)) {
		s := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading), "")
		all[strings.ReplaceAll(s, " ", "-")] = true
	}
	return all
}

// TestReadmeLinks: what the pages link to is there, and so are the files that
// they name between backquotes or in a picture.
func TestReadmeLinks(t *testing.T) {
	const named = `(?m)(?:^|[ (\x60])((?:otc|node|metrics|\.make|\.ci|\.github)/[\w./]*\w|main\.go|manifests\.yaml|Makefile|LICENSE)`
	for _, page := range pages {
		text := read(t, page)
		for _, link := range matches(`\]\(([^):]*)\)`, text) {
			path, anchor, _ := strings.Cut(link, "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			switch target { // GitHub's own pages, beside the tree of files
			case "../../releases":
				continue
			case "../../actions/workflows/ci.yml", "../../actions/workflows/ci.yml/badge.svg":
				target = ".github/workflows/ci.yml"
			}
			info, err := os.Stat(filepath.Join("..", target))
			if err != nil || !filepath.IsLocal(target) || !info.IsDir() && !anchors(t, target)[anchor] {
				t.Errorf("%s: %s leads nowhere", page, link)
			}
		}
		for _, name := range matches(named, text) {
			if _, err := os.Stat(filepath.Join("..", name)); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
		if m := regexp.MustCompile(`/work\b|/tmp\b|/root\b|/home\b`).FindString(text); m != "" {
			t.Errorf("%s holds the path %s", page, m)
		}
	}
}

// TestFirstPage: it is read in five minutes. The rest belongs beside what it describes,
// one click away.
func TestFirstPage(t *testing.T) {
	page := read(t, "README.md")
	if words, lines := len(strings.Fields(page)), strings.Count(page, "\n"); words > 1600 || lines > 170 {
		t.Errorf("README.md has %d words in %d lines, want at most 1,600 in 170", words, lines)
	}
	for _, other := range pages[1:] {
		if !strings.Contains(page, "]("+other) {
			t.Errorf("README.md does not link to %s", other)
		}
	}
	for line := range strings.Lines(page) {
		if n := utf8.RuneCountInString(line); n > 201 && !strings.HasPrefix(line, "|") {
			t.Errorf("README.md: %d characters, want at most 200: %s", n-1, line)
		}
	}
}

// TestReadmeVersions: the first page names the versions that the tests are built from.
func TestReadmeVersions(t *testing.T) {
	for file, version := range map[string]string{
		"node/e2e/components/go.mod": `(?m)^\tk8s\.io/kubernetes v(\S+)`,
		"go.mod":                     `(?m)^go (\d+\.\d+)`,
	} {
		got := matches(version, read(t, file))
		if len(got) != 1 || !strings.Contains(below(t, "README.md", "## Requirements"), "| "+got[0]) {
			t.Errorf("README.md lacks %v of %s", got, file)
		}
	}
}

// TestReadmeNeverTouches: each sentence about what is never touched names tests,
// and they exist.
func TestReadmeNeverTouches(t *testing.T) {
	tests := ""
	for _, pattern := range []string{"../*_test.go", "../*/*_test.go"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			tests += read(t, file[len("../"):])
		}
	}
	for line := range strings.Lines(below(t, "node/README.md", "## What it will never touch")) {
		named := matches("`((?:Test|Fuzz)\\w+)`", line)
		if strings.HasPrefix(line, "- ") && named == nil {
			t.Errorf("no test holds: %s", line)
		}
		for _, name := range named {
			if !strings.Contains(tests, "\nfunc "+name+"(") {
				t.Errorf("there is no %s, want the test that holds: %s", name, line)
			}
		}
	}
}
