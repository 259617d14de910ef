package node_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"otc-route-manager/node"
	"otc-route-manager/node/config"
)

// read returns a file of the project, as its top level names it.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// section returns the part of README.md below a heading, up to the next one of
// the same level.
func section(t *testing.T, heading string) string {
	t.Helper()
	level, _, _ := strings.Cut(heading, " ")
	_, part, found := strings.Cut(read(t, "README.md"), "\n"+heading+"\n")
	if !found {
		t.Fatalf("README.md has no %q", heading)
	}
	part, _, _ = strings.Cut(part, "\n"+level+" ")
	return part
}

// rows returns the cells of all rows of the tables in text that begin with a
// word between backquotes.
func rows(text string) (all [][]string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "| `") {
			all = append(all, strings.Split(strings.Trim(line, "| "), " | "))
		}
	}
	return all
}

var span = regexp.MustCompile("`([^`\n]+)`")

// spans returns what stands between backquotes.
func spans(text string) (all []string) {
	for _, m := range span.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// code returns the README's code: the lines of its blocks of one kind, or what
// stands between backquotes.
func code(t *testing.T, kind string) []string {
	text := read(t, "README.md")
	blocks := regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")
	if kind == "" {
		return spans(blocks.ReplaceAllString(text, ""))
	}
	var all []string
	for _, m := range blocks.FindAllStringSubmatch(text, -1) {
		if m[1] == kind {
			all = append(all, strings.Split(strings.TrimSpace(m[2]), "\n")...)
		}
	}
	return all
}

// sources parses the program's files, without tests and pretend worlds.
func sources(t *testing.T, folders ...string) (files []*ast.File) {
	t.Helper()
	for _, folder := range folders {
		paths, err := filepath.Glob(filepath.Join("..", folder, "*.go"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v, %v", folder, paths, err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
	}
	return files
}

// literal returns the value of a string literal, or "".
func literal(e ast.Node) string {
	if b, ok := e.(*ast.BasicLit); ok && b.Kind == token.STRING {
		s, _ := strconv.Unquote(b.Value)
		return s
	}
	return ""
}

// same fails the test unless both have the same keys with the same values.
func same(t *testing.T, what string, readme, source map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(source)) {
		if got, ok := readme[name]; !ok || got != source[name] {
			t.Errorf("%s %s: README.md says %q, want %q", what, name, got, source[name])
		}
	}
	for name := range readme {
		if _, ok := source[name]; !ok {
			t.Errorf("%s %s: in README.md, but not in the code", what, name)
		}
	}
}

// variables returns the settings, each with its default or "required".
func variables() map[string]string {
	all := map[string]string{}
	for _, s := range config.Settings() {
		all[s.Name] = s.Default
		if s.Required {
			all[s.Name] = "required"
		}
	}
	return all
}

func TestReadmeSettings(t *testing.T) {
	want, got := variables(), map[string]string{}
	for _, row := range rows(section(t, "## Settings")) {
		name := spans(row[0])[0]
		got[name] = strings.Trim(row[1], "`")
		if want[name] == "" { // an override, or a second name
			got[name] = ""
		}
	}
	same(t, "variable", got, want)
}

// TestReadmeTargets: every command that the README names with make is a target,
// and every target is named.
func TestReadmeTargets(t *testing.T) {
	makefile := read(t, "Makefile")
	want, got := map[string]string{}, map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):.*## `).FindAllStringSubmatch(makefile, -1) {
		want[m[1]] = ""
	}
	got["help"] = "" // what make alone does
	for _, line := range slices.Concat(code(t, ""), code(t, "sh")) {
		line, _, _ = strings.Cut(line, "#")
		_, arguments, found := strings.Cut(" "+line+" ", " make ")
		for _, word := range strings.Fields(arguments) {
			if found && !strings.Contains(word, "=") {
				got[word] = ""
			}
		}
		for _, m := range regexp.MustCompile(`\b([A-Z][A-Z_]+)=`).FindAllStringSubmatch(line, -1) {
			ours := m[1] == "ONCE" || strings.Contains(makefile, "\n"+m[1]+" ?=")
			if _, setting := variables()[m[1]]; !ours && !setting {
				t.Errorf("README.md sets %s, which nothing reads", m[1])
			}
		}
	}
	same(t, "target", got, want)
}

func TestReadmeEvents(t *testing.T) {
	want, got := map[string]string{}, map[string]string{}
	for _, reason := range node.Reasons() {
		want[reason] = ""
	}
	for _, row := range rows(section(t, "## Events")) {
		got[spans(row[0])[0]] = ""
	}
	same(t, "Event", got, want)
}

// TestReadmePermissions: the policy in the README is what the calls need.
func TestReadmePermissions(t *testing.T) {
	action := regexp.MustCompile(`^(vpc|ecs):\w+:\w+$`)
	want, got, policy := map[string]string{}, map[string]string{}, map[string]string{}
	for _, f := range sources(t, "otc") {
		ast.Inspect(f, func(n ast.Node) bool {
			if s := literal(n); action.MatchString(s) {
				want[s] = ""
			}
			return true
		})
	}
	for _, row := range rows(section(t, "## Permissions")) {
		got[spans(row[0])[0]] = ""
	}
	same(t, "permission", got, want)
	var document struct {
		Version   string
		Statement []struct {
			Effect string
			Action []string
		}
	}
	if err := json.Unmarshal([]byte(strings.Join(code(t, "json"), "\n")), &document); err != nil {
		t.Fatal(err)
	}
	for _, a := range document.Statement[0].Action {
		policy[a] = ""
	}
	same(t, "policy", policy, want)
}
