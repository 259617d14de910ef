package otc

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What the tables in README.md say of answers and reactions is what the policy
// does, and no code that it knows is left out.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	then := map[string][]Reaction{"pause": {LoginRefused}, "soon": {LoginRefused}, "slow": {Permanent, Quota}, "retry": {Transient}, "wait": {Throttled},
		"login": {Relogin}, "reread": {Rejected, Conflict}}
	quoted := regexp.MustCompile("`(?:(\\w+) ([a-z ]+): )?HTTP (\\d+)(?: ([A-Z][\\w.]+))?(?: \"(.*)…\")?`|`([A-Z]\\w+\\.\\d+|itemNotFound)`")
	answers := 0
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 {
			continue
		}
		var e Error
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			answers++
			if e.Code = m[6]; e.Code == "" {
				e = Error{Service: m[1], Operation: strings.ReplaceAll(m[2], " ", "_"), Code: m[4], Message: m[5]}
				e.Status, _ = strconv.Atoi(m[3])
			}
			if e.decide(); !slices.Contains(then[strings.TrimSpace(cells[3])], e.Reaction) {
				t.Errorf("%s: README.md says %s, the policy %s", m[0], cells[3], e.Reaction)
			}
		}
	}
	if answers < 60 {
		t.Errorf("got %d answers in README.md, want all", answers)
	}
	for _, r := range policy() {
		code := r.code
		if strings.HasPrefix(code, ".") {
			code = "APIGW" + code
		}
		if !strings.Contains(string(b), code) {
			t.Errorf("README.md says nothing of %s", code)
		}
	}
	for r := Permanent; r <= Quota; r++ {
		if !strings.Contains(string(b), "\n| `"+r.String()+"` |") {
			t.Errorf("README.md says nothing of %s", r)
		}
	}
}
