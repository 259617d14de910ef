package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"otc-route-manager/otc"
)

const (
	maxCalls  = 120
	maxLogins = 2
	pace      = time.Second / 2 // between the beginnings of two calls
	maxAnswer = 8 << 20         // bytes
	noServer  = "00000000-0000-4000-8000-00000000dead"
)

// A gate is the only way to the cloud, and knows nothing of questions. It lets through
// 120 calls at most, two a second: reads, two logins, and writes to one route table,
// inside the ranges, with the instance or no existing one as next hop.
type gate struct {
	wire     http.RoundTripper
	table    string // path of the only table that is written
	instance string
	ranges   []netip.Prefix
	pace     time.Duration
	list     func(r *http.Request, sent *update) // called with each call that leaves; nil: none

	open       bool // writes are allowed
	calls      int
	logins     int
	reserve    int // calls that are kept for the clean-up
	next       time.Time
	written    map[netip.Prefix]bool
	unanswered bool   // a write may still be executed
	question   string // what the calls are for
	exchanges  []exchange
}

// An exchange is a request and its answer.
type exchange struct {
	question, method, path string
	sent                   []byte
	answer
}

// RoundTrip implements http.RoundTripper. What is refused never leaves.
func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body) // from memory
		_ = r.Body.Close()
	}
	sent, err := g.admit(r, body)
	if err == nil {
		err = sleep(r.Context(), time.Until(g.next))
	}
	if err != nil {
		return nil, err
	}
	g.note(r, sent)
	r = r.Clone(r.Context())
	if r.GetBody = nil; len(body) > 0 { // package http sends it once
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := g.wire.RoundTrip(r)
	var text []byte
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		_ = resp.Body.Close()
	}
	if sent != nil && (err != nil || resp.StatusCode >= 500) {
		g.unanswered = true
	}
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(text))
	g.exchanges = append(g.exchanges, exchange{g.question, r.Method, r.URL.RequestURI(), body, answer{resp.StatusCode, resp.Header, text}})
	return resp, nil
}

// admit refuses what must not leave. It returns the changes of a write.
func (g *gate) admit(r *http.Request, body []byte) (*update, error) {
	login := strings.HasSuffix(r.URL.Path, "/auth/tokens") || strings.HasSuffix(r.URL.Path, "/id-token/tokens")
	switch {
	case g.calls+g.reserve >= maxCalls:
		return nil, errors.New("the calls that a run may make are used up")
	case r.Method == http.MethodGet:
		return nil, nil
	case login && g.logins >= maxLogins:
		return nil, errors.New("two logins were made, no third follows")
	case r.Method == http.MethodPost && login:
		return nil, nil
	case r.Method == http.MethodPut && g.open && r.URL.Path == g.table:
		return g.admitWrite(body)
	}
	return nil, fmt.Errorf("refused to send %s %s", r.Method, r.URL.Path)
}

// admitWrite reads the request as it is on the wire.
func (g *gate) admitWrite(body []byte) (*update, error) {
	var u update
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&u); err != nil {
		return nil, fmt.Errorf("refused to send a write: %w", err)
	}
	for kind, ops := range u.Table.Routes {
		for _, o := range ops {
			toServer := o.Type == otc.TypeECS && (o.NextHop == g.instance || o.NextHop == noServer)
			if !otc.Inside(otc.ParseDestination(o.Destination), g.ranges) || !toServer && kind != "del" {
				return nil, fmt.Errorf("refused to send %s %s %s to %q: it is outside LIVE_CIDR, or not to LIVE_INSTANCE", kind, o.Type, o.Destination, o.NextHop)
			}
		}
	}
	return &u, nil
}

// note counts what leaves.
func (g *gate) note(r *http.Request, sent *update) {
	g.next = time.Now().Add(g.pace)
	g.calls++
	if r.Method == http.MethodPost {
		g.logins++
	}
	if sent != nil {
		for _, o := range append(sent.Table.Routes["add"], sent.Table.Routes["mod"]...) {
			g.written[otc.ParseDestination(o.Destination)] = true
		}
	}
	if g.list != nil {
		g.list(r, sent)
	}
}

// left returns the destinations that were written and that a table still holds, as the
// table spells them.
func (g *gate) left(t table) (destinations []string) {
	for _, o := range t.own() {
		if g.written[otc.ParseDestination(o.Destination)] {
			destinations = append(destinations, o.Destination)
		}
	}
	return destinations
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
