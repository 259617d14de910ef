package otc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc/otctest"
)

const (
	authURL = "https://iam.eu-de.otc.t-systems.com/v3"
	one     = "a4c7e915-2b6d-4f80-93ae-5d1c8b7f0e26" // a server
	two     = "c81f3b60-7d25-49ea-b6f4-0a9e2d5c7138" // another one
	mark    = "otc-route-manager worker-1"
)

// A world is a client, the pretend cloud it talks to, and what both leave behind.
type world struct {
	*otctest.Server
	t      *testing.T
	client *Client
	log    *bytes.Buffer // of both levels and formats; read it when nothing is under way
	count  *counter

	mu             sync.Mutex
	login          Credentials
	user, password string
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	w := &world{Server: otctest.New(), t: t, log: &bytes.Buffer{}, count: newCounter(), login: Credentials{Account: otctest.Account, ProjectName: otctest.Project}, user: otctest.User, password: otctest.Password}
	w.AddServer(otctest.Instance{ID: one, Name: "worker-1", Fixed: []string{"10.20.0.11"}, Floating: []string{"80.158.0.77"}})
	cfg := Config{
		AuthURL: authURL, Credentials: w.credentials,
		Region: "eu-de", Allowed: []netip.Prefix{netip.MustParsePrefix("10.128.0.0/14"), netip.MustParsePrefix("fd01::/48")},
		UserAgent: "otc-route-manager/test", Observer: w.count,
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.GetBody != nil {
				t.Error("package http may send the body again by itself")
			}
			return w.RoundTrip(r)
		}),
	}
	for _, f := range change {
		f(&cfg)
	}
	w.client = New(cfg, slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	return w
}

// inBubble runs f with a new world and a clock that runs only while all wait.
func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

// pass lets a bubble's time pass.
func pass(d time.Duration) { <-time.After(d) }

func (w *world) credentials() (Credentials, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.login.User, w.login.Secret = w.user, NewSecret(w.password)
	return w.login, nil
}

// rotate changes the credentials that the client is given.
func (w *world) rotate(password string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.password = password
}

// rename changes the user name that the client is given.
func (w *world) rename(user string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.user = user
}

// read reads the route table once.
func (w *world) read() error {
	_, err := w.client.RouteTable(w.t.Context(), otctest.TableID)
	return err
}

// write adds a route.
func (w *world) write() error {
	return w.put(Ops(Add, route("10.128.4.0/23")))
}

// put sends changes that rest on a read of this moment.
func (w *world) put(ch Changes) error { return w.client.UpdateRoutes(w.t.Context(), fresh(), ch) }

// fresh is the route table as if it had just been read.
func fresh() RouteTable { return RouteTable{ID: otctest.TableID, AsOf: time.Now()} }

// mustRead is for calls that are only there to come before others.
func (w *world) mustRead() {
	w.t.Helper()
	if err := w.read(); err != nil {
		w.t.Fatalf("got %v, want the route table", err)
	}
}

// times returns when requests of one operation arrived.
func (w *world) times(op string) (at []time.Time) {
	for _, r := range w.Requests() {
		if r.Op == op {
			at = append(at, r.Time)
		}
	}
	return at
}

// wantCalls checks how many requests of an operation arrived.
func (w *world) wantCalls(op string, want int) {
	w.t.Helper()
	if got := w.Count(op); got != want {
		w.t.Errorf("got %d %s requests, want %d", got, op, want)
	}
}

// wantApart checks that the requests of an operation came at least so far apart.
func (w *world) wantApart(op string, least time.Duration) {
	w.t.Helper()
	at := w.times(op)
	for i := 1; i < len(at); i++ {
		if d := at[i].Sub(at[i-1]); d < least {
			w.t.Errorf("got %s requests %v apart, want %v at least", op, d, least)
		}
	}
}

// route is one that may be sent.
func route(destination string) Route {
	return Route{Type: TypeECS, Destination: netip.MustParsePrefix(destination), NextHop: one, Description: mark}
}

// A roundTripper is a Transport that shows nothing of itself when it is printed.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// asError returns err as *Error, or fails.
func asError(t *testing.T, err error) *Error {
	t.Helper()
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e
}

// parallel calls f in n goroutines and returns the errors.
func parallel(n int, f func() error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// A counter is an Observer.
type counter struct {
	mu      sync.Mutex
	seen    map[string]int
	retries map[string]int
	took    time.Duration // of the last request
	expiry  time.Time
}

func newCounter() *counter { return &counter{seen: map[string]int{}, retries: map[string]int{}} }

func (c *counter) Request(service, operation, code string, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[strings.Join([]string{service, operation, code}, " ")]++
	c.took = took
}

func (c *counter) Retry(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retries[reason]++
}

func (c *counter) TokenExpiry(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expiry = t
}

// String shows the counts in order.
func (c *counter) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprint(c.seen, c.retries)
}

// within returns a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
