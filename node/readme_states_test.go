package node

import (
	"cmp"
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

// TestReadmeConditions: the table of conditions has the traits of each, and the
// reasons of readiness their names.
func TestReadmeConditions(t *testing.T) {
	lines := strings.Split(part(t, "README.md", "### How a route table stands"), "\n| ")
	health := part(t, "../metrics/README.md", "## Health")
	say := map[bool][]string{false: {"no", "0"}, true: {"yes", "1"}}
	for c := unread; c <= unsure; c++ {
		is := c.trait()
		want := []string{say[is.ready][0], say[is.inSync][1], cmp.Or(is.pass, "–")}
		row := strings.Split(lines[min(int(c)+2, len(lines)-1)], " | ")[2:5]
		if !slices.EqualFunc(row, want, strings.HasPrefix) {
			t.Errorf("README.md has %v, want %v in row %d", row, want, c+1)
		}
		if !strings.Contains(health, is.name) {
			t.Errorf("metrics/README.md lacks %q", is.name)
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
