package otctest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	iam     = "https://iam.eu-de.otc.test"
	vpc     = "https://vpc.eu-de.otc.test"
	ecs     = "https://ecs.eu-de.otc.test"
	tables  = vpc + "/v1/" + ProjectID + "/routetables"
	tbl     = tables + "/" + TableID
	servers = ecs + "/v1/" + ProjectID + "/cloudservers"
	one     = "a4c7e915-2b6d-4f80-93ae-5d1c8b7f0e26" // a server
	two     = "c81f3b60-7d25-49ea-b6f4-0a9e2d5c7138" // another one
)

// A bed is a Server and a client without any knowledge of the cloud.
type bed struct {
	*Server
	t     *testing.T
	ctx   context.Context
	token string
}

// newBed returns a bed that is logged in, with the requests forgotten.
func newBed(t *testing.T) *bed {
	b := &bed{Server: New(), t: t, ctx: t.Context()}
	b.login(Password)
	b.Reset()
	return b
}

// A got is an answer.
type got struct {
	t      *testing.T
	status int
	header http.Header
	body   string
	err    error // of the transport or of reading the body
}

func (b *bed) send(method, url, body string) got {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.ctx, method, url, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json;charset=utf8")
	if b.token != "" {
		r.Header.Set("X-Auth-Token", b.token)
	}
	resp, err := b.RoundTrip(r)
	if err != nil {
		return got{t: b.t, err: err}
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	return got{b.t, resp.StatusCode, resp.Header, string(text), err}
}

func (b *bed) get(url string) got { b.t.Helper(); return b.send(http.MethodGet, url, "") }

// put sends a delta: its words are add, mod or del, then destinations; all to server one.
func (b *bed) put(words string) got { b.t.Helper(); return b.send(http.MethodPut, tbl, delta(words)) }

func delta(words string) string {
	ops := map[string][]Route{}
	kind := ""
	for _, w := range strings.Fields(words) {
		if w == "add" || w == "mod" || w == "del" {
			kind = w
			continue
		}
		ops[kind] = append(ops[kind], ecsRoute(w))
	}
	body, err := json.Marshal(map[string]any{"routetable": map[string]any{"routes": ops}})
	if err != nil {
		panic(err)
	}
	return string(body)
}

func ecsRoute(destination string) Route { return Route{"ecs", destination, one, "mark"} }

func loginText(user, password, scope string) string {
	return fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,"password":%q,
		"domain":{"name":%q}}}},"scope":%s}}`, user, password, Account, scope)
}

func (b *bed) login(password string) got {
	b.t.Helper()
	g := b.send(http.MethodPost, iam+"/v3/auth/tokens", loginText(User, password, `{"project":{"name":"`+Project+`"}}`))
	if g.status == http.StatusCreated {
		b.token = g.header.Get("X-Subject-Token")
	}
	return g
}

// want checks status and the parts that the body must hold.
func (g got) want(status int, parts ...string) got {
	g.t.Helper()
	if g.err != nil || g.status != status {
		g.t.Errorf("got status %d, error %v, body %.300s; want status %d", g.status, g.err, g.body, status)
	}
	for _, p := range parts {
		if !strings.Contains(g.body, p) {
			g.t.Errorf("got body %.600s; want %s in it", g.body, p)
		}
	}
	return g
}

// without checks that the body does not hold parts.
func (g got) without(parts ...string) got {
	g.t.Helper()
	for _, p := range parts {
		if strings.Contains(g.body, p) {
			g.t.Errorf("got body %.600s; want no %s in it", g.body, p)
		}
	}
	return g
}

// at returns a member of the body, given by names and indexes.
func (g got) at(path ...string) any {
	g.t.Helper()
	var v any
	if err := json.Unmarshal([]byte(g.body), &v); err != nil {
		g.t.Fatalf("body %q: %v", g.body, err)
	}
	for _, p := range path {
		switch x := v.(type) {
		case map[string]any:
			v = x[p]
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i >= len(x) {
				g.t.Fatalf("no element %s of %v in %s", p, path, g.body)
			}
			v = x[i]
		default:
			g.t.Fatalf("no member %s of %v in %s", p, path, g.body)
		}
	}
	return v
}

// table checks the destinations in the table.
func (b *bed) table(want string) {
	b.t.Helper()
	var list []string
	for _, r := range b.Routes(TableID) {
		list = append(list, r.Destination)
	}
	if got := strings.Join(list, " "); got != want {
		b.t.Errorf("got table %q, want %q", got, want)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// fill puts n routes into the table.
func (b *bed) fill(n int) {
	var routes []Route
	for i := range n {
		routes = append(routes, ecsRoute(fmt.Sprintf("10.%d.%d.0/24", 128+i/250, i%250)))
	}
	b.SetRoutes(TableID, routes...)
}

// took returns how long f took.
func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}
