package node

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"otc-route-manager/otc/otctest"
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

// TestReadmeCheck: -check says what the page shows, but for the token's end.
func TestReadmeCheck(t *testing.T) {
	const id = "a4c7e915-2b6d-4f80-93ae-5d1c8b7f0e26"
	end := regexp.MustCompile(`token until \S+`)
	got := run(t, func(c *trial) {
		c.otc.AuthURL = "https://iam.eu-de.otc.t-systems.com/v3"
		c.server.ID, c.node.Spec.ProviderID = id, "openstack:///"+id
		c.node.Annotations[SubnetsAnnotation] = annotation("10.128.4.0/23")
		c.cfg.Tables = []string{otctest.TableID}
	})
	if shown := part(t, "README.md", "## -check"); !strings.Contains(end.ReplaceAllString(shown, ""), end.ReplaceAllString(got, "")) {
		t.Errorf("README.md shows\n%s\nwant\n%s", shown, got)
	}
}

// TestReadmeLog: the lines that the page shows are logged.
func TestReadmeLog(t *testing.T) {
	_, shown, _ := strings.Cut(part(t, "README.md", "## Log"), "```text\n")
	shown, _, _ = strings.Cut(shown, "```")
	marks := strings.NewReplacer("✅ Success:", "success", "ℹ️ Info:", "info", "⚠️ Warning:", "warning", "❌ Error:", "error")
	bubble(t, func(w *world) {
		a := w.up(1)
		a.see(func(f *Facts) { f.Annotation = annotation("10.128.2.0/23", "172.16.0.0/24") })
		a.annotate(annotation("172.16.0.0/24"))
		w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: 403, Times: -1})
		a.move("10.129.0.0/23")
		for said := range strings.Lines(marks.Replace(shown)) {
			start, _, _ := strings.Cut(strings.TrimSpace(said), "…")
			if !slices.ContainsFunc(a.told.all(), func(l line) bool { return strings.HasPrefix(l.text, start) }) {
				t.Errorf("README.md shows %q, want one of %v", said, a.told.all())
			}
		}
	})
}
