package node

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	watchFails = "error cannot watch node worker-1: dial tcp 192.0.2.7:443: connect: connection refused: check the API server and the way to it; retrying within a minute; routes are unchanged"
	watchAgain = "info watching node worker-1 again"
)

func nobodyListens() error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 443}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

// TestEachOutageIsLoggedOnce: its beginning and its end, however many tries it
// takes, and the next one too; the end not before the watch has delivered.
func TestEachOutageIsLoggedOnce(t *testing.T) {
	look(t, func(l *lookout) { l.wire.set(nobodyListens()) }, func(t *testing.T, l *lookout) {
		var want []string
		for range 2 {
			l.wire.set(nobodyListens())
			l.pass(10 * time.Minute)
			if text, hint := l.kube.WatchProblem(); text+": "+hint+"; retrying within a minute; routes are unchanged" != watchFails[len("error "):] {
				t.Errorf("problem %q, %q", text, hint)
			}
			l.Mute(true)
			l.wire.set(nil)
			l.pass(9 * time.Second) // a watch is answered 200, and nothing comes
			if want = append(want, watchFails); !slices.Equal(l.logged.texts(), want) || l.Watches() != 1 {
				t.Errorf("%d watches, logged %q, want %q", l.Watches(), l.logged.texts(), want)
			}
			l.Mute(false)
			l.pass(0)
			if want = append(want, watchAgain); !slices.Equal(l.logged.texts(), want) {
				t.Errorf("logged %q, want %q", l.logged.texts(), want)
			}
		}
		l.pass(time.Hour) // the API server closes watches now and then
		l.CloseWatches()
		l.pass(time.Minute)
		if n := len(l.reads()); n < 8 || n > 20 || !slices.Equal(l.logged.texts(), want) {
			t.Errorf("%d reads, logged %q, want %q", n, l.logged.texts(), want)
		}
	}, worker("worker-1", "a"))
}

// TestWatchProblem: the cause is logged with what to do, once, and nothing is seen,
// least of all that there is no Node.
func TestWatchProblem(t *testing.T) {
	const way, server = "check the API server and the way to it", "wait; if it lasts, check the API server's pods and their log"
	const notFromIt = " without a Status, so not from the API server"
	isWarning := func(line string) bool { return strings.HasPrefix(line, "warning ") }
	for name, tt := range map[string]struct {
		prepare    func(*lookout)
		text, hint string
	}{
		"nobody listens":   {func(l *lookout) { l.wire.set(nobodyListens()) }, "dial tcp 192.0.2.7:443: connect: connection refused", way},
		"a closed way":     {func(l *lookout) { l.wire.set(&net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}) }, "dial tcp: i/o timeout", way},
		"hung up":          {func(l *lookout) { l.wire.say(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }) }, "EOF", way},
		"silent":           {func(l *lookout) { l.wire.say(silent) }, "no answer within 1m0s", way},
		"silent after 200": {func(l *lookout) { l.Mute(true) }, "no answer within 1m0s", way},
		"closed after 200": {func(l *lookout) { l.wire.say(text(http.StatusOK, "application/json", "")) }, "the watch was closed before it had begun", way},
		"no backend":       {func(l *lookout) { l.wire.say(page(http.StatusNotFound)) }, "HTTP 404" + notFromIt, way},
		"no good backend":  {func(l *lookout) { l.wire.say(page(http.StatusServiceUnavailable)) }, "HTTP 503" + notFromIt, way},
		"a page's 401":     {func(l *lookout) { l.wire.say(page(http.StatusUnauthorized)) }, "HTTP 401" + notFromIt, way},
		"a page's 403":     {func(l *lookout) { l.wire.say(page(http.StatusForbidden)) }, "HTTP 403" + notFromIt, way},
		"a bare 403":       {func(l *lookout) { l.wire.say(text(http.StatusForbidden, "", "")) }, "HTTP 403" + notFromIt, way},
		"JSON's 403":       {func(l *lookout) { l.wire.say(text(http.StatusForbidden, "application/json", `{"message":"denied"}`)) }, "HTTP 403" + notFromIt, way},
		"starting":         {func(l *lookout) { l.Down(true) }, "the API server is down", server},
		"forbidden": {func(l *lookout) { l.Forbid("list", "watch") }, `nodes is forbidden: User "system:serviceaccount:otc-route-manager:otc-route-manager" cannot watch resource "nodes" in API group "" at the cluster scope`,
			hintWatch},
		"token refused": {func(l *lookout) {
			l.wire.say(text(http.StatusUnauthorized, "application/json", `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`))
		}, "Unauthorized", "the API server does not take the ServiceAccount's token or the credentials of KUBECONFIG"},
		"another certificate": {func(l *lookout) { l.wire.set(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}) }, "tls: failed to verify certificate: x509: certificate signed by unknown authority",
			"the certificate is another server's, or the cluster's CA has changed: the pod's ca.crt is read again within 5 minutes; outside a pod check KUBECONFIG"},
		"others' Nodes": {func(l *lookout) { l.Delete("worker-1"); l.Put(worker("worker-10", "b")); l.wire.say(l.unselected) }, "the answer is about other Nodes only", hintOthers},
	} {
		t.Run(name, func(t *testing.T) {
			look(t, tt.prepare, func(t *testing.T, l *lookout) {
				l.pass(20 * time.Minute)
				l.nothing()
				if text, hint := l.kube.WatchProblem(); text != "cannot watch node worker-1: "+tt.text || hint != tt.hint {
					t.Errorf("problem %q, %q", text, hint)
				}
				want := "error cannot watch node worker-1: " + strings.Replace(tt.text, "1m0s", "15s", 1) + ": " + tt.hint + "; retrying within a minute; routes are unchanged"
				if got := slices.DeleteFunc(l.logged.texts(), isWarning); !slices.Equal(got, []string{want}) {
					t.Errorf("logged %q, want %q", got, want)
				}
				l.wire.set(nil)
				l.wire.say(text(http.StatusConflict, "text/plain", "")) // another problem takes its place
				l.pass(time.Minute)
				if text, _ := l.kube.WatchProblem(); !strings.Contains(text, "HTTP 409") {
					t.Errorf("problem %q", text)
				}
			}, worker("worker-1", "a"))
		})
	}
}

// TestWatchProblemIsItsOwn: what an Event or a probe fails with is not about the watch.
func TestWatchProblemIsItsOwn(t *testing.T) {
	var watches atomic.Int32
	look(t, func(l *lookout) {
		l.wire.say(func(w http.ResponseWriter, r *http.Request) {
			if !r.URL.Query().Has("watch") {
				panic(http.ErrAbortHandler)
			}
			watches.Add(1)
			silent(w, r)
		})
	}, func(t *testing.T, l *lookout) {
		l.writes()
		l.Event(false, "RouteConfirmed", "lost")
		l.pass(14 * time.Second)
		if watches.Load() != 1 {
			t.Errorf("%d watches within 14 s, want 1: nobody has answered", watches.Load())
		}
		l.pass(6 * time.Second)
		if text, _ := l.kube.WatchProblem(); text != "cannot watch node worker-1: no answer within 15s" {
			t.Errorf("problem %q", text)
		}
	}, worker("worker-1", "a"))
}

// TestWatchNotAccepted: a list alone is no watch. Its content counts.
func TestWatchNotAccepted(t *testing.T) {
	look(t, func(l *lookout) {
		l.RefuseWatchList(true)
		l.wire.say(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("watch") && !r.URL.Query().Has("sendInitialEvents") {
				page(http.StatusBadGateway)(w, r)
				return
			}
			l.ServeHTTP(w, r)
		})
	}, func(t *testing.T, l *lookout) {
		l.until("a")
		l.pass(20 * time.Minute)
		if logged := l.logged.texts(); len(logged) != 1 || !strings.HasPrefix(logged[0], "error cannot watch node worker-1: HTTP 502 without a Status") {
			t.Errorf("logged %q", logged)
		}
		l.Annotate("worker-1", SubnetsAnnotation, "b")
		l.pass(10 * time.Second)
		l.until("b")
	}, worker("worker-1", "a"))
}

// TestAnAPIServerThatIsDownIsNotHammered, nor is one that hangs up on each watch:
// the pauses grow to 7 s, half of it at least, and are short again after a while
// without trouble.
func TestAnAPIServerThatIsDownIsNotHammered(t *testing.T) {
	for name, fault := range map[string]func(*lookout){
		"down":     func(l *lookout) { l.wire.set(nobodyListens()) },
		"hangs up": func(l *lookout) { l.wire.set(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			look(t, nil, func(t *testing.T, l *lookout) {
				for range 2 {
					l.pass(time.Minute)
					var pauses []time.Duration
					for last := time.Now(); len(pauses) < 20; {
						before := len(l.wire.dialed())
						fault(l)
						for len(l.wire.dialed()) == before {
							l.pass(time.Millisecond)
						}
						at := l.wire.dialed()[before]
						pauses = append(pauses, at.Sub(last))
						last = at
					}
					for i, p := range pauses {
						full := min(2*time.Second<<i, 7*time.Second)
						if p < full/2-time.Millisecond || p > full+time.Millisecond {
							t.Errorf("pause %d took %v, want %v to %v", i, p, full/2, full)
						}
					}
					if slices.Sort(pauses); pauses[10] == pauses[19] {
						t.Errorf("no jitter: %v", pauses)
					}
					l.wire.set(nil)
				}
			}, worker("worker-1", "a"))
		})
	}
}
