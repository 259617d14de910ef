package node

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"otc-route-manager/node/logging"
)

// A kubeAPI is the API server as far as the Reconciler asks it.
type kubeAPI struct {
	name   string
	others func(name string) bool // whether another Node exists

	mu     sync.Mutex
	exists bool
	since  time.Time // it exists
	err    error
	asked  int
	events []string      // "Warning RouteConflict message"
	hold   chan struct{} // whoever writes AnnotationInvalid waits for this; nil: nobody
}

func (k *kubeAPI) set(exists bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if exists && !k.exists {
		k.since = time.Now()
	}
	k.exists, k.err = exists, err
}

// isThereFor reports whether the Node has existed for so long.
func (k *kubeAPI) isThereFor(d time.Duration) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.exists && time.Since(k.since) > d
}

func (k *kubeAPI) isThere() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.exists
}

func (k *kubeAPI) NodeExists(_ context.Context, name string) (bool, error) {
	if name != k.name {
		return k.others(name), nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	return k.exists && k.err == nil, k.err
}

func (k *kubeAPI) Event(warning bool, reason, message string) {
	if k.hold != nil && reason == annotationInvalid {
		<-k.hold
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	kind := "Normal"
	if warning {
		kind = "Warning"
	}
	k.events = append(k.events, kind+" "+reason+" "+message)
}

// all returns the Events so far.
func (k *kubeAPI) all() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.events...)
}

// A journal is a slog.Handler that keeps every line, the Debug lines apart.
type journal struct {
	mu    sync.Mutex
	lines []line
	debug []line
	attrs string
	root  *journal // nil: this one
}

type line struct {
	at   time.Time
	text string // "error could not …"
	more string // attributes
}

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	level := map[slog.Level]string{logging.LevelSuccess: "success", slog.LevelInfo: "info", slog.LevelWarn: "warning", slog.LevelError: "error"}[r.Level]
	more := j.attrs
	r.Attrs(func(a slog.Attr) bool { more += " " + a.String(); return true })
	l := line{time.Now(), strings.TrimSpace(level + " " + r.Message), more}
	root := j
	if j.root != nil {
		root = j.root
	}
	root.mu.Lock()
	defer root.mu.Unlock()
	if r.Level < slog.LevelInfo {
		root.debug = append(root.debug, l)
	} else {
		root.lines = append(root.lines, l)
	}
	return nil
}

func (j *journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	root := j.root
	if root == nil {
		root = j
	}
	return &journal{attrs: j.attrs + fmt.Sprint(" ", attrs), root: root}
}

func (j *journal) WithGroup(string) slog.Handler { return j }

// all returns the lines so far, without those of level Debug.
func (j *journal) all() []line {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]line(nil), j.lines...)
}

// raw returns everything at every level, with attributes.
func (j *journal) raw() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b strings.Builder
	for _, l := range slices.Concat(j.lines, j.debug) {
		b.WriteString(l.text + l.more + "\n")
	}
	return b.String()
}

// A counts counts, as package metrics would: "pass success", "add error",
// "call vpc update_route_table 200", "retry throttled".
type counts struct {
	mu   sync.Mutex
	n    map[string]int
	took []time.Duration
}

func newCounts() *counts { return &counts{n: map[string]int{}} }

func (c *counts) add(key string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[key] += n
}

// get returns one count.
func (c *counts) get(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[key]
}

func (c *counts) Pass(result string)                          { c.add("pass "+result, 1) }
func (c *counts) RouteChange(operation, result string, n int) { c.add(operation+" "+result, n) }
func (c *counts) Retry(reason string)                         { c.add("retry "+reason, 1) }
func (c *counts) TokenExpiry(time.Time)                       {}
func (c *counts) Request(s, operation, code string, _ time.Duration) {
	c.add("call "+s+" "+operation+" "+code, 1)
}

func (c *counts) AnnotationToRoute(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took = append(c.took, d)
}

func (c *counts) TableRoutes(table string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n["routes "+table] = n
}

func (c *counts) RouteLimit(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n["limit"] = n
}
