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

	"otc-route-manager/metrics/status"
	"otc-route-manager/node/logging"
	"otc-route-manager/otc"
)

const (
	repeatAfter = 30 * time.Minute // a lasting failure is recorded at most twice an hour,
	maxRepeats  = 3                // and a warning that comes and goes three times in half of one
	keepChanges = 20               // changes of state on the status page
)

// A severity chooses the mark of a log line and the type of an Event.
type severity int

const (
	success severity = iota
	info
	warning // a state that a person has to end; recorded once
	failing // recorded again while it lasts
)

// The reasons of Events about the Node.
const (
	routeConfirmed    = "RouteConfirmed"
	routeMoved        = "RouteMoved"
	routeRemoved      = "RouteRemoved"
	routeDrifted      = "RouteDrifted"
	routeConflict     = "RouteConflict"
	routeFailed       = "RouteFailed"
	annotationInvalid = "AnnotationInvalid"
	nodeSkipped       = "NodeSkipped"
	subnetSkipped     = "SubnetSkipped"
	orphansFound      = "OrphansFound"
	orphansRemoved    = "OrphansRemoved"
)

// Reasons returns the reasons of all Events about the Node.
func Reasons() []string {
	return []string{routeConfirmed, routeMoved, routeRemoved, routeDrifted, routeConflict, routeFailed,
		annotationInvalid, nodeSkipped, subnetSkipped, orphansFound, orphansRemoved}
}

// A Recorder writes one log line and one Event per change of state. What a state
// is says its key; the same key on the same topic is no change.
type Recorder struct {
	log   *slog.Logger
	event func(warning bool, reason, message string)

	mu      sync.Mutex
	topics  map[string]topic
	changes []status.Change // newest first
}

// A topic is what was last recorded about one thing.
type topic struct {
	key     string
	failing bool
	tallies map[string]tally // by key
}

// A tally counts how often a key was recorded.
type tally struct {
	since time.Time
	n     int
	last  time.Time
}

// NewRecorder returns a Recorder. A nil log discards; event must not wait, and
// nil means that there are no Events.
func NewRecorder(log *slog.Logger, event func(warning bool, reason, message string)) *Recorder {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if event == nil {
		event = func(bool, string, string) {}
	}
	return &Recorder{log: log, event: event, topics: map[string]topic{}}
}

// state records that a topic is now in the state that message describes, with an
// Event unless reason is "". It reports whether this was new.
func (r *Recorder) state(about string, s severity, reason, message string, attrs ...any) bool {
	return r.record(about, message, s, reason, message, attrs...)
}

// failure records that something was tried in vain and when it is tried next (0:
// not again). The state is what failed and how, without ids, ports and times.
func (r *Recorder) failure(about, reason, what string, err error, next time.Duration) {
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
	r.record(about, what+"|"+kind(err), failing, reason, what+": "+err.Error(), attrs...)
}

// kind is what stays the same when a failure repeats itself.
func kind(err error) string {
	if e, ok := errors.AsType[*otc.Error](err); ok {
		if e.Status == 0 {
			return e.Service + " " + e.Operation + " no answer: " + e.Hint // its text may hold our port
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

// record is state with a key that is not the message.
func (r *Recorder) record(about, key string, s severity, reason, message string, attrs ...any) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, now := r.topics[about], time.Now()
	if !t.isNew(key, s, now) {
		return false
	}
	r.topics[about] = t.with(key, s, now)
	message = oneLine(message)
	r.changes = slices.Insert(r.changes, 0, status.Change{Time: now, Level: s.String(), Text: message})
	r.changes = r.changes[:min(len(r.changes), keepChanges)]
	r.log.Log(context.Background(), s.level(), message, attrs...)
	if reason != "" {
		r.event(s >= warning, reason, message)
	}
	return true
}

// isNew reports whether a key is to be recorded: it is another one than the last,
// or a failure that has lasted, and no warning that comes and goes too often. To
// and fro between two failures is one that lasts. What went well is always said.
func (t topic) isNew(key string, s severity, now time.Time) bool {
	before := t.tallies[key]
	switch {
	case s != failing && t.key == key:
		return false
	case s == failing && t.failing && before.n > 0 && now.Sub(before.last) < repeatAfter:
		return false
	}
	return s < warning || before.n < maxRepeats || now.Sub(before.since) >= repeatAfter
}

// with returns the topic after a key was recorded. Only warnings are counted.
func (t topic) with(key string, s severity, now time.Time) topic {
	if s < warning {
		return topic{key: key, tallies: t.tallies}
	}
	tallies := maps.Clone(t.tallies)
	maps.DeleteFunc(tallies, func(_ string, old tally) bool { return now.Sub(old.last) >= repeatAfter })
	count, ok := tallies[key]
	if !ok || now.Sub(count.since) >= repeatAfter {
		count = tally{since: now}
	}
	count.n, count.last = count.n+1, now
	if tallies == nil {
		tallies = map[string]tally{}
	}
	tallies[key] = count
	return topic{key, s == failing, tallies}
}

// clear makes the next state of a topic new, even if it is the last one again.
func (r *Recorder) clear(about string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.topics[about]
	t.key, t.failing = "", false
	r.topics[about] = t
}

// recent returns the last changes of state, newest first.
func (r *Recorder) recent() []status.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.changes)
}

func (s severity) String() string { return [...]string{"success", "info", "warning", "error"}[s] }

func (s severity) level() slog.Level {
	return [...]slog.Level{logging.LevelSuccess, slog.LevelInfo, slog.LevelWarn, slog.LevelError}[s]
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
