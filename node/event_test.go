package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"

	"otc-route-manager/node/nodetest"
)

// TestEvent holds what an API server asks of an Event about a Node, and where
// kubectl describe looks for it.
func TestEvent(t *testing.T) {
	look(t, nil, func(t *testing.T, l *lookout) {
		l.Event(true, "RouteConflict", "a foreign route")
		l.pass(time.Millisecond) // the time is in the name
		l.Event(false, "RouteConfirmed", "route 10.128.2.0/23 → worker-1 confirmed")
		l.writes()
		if n := len(l.Server.Events()); n != 2 {
			t.Fatalf("%d Events", n)
		}
		for i, e := range l.Server.Events() {
			want := [][3]string{{"Warning", "RouteConflict", "a foreign route"}, {"Normal", "RouteConfirmed", "route 10.128.2.0/23 → worker-1 confirmed"}}[i]
			if got := [3]string{e.Type, e.Reason, e.Message}; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if e.Namespace != "default" || !strings.HasPrefix(e.Name, "worker-1.") {
				t.Errorf("it is %s/%s, want default/worker-1.…", e.Namespace, e.Name)
			}
			// kubelet names a Node as its UID too.
			if o := e.InvolvedObject; o.Kind != "Node" || o.APIVersion != "v1" || o.Name != "worker-1" || o.UID != "worker-1" || o.Namespace != "" {
				t.Errorf("about %+v", o)
			}
			if e.Source.Component != "otc-route-manager" || e.Source.Host != "worker-1" || e.ReportingController != "otc-route-manager" || e.ReportingInstance != "worker-1" {
				t.Errorf("from %+v, %s %s", e.Source, e.ReportingController, e.ReportingInstance)
			}
			if e.Count != 1 || e.FirstTimestamp.IsZero() || !e.FirstTimestamp.Equal(&e.LastTimestamp) {
				t.Errorf("%d times, from %v to %v", e.Count, e.FirstTimestamp, e.LastTimestamp)
			}
		}
		for _, r := range l.posts() {
			if r.Verb != "create" || r.Namespace != "default" {
				t.Errorf("%s of events in %q: only create in default is granted", r.Verb, r.Namespace)
			}
		}
	}, worker("worker-1", "a"))
}

// writes writes what is queued, and what comes until the test ends.
func (l *lookout) writes() {
	ctx, stop := context.WithCancel(l.t.Context())
	l.t.Cleanup(stop)
	go l.kube.WriteEvents(ctx, l.Events)
	l.pass(0)
}

// wrote fails the test unless the last Event says this, and is the only one.
func (l *lookout) wrote(message string) {
	l.t.Helper()
	l.pass(0)
	if all := l.Server.Events(); len(all) != 1 || all[0].Message != message {
		l.t.Errorf("Events %+v, want %q alone", all, message)
	}
}

// posts returns the requests that were about Events.
func (l *lookout) posts() (posts []nodetest.Request) {
	for _, r := range l.Requests() {
		if r.Resource == "events" {
			posts = append(posts, r)
		}
	}
	return posts
}

// A message may be of any length and language.
func TestLongEvent(t *testing.T) {
	look(t, nil, func(t *testing.T, l *lookout) {
		for n := range 4 {
			l.Event(true, "RouteFailed", strings.Repeat("x", n)+strings.Repeat("→", 2000))
			l.pass(time.Millisecond)
		}
		l.writes()
		if n := len(l.Server.Events()); n != 4 {
			t.Errorf("%d Events, want 4", n)
		}
		for _, e := range l.Server.Events() {
			if len(e.Message) > 1024 || !utf8.ValidString(e.Message) || !strings.HasSuffix(e.Message, "→...") {
				t.Errorf("%d bytes: %q", len(e.Message), e.Message)
			}
		}
	}, worker("worker-1", "a"))
}

// Nothing waits for an Event: without anybody who writes them, the surplus is
// dropped, and what the API server does not take does not hold up the next for
// ever. That it does not take them is logged once, though each has another name.
func TestEventsNotTaken(t *testing.T) {
	// status is the API server's refusal of each Event.
	status := func(code int, reason, message, details string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var e corev1.Event
			_ = json.NewDecoder(r.Body).Decode(&e)
			text(code, "application/json", fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":%q,"details":{%s}}`,
				reason, code, strings.ReplaceAll(message, "NAME", e.Name), strings.ReplaceAll(details, "NAME", e.Name)))(w, r)
		}
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		tries  int // per Event
		log    string
	}{
		"no right":     {status(http.StatusForbidden, "Forbidden", "events is forbidden", `"kind":"events"`), 1, "events is forbidden: " + hintEvents},
		"over quota":   {status(http.StatusForbidden, "Forbidden", `events "NAME" is forbidden`, `"name":"NAME","kind":"events"`), 1, "is forbidden: " + hintAdmission},
		"invalid":      {status(http.StatusUnprocessableEntity, "Invalid", `Event "NAME" is invalid`, `"name":"NAME","kind":"Event"`), 1, "is invalid: " + hintServer},
		"no namespace": {status(http.StatusNotFound, "NotFound", `namespaces "default" not found`, `"name":"default","kind":"namespaces"`), 1, `namespaces "default" not found: ` + hintWay},
		"asked to wait": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "300")
			status(http.StatusTooManyRequests, "TooManyRequests", "try again later", "")(w, r)
		}, 3, "try again later: " + hintServer},
		"a page's 403": {page(http.StatusForbidden), 3, "HTTP 403 without a Status, so not from the API server: " + hintWay},
		"a page's 404": {page(http.StatusNotFound), 3, "HTTP 404 without a Status, so not from the API server: " + hintWay},
		"no backend":   {page(http.StatusBadGateway), 3, "HTTP 502 without a Status, so not from the API server: " + hintWay},
		"hung up":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 3, "EOF: " + hintWay},
	} {
		t.Run(name, func(t *testing.T) {
			look(t, nil, func(t *testing.T, l *lookout) {
				l.until("a")
				tries := 0
				l.wire.say(func(w http.ResponseWriter, r *http.Request) {
					if r.Method != http.MethodPost { // the watch came to an end
						l.ServeHTTP(w, r)
						return
					}
					tries++
					tt.answer(w, r)
				})
				for i := range 1000 {
					l.Event(false, "RouteConfirmed", fmt.Sprint(i))
					l.pass(time.Millisecond)
				}
				kept := cap(l.queue)
				l.writes()
				l.pass(25 * time.Minute)
				if tries != kept*tt.tries {
					t.Errorf("%d tries for %d Events, want %d each", tries, kept, tt.tries)
				}
				if logged := l.logged.texts(); len(logged) != 1 || !strings.HasPrefix(logged[0], "error could not write an Event about node worker-1: ") || !strings.HasSuffix(logged[0], tt.log) {
					t.Errorf("logged %q, want once %q", logged, tt.log)
				}
				l.wire.say(nil)
				l.Event(false, "RouteConfirmed", "the last")
				l.wrote("the last")
			}, worker("worker-1", "a"))
		})
	}
}

// A slow API server gets each Event all the same.
func TestEventSlowlyTaken(t *testing.T) {
	look(t, nil, func(t *testing.T, l *lookout) {
		l.until("a")
		l.wire.say(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				time.Sleep(40 * time.Second)
			}
			if r.Context().Err() == nil {
				l.ServeHTTP(w, r)
			}
		})
		l.Event(false, "RouteConfirmed", "late")
		l.writes()
		l.pass(10 * time.Minute)
		l.wrote("late")
		if logged := l.logged.texts(); len(logged) > 0 {
			t.Errorf("logged %q", logged)
		}
	}, worker("worker-1", "a"))
}

// An Event whose answer is lost is written once, and that it is there already is
// no failure.
func TestEventWithoutAnswer(t *testing.T) {
	look(t, nil, func(t *testing.T, l *lookout) {
		l.until("a")
		l.wire.say(func(w http.ResponseWriter, r *http.Request) {
			l.ServeHTTP(httptest.NewRecorder(), r)
			l.wire.say(nil)
			panic(http.ErrAbortHandler)
		})
		l.Event(false, "RouteConfirmed", "once")
		l.writes()
		l.pass(time.Minute)
		l.wrote("once")
		if n := len(l.posts()); n != 2 || len(l.logged.all()) != 0 {
			t.Errorf("%d tries, want 2; logged %q", n, l.logged.texts())
		}
	}, worker("worker-1", "a"))
}
