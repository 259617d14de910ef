package node

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"otc-route-manager/otc/otctest"
)

// A tap is the wire of one worker. It knows what that worker has read and judges
// what it sends, by the rules and without the program's own code.
type tap struct {
	m     *model
	w     *actor
	read  map[string][]byte    // the last GET's body, by table
	fresh map[string]time.Time // when it was read; zero: before the last PUT
	since map[string]time.Time // when it was read
}

func (t *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	table, ok := strings.CutPrefix(r.URL.Path, "/v1/"+otctest.ProjectID+"/routetables/")
	if ok && r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		t.sends(table, body)
	}
	t.m.stirs()
	began := time.Now()
	resp, err := t.m.Server.RoundTrip(r)
	good := err == nil && resp.StatusCode/100 == 2 && resp.StatusCode != http.StatusAccepted
	if ok && good && r.Method == http.MethodGet {
		good = t.reads(table, resp)
	}
	if !good || time.Since(began) > slowCall {
		t.m.mu.Lock()
		t.w.trouble = time.Now()
		t.m.mu.Unlock()
	}
	t.m.stirs()
	return resp, err
}

// stirs wakes who waits for something to happen.
func (m *model) stirs() {
	select {
	case m.stir <- struct{}{}:
	default:
	}
}

// reads notes what a worker has read, and when that first showed all it wants. It
// reports whether the answer got through.
func (t *tap) reads(table string, resp *http.Response) bool {
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), ending{err}))
	if err != nil {
		return false
	}
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.read[table], t.fresh[table], t.since[table] = body, time.Now(), time.Now()
	missing := func(p netip.Prefix) bool {
		return !bytes.Contains(body, fmt.Appendf(nil, `"destination":%q,"nexthop":%q`, p, t.w.id))
	}
	if t.w.confirmed[table].IsZero() && !slices.ContainsFunc(t.w.wants, missing) {
		t.w.confirmed[table] = time.Now()
	}
	return true
}

// ending is a reader that has come to its end, a good or a bad one.
type ending struct{ err error }

func (e ending) Read([]byte) (int, error) { return 0, cmp.Or(e.err, io.EOF) }

// sends notes a PUT and judges it.
func (t *tap) sends(table string, body []byte) {
	var put order
	_ = json.Unmarshal(body, &put)
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.judge(table, body)
	t.w.sent, t.fresh[table] = time.Now(), time.Time{}
	delete(t.w.confirmed, table)
	for _, r := range slices.Concat(put.RouteTable.Routes.Mod, put.RouteTable.Routes.Del) {
		at := place{table, r.Destination}
		t.m.flying[at] = time.Now()
		if time.Since(t.m.foreign[at].since) < 2*t.m.maxStale() {
			delete(t.m.foreign, at) // written since the worker's read: the API knows no precondition that would save it
		}
	}
}

// judge checks a PUT against R1, R2, R3, R6 and R11. The model is locked.
func (t *tap) judge(table string, body []byte) {
	var put order
	var got struct {
		RouteTable struct{ Routes []otctest.Route }
	}
	seen := t.read[table]
	if json.Unmarshal(body, &put) != nil || json.Unmarshal(seen, &got) != nil {
		t.m.note("%s sent %s having read %s", t.w.name, body, seen)
		return
	}
	known := map[string]otctest.Route{}
	for _, r := range got.RouteTable.Routes {
		known[r.Destination] = r
	}
	ops, named := put.RouteTable.Routes, map[string]bool{}
	fault := func(rule string, r otctest.Route) { t.m.note("%s: %s sent %+v in %s", rule, t.w.name, r, body) }
	for _, r := range slices.Concat(ops.Add, ops.Mod, ops.Del) {
		p, err := netip.ParsePrefix(r.Destination)
		if err != nil || p != p.Masked() || p.Bits() <= 14 || !clusterRange().Contains(p.Addr()) {
			fault("R1", r)
		}
		if named[r.Destination] || !t.w.ever[p] && !t.orphan(known[r.Destination]) {
			fault("R2", r)
		}
		named[r.Destination] = true
	}
	for _, r := range slices.Concat(ops.Add, ops.Mod) {
		if r.Type != "ecs" || !slices.Contains(t.w.ids, r.NextHop) || r.Description != "otc-route-manager: "+t.w.name {
			fault("R3", r)
		}
	}
	for _, r := range ops.Mod {
		if known[r.Destination].Type != "ecs" {
			fault("R3", r)
		}
	}
	if age := time.Since(t.since[table]); age > oldestRead {
		t.m.note("R6: %s sent %s, %v after its read", t.w.name, body, age)
	}
	orphans := 0
	for _, r := range ops.Del {
		switch old := known[r.Destination]; {
		case old.Type == "ecs" && slices.Contains(t.w.ids, old.NextHop):
		case old.Type == "ecs" && t.orphan(old):
			orphans++
		default:
			fault("R3", r)
		}
	}
	if orphans > 5 || orphans > 0 && time.Since(t.fresh[table]) > time.Minute {
		fault("R11", ops.Del[0])
	}
}

// orphan reports whether a route may be deleted because its server and its Node are
// gone. Who looks for the Node may do so a while before the PUT.
func (t *tap) orphan(r otctest.Route) bool {
	name, marked := strings.CutPrefix(r.Description, Mark+": ")
	return t.m.orphans && marked && r.NextHop != otherID && !slices.ContainsFunc(t.m.workers, func(w *actor) bool {
		return w.id == r.NextHop || w.name == name && w.kube.isThere() && time.Since(w.created) > time.Minute
	})
}
