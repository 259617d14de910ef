package node

import (
	"os"
	"strings"
	"testing"
)

// part returns the part of a page below a heading.
func part(t *testing.T, page, heading string) string {
	b, err := os.ReadFile(page)
	_, text, found := strings.Cut(string(b), "\n"+heading+"\n")
	if err != nil || !found {
		t.Fatalf("%s, %s: %v", page, heading, err)
	}
	text, _, _ = strings.Cut(text, "\n#")
	return text
}

// TestReadmeConditions: the table has a row for each condition, and the reasons of readiness its name.
func TestReadmeConditions(t *testing.T) {
	lines := strings.Split(part(t, "README.md", "### How a route table stands"), "\n| ")
	health := part(t, "../metrics/README.md", "## Health")
	for c := pending; c <= confirmed; c++ {
		if name, _, _ := strings.Cut(lines[min(int(c)+2, len(lines)-1)], " | "); name != c.String() {
			t.Errorf("README.md has %q in row %d, want %q", name, c+1, c)
		}
		if !strings.Contains(health, c.String()) {
			t.Errorf("metrics/README.md lacks %q", c)
		}
	}
}
