package node_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReadmeNeverTouches: each sentence about what is never touched names tests,
// and they exist.
func TestReadmeNeverTouches(t *testing.T) {
	exists := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && slices.Contains([]string{".git", ".cache", "vendor", "dist", "e2e"}, d.Name()) {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(b), -1) {
			exists[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sentences := 0
	for line := range strings.Lines(section(t, "## What it will never touch")) {
		if !strings.HasPrefix(line, "- ") {
			continue
		}
		sentences++
		named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(line, -1)
		if len(named) == 0 {
			t.Errorf("no test holds: %s", line)
		}
		for _, m := range named {
			if !exists[m[1]] {
				t.Errorf("there is no %s, want the test that holds: %s", m[1], line)
			}
		}
	}
	if sentences < 6 {
		t.Errorf("%d sentences, want those of R1 to R3 at least", sentences)
	}
}

// TestReadmeLinks: anchors, files and kubectl commands are there, and no path of
// somebody's machine.
func TestReadmeLinks(t *testing.T) {
	text := read(t, "README.md")
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		s := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors[strings.ReplaceAll(s, " ", "-")] = true
	}
	for _, m := range regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(text, -1) {
		if !anchors[m[1]] {
			t.Errorf("no heading for #%s", m[1])
		}
	}
	paths := regexp.MustCompile(`(?:^|[ (])((?:otc|node|metrics|\.make)/[\w./]*|(?:main\.go|manifests\.yaml|Makefile|LICENSE))`)
	for _, line := range slices.Concat(code(t, ""), code(t, "text")) {
		for _, m := range paths.FindAllStringSubmatch(line, -1) {
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Error(err)
			}
		}
	}
	scripts := read(t, "manifests.yaml") + read(t, "metrics/alerts.yaml") + read(t, ".make/wait") + read(t, ".make/values.sh")
	for _, line := range code(t, "") {
		m := regexp.MustCompile(`^(?:kubectl|oc) (?:-n otc-route-manager )?([a-z]+ [\w./-]+)`).FindStringSubmatch(line)
		if m != nil && !strings.Contains(scripts, m[1]) {
			t.Errorf("%s: nothing else names this command", line)
		}
	}
	if m := regexp.MustCompile(`\.\./|/work\b|/tmp\b|/root\b|/home\b`).FindString(text); m != "" {
		t.Errorf("README.md holds the path %s", m)
	}
}
