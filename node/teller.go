package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"otc-route-manager/otc"
)

const (
	repeatAfter = 30 * time.Minute // a lasting failure is told at most twice an hour
	keepChanges = 20               // changes of state on the status page
)

// A severity chooses the mark of a log line and the type of an Event.
type severity int

const (
	success severity = iota
	info
	warning // a state that lasts until somebody does something; told once
	failing // told again while it lasts
)

// A Change is one change of state, for the status page.
type Change struct {
	Time  time.Time
	Level string // success, info, warning, error
	Text  string
}

// A teller writes one log line and one Event per change of state. What a state
// is says its key; the same key on the same topic is no change.
type teller struct {
	log  *slog.Logger
	kube Kubernetes

	mu      sync.Mutex
	last    map[string]told // by topic
	changes []Change        // newest first
}

// told is what was last told about a topic.
type told struct {
	key      string
	failures map[string]time.Time // since it last was well: when each kind was told
}

// say tells that a topic is now in the state that message describes, with an
// Event unless reason is "". It reports whether this was news.
func (t *teller) say(topic string, s severity, reason, message string, attrs ...any) bool {
	return t.news(topic, message, s, reason, message, attrs...)
}

// failure tells that something was tried in vain and when it is tried next (0:
// not again). The
// state is what failed and how, without ids, ports and times.
func (t *teller) failure(topic, reason, what string, err error, next time.Duration) {
	var attrs []any
	if next > 0 {
		attrs = append(attrs, "next_attempt", next.Round(time.Second))
	}
	if e, ok := errors.AsType[*otc.Error](err); ok {
		if e.Code != "" {
			attrs = append(attrs, "code", e.Code)
		}
		if e.RequestID != "" {
			attrs = append(attrs, "request_id", e.RequestID)
		}
	}
	t.news(topic, what+"|"+kind(err), failing, reason, what+": "+err.Error(), attrs...)
}

// kind is what stays the same when a failure repeats itself.
func kind(err error) string {
	if e, ok := errors.AsType[*otc.Error](err); ok {
		if e.Status == 0 {
			return e.Service + " " + e.Operation + " no answer"
		}
		return fmt.Sprint(e.Service, e.Operation, e.Status, e.Code)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no time left"
	}
	if _, ok := errors.AsType[*url.Error](err); ok { // of the API server; its text may hold our port
		return "no answer"
	}
	return err.Error()
}

func (t *teller) news(topic, key string, s severity, reason, message string, attrs ...any) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, last := time.Now(), t.last[topic]
	if s != failing && last.key == key || s == failing && now.Sub(last.failures[key]) < repeatAfter {
		return false
	}
	next := told{key: key, failures: map[string]time.Time{}}
	if s == failing { // to and fro between two failures is one that lasts
		maps.Copy(next.failures, last.failures)
		next.failures[key] = now
	}
	t.last[topic] = next
	message = oneLine(message)
	t.changes = slices.Insert(t.changes, 0, Change{now, s.String(), message})
	t.changes = t.changes[:min(len(t.changes), keepChanges)]
	t.log.Log(context.Background(), s.level(), message, attrs...)
	if reason != "" && t.kube != nil {
		t.kube.Event(s >= warning, reason, message)
	}
	return true
}

// isFailing reports whether a failure was the last that was told about a topic.
func (t *teller) isFailing(topic string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.last[topic].failures) > 0
}

// forget makes the next state of a topic news, whatever it is.
func (t *teller) forget(topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.last, topic)
}

// recent returns the last changes of state, newest first.
func (t *teller) recent() []Change {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.changes)
}

func (s severity) String() string { return [...]string{"success", "info", "warning", "error"}[s] }

func (s severity) level() slog.Level {
	return [...]slog.Level{LevelSuccess, slog.LevelInfo, slog.LevelWarn, slog.LevelError}[s]
}

// LevelSuccess is the level of lines that say that routes are right.
const LevelSuccess = slog.LevelInfo + 1

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }
