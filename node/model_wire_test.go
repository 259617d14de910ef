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

// A tap is the wire of one worker, in front of the guard. It notes what the worker has
// read and sent.
type tap struct {
	m *model
	w *actor
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
	resp, err := t.m.guard.RoundTrip(r)
	good := err == nil && resp.StatusCode/100 == 2 && resp.StatusCode != http.StatusAccepted
	if ok && good && r.Method == http.MethodGet {
		good = t.reads(table, began, resp)
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

// reads notes when the first read that shows all that a worker wants was asked for. It
// reports whether the answer got through.
func (t *tap) reads(table string, asked time.Time, resp *http.Response) bool {
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), ending{err}))
	if err != nil {
		return false
	}
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	missing := func(p netip.Prefix) bool {
		return !bytes.Contains(body, fmt.Appendf(nil, `"destination":%q,"nexthop":%q`, p, t.w.id))
	}
	if t.w.confirmed[table].IsZero() && !slices.ContainsFunc(t.w.wants, missing) {
		t.w.confirmed[table] = asked
	}
	return true
}

// ending is a reader that has come to its end, a good or a bad one.
type ending struct{ err error }

func (e ending) Read([]byte) (int, error) { return 0, cmp.Or(e.err, io.EOF) }

// sends notes a PUT.
func (t *tap) sends(table string, body []byte) {
	var put order
	_ = json.Unmarshal(body, &put)
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.w.sent = time.Now()
	delete(t.w.confirmed, table)
	for _, r := range slices.Concat(put.RouteTable.Routes.Mod, put.RouteTable.Routes.Del) {
		at := place{table, r.Destination}
		t.m.flying[at] = time.Now()
		if time.Since(t.m.foreign[at].since) < oldestRead+2*t.m.maxStale() {
			delete(t.m.foreign, at) // written since the worker's read: the API knows no precondition that would save it
		}
	}
}
