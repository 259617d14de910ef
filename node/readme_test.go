package node_test

import (
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
	"otc-route-manager/otc"
)

// pages are the project's documents.
var pages = []string{"README.md", "node/README.md", "node/SCALE.md", "node/config/README.md", "otc/README.md", "metrics/README.md",
	"metrics/TROUBLESHOOTING.md", ".github/INSTALL.md", ".github/CHANGELOG.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md"}

// read returns a file of the project, as its top level names it.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// below returns the part of a page below a heading, up to the next one.
func below(t *testing.T, page, heading string) string {
	t.Helper()
	_, part, _ := strings.Cut(read(t, page), "\n"+heading+"\n")
	part, _, _ = strings.Cut(part, "\n#")
	return part
}

// matches returns what the group of an expression matches.
func matches(expression, text string) (all []string) {
	for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

const span = "`([^`\n]+)`" // what stands between backquotes

// cells returns the first column of a table, name by name, with the second: the
// value of that name if it has one for each, else its text.
func cells(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		row := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| `") || len(row) < 2 {
			continue
		}
		names, values := matches(span, row[0]), matches(span, row[1])
		for i, name := range names {
			all[name] = strings.TrimRight(row[1], " |\n")
			if len(values) == len(names) {
				all[name] = values[i]
			}
		}
	}
	return all
}

// same fails the test unless a page has all that is wanted and nothing else, with
// the value that is wanted, if one is.
func same(t *testing.T, page string, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if is, ok := got[name]; !ok {
			t.Errorf("%s lacks %s", page, name)
		} else if value != "" && is != value {
			t.Errorf("%s says %q of %s, want %q", page, is, name, value)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s names %s, which is not there", page, name)
		}
	}
}

// set returns names without values.
func set(names ...string) map[string]string {
	all := map[string]string{}
	for _, name := range names {
		all[name] = ""
	}
	return all
}

// settings returns each setting with its default, or "required".
func settings() map[string]string {
	all := map[string]string{}
	for _, s := range config.Settings() {
		all[s.Name] = s.Default
		if s.Required {
			all[s.Name] = "required"
		}
	}
	return all
}

// TestReadmeTables: these tables say what the program's own say.
func TestReadmeTables(t *testing.T) {
	codes := map[string]string{}
	for _, e := range config.ExitCodes() {
		codes[strconv.Itoa(e.Code)] = e.Meaning
	}
	permissions := set(slices.Collect(maps.Values(otc.Permissions()))...)
	common, further := below(t, "README.md", "## Configuration"), below(t, "node/config/README.md", "## Further settings")
	for page, both := range map[string]struct {
		text string
		want map[string]string
	}{
		"README.md, node/config/README.md": {common + further, settings()},
		"node/config/README.md":            {below(t, "node/config/README.md", "## Exit codes"), codes},
		"metrics/TROUBLESHOOTING.md":       {below(t, "metrics/TROUBLESHOOTING.md", "## Events"), set(node.Reasons()...)},
		"README.md":                        {below(t, "README.md", "## Permissions"), permissions},
	} {
		same(t, page, cells(both.text), both.want)
	}
	for name := range cells(common) {
		if _, ok := cells(further)[name]; ok {
			t.Errorf("%s is on the first page and in node/config/README.md, want one", name)
		}
	}
	same(t, "the policy", set(matches(`"(\w+:\w+:\w+)"`, below(t, "README.md", "## Permissions"))...), permissions)
}

// TestReadmeTargets: what a page has make do is a target, every target is named,
// and what is set before or behind it is read.
func TestReadmeTargets(t *testing.T) {
	makefile := read(t, "Makefile")
	got := set("help") // which make alone does
	for _, page := range pages {
		for _, command := range matches("(?m)(?:`|^)((?:[A-Z_]+=\\S+ )*make [^`#\n]+)", read(t, page)) {
			for _, word := range strings.Fields(command) {
				name, _, isSet := strings.Cut(word, "=")
				_, isSetting := settings()[name]
				switch {
				case !isSet && word != "make":
					got[word] = ""
				case isSet && name != "ONCE" && !isSetting && !strings.Contains(makefile, "\n"+name+" ?="):
					t.Errorf("%s sets %s, which nothing reads", page, name)
				}
			}
		}
	}
	same(t, "the documentation", got, set(matches(`(?m)^([a-z0-9-]+):.*## `, makefile)...))
}
