package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"

	"otc-route-manager/node/nodetest"
)

// TestSlowAPIServer: however long the way to the API server and its answer take, up to
// a minute, it is reached.
func TestSlowAPIServer(t *testing.T) {
	for name, tt := range map[string]struct {
		within  time.Duration
		prepare func(*lookout)
	}{
		"answers after 16 s": {46 * time.Second, func(l *lookout) { l.wire.delay = 16 * time.Second }},
		"answers after 50 s": {2 * time.Minute, func(l *lookout) { l.wire.delay = 50 * time.Second }},
		"answers watches after 16 s, the rest at once": {50 * time.Second, func(l *lookout) {
			l.wire.say(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("watch") {
					_ = wait(r.Context(), 16*time.Second)
				}
				l.ServeHTTP(w, r)
			})
		}},
		"two dead name servers": {10 * time.Second, func(l *lookout) {
			l.wire.dialer.lookup = func(ctx context.Context, host string) ([]string, error) {
				return []string{host}, wait(ctx, 10*time.Second)
			}
		}},
		"dead name servers, three search domains": {2 * time.Minute, func(l *lookout) {
			l.wire.dialer.lookup = func(ctx context.Context, host string) ([]string, error) {
				return []string{host}, wait(ctx, 40*time.Second)
			}
		}},
		"three dead addresses": {40 * time.Second, func(l *lookout) {
			l.wire.dialer.lookup = func(context.Context, string) ([]string, error) { return []string{"dead", "dead", "dead", "alive"}, nil }
			l.wire.dialer.connect = func(ctx context.Context, network, address string) (net.Conn, error) {
				if address != "alive:80" {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return l.wire.dial(ctx, network, address)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			look(t, tt.prepare, func(t *testing.T, l *lookout) {
				start := time.Now()
				l.until("a")
				if took := time.Since(start); took > tt.within {
					t.Errorf("seen after %v", took)
				}
				l.pass(0)
				if text, _ := l.kube.WatchProblem(); text != "" {
					t.Errorf("problem %q", text)
				}
				l.stop()
				l.pass(longestRead) // for dials that nobody waits for any more
			}, worker("worker-1", "a"))
		})
	}
}

// A slowTLS is a listener where the other side lets its first byte wait.
type slowTLS struct {
	net.Listener
	delay  time.Duration
	config *tls.Config
}

func (s slowTLS) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(&slowConn{Conn: conn, delay: s.delay}, s.config), nil
}

type slowConn struct {
	net.Conn
	delay time.Duration
	once  sync.Once
}

func (c *slowConn) Read(p []byte) (int, error) {
	c.once.Do(func() { time.Sleep(c.delay) })
	return c.Conn.Read(p)
}

// TestSlowHandshake: the limit of a request bounds the TLS handshake, and none below it.
func TestSlowHandshake(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	config := &tls.Config{Certificates: certified.TLS.Certificates}
	certified.Close()
	synctest.Test(t, func(t *testing.T) {
		wire := &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})}
		server := &http.Server{Handler: page(http.StatusTeapot), ErrorLog: log.New(io.Discard, "", 0)}
		go func() { _ = server.Serve(slowTLS{wire, 12 * time.Second, config}) }()
		kube, err := NewKube(&rest.Config{Host: "https://kube.test", Dial: wire.dial, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}, "worker-1", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kube.Get(t.Context(), "worker-1"); err == nil || !strings.Contains(err.Error(), "HTTP 418") {
			t.Errorf("got %v, want an answer", err)
		}
		kube.transport.CloseIdleConnections()
		_ = server.Close()
	})
}

// TestSilenceIsShortAgain: what a slow API server was given it is not given for ever.
func TestSilenceIsShortAgain(t *testing.T) {
	look(t, func(l *lookout) { l.wire.say(silent) }, func(t *testing.T, l *lookout) {
		l.pass(20 * time.Minute)
		l.wire.say(nil)
		l.wire.set(nil)
		l.until("a")
		l.wire.say(silent)
		l.wire.set(nil)
		l.pass(shortestRead + longestPause)
		if text, _ := l.kube.WatchProblem(); !strings.HasSuffix(text, "no answer within 15s") {
			t.Errorf("problem %q", text)
		}
	}, worker("worker-1", "a"))
}

// TestSilentOutage: what was asked while the API server was silent is never answered.
// It is reached within 10 s of its return all the same, slow before or not.
func TestSilentOutage(t *testing.T) {
	for _, outage := range []time.Duration{time.Second, 4 * time.Second, 7 * time.Second, 14 * time.Second, 20 * time.Second, time.Minute, 10 * time.Minute} {
		look(t, nil, func(t *testing.T, l *lookout) {
			l.until("a")
			l.wire.say(silent)
			l.wire.set(nil)
			l.pass(outage)
			l.Annotate("worker-1", SubnetsAnnotation, "b")
			l.wire.say(nil)
			back := time.Now()
			if l.until("b"); time.Since(back) > 10*time.Second {
				t.Errorf("after %v of silence: seen after %v", outage, time.Since(back))
			}
			l.reads()
		}, worker("worker-1", "a"))
	}
}

// TestOthersNodes: without the field selector on the way, nothing about another Node is
// observed, and least of all that this one is gone. It is recorded once.
func TestOthersNodes(t *testing.T) {
	for _, lists := range []bool{false, true} {
		look(t, func(l *lookout) { l.RefuseWatchList(lists); l.wire.say(l.unselected) }, func(t *testing.T, l *lookout) {
			l.until("a")
			l.pass(time.Minute)
			l.Annotate("worker-10", SubnetsAnnotation, "other still")
			l.Delete("worker-10")
			l.Put(worker("worker-11", "other"))
			l.nothing()
			l.Annotate("worker-1", SubnetsAnnotation, "b")
			l.until("b")
			l.Delete("worker-1")
			l.gone()
			const want = "warning the API server's answer about node worker-1 also contains node worker-10, which is ignored: " + hintOthers
			if got := l.logged.texts(); !slices.Equal(got, []string{want}) {
				t.Errorf("logged %q, want %q", got, want)
			}
		}, worker("worker-1", "a"), worker("worker-10", "other"))
	}
}

// TestEndlessAnswer: no answer fills the memory.
func TestEndlessAnswer(t *testing.T) {
	look(t, nil, func(t *testing.T, l *lookout) {
		l.until("a")
		for _, status := range []int{http.StatusOK, http.StatusBadGateway} {
			var sent atomic.Int64
			l.wire.say(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				for n, err := 0, error(nil); err == nil && sent.Load() < 4*maxAnswer; sent.Add(int64(n)) {
					n, err = io.WriteString(w, strings.Repeat("<p>", 10000))
				}
			})
			if _, err := l.kube.Get(t.Context(), "worker-1"); err == nil || sent.Load() > 2*maxAnswer {
				t.Errorf("%d: %d bytes taken, error %v", status, sent.Load(), err)
			}
		}
	}, worker("worker-1", "a"))
}

// TestAnswerAsksToWait: it is reported as it is, and at once.
func TestAnswerAsksToWait(t *testing.T) {
	look(t, func(l *lookout) {
		l.wire.say(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "300")
			page(http.StatusServiceUnavailable)(w, r)
		})
	}, func(t *testing.T, l *lookout) {
		start := time.Now()
		if _, err := l.kube.Get(t.Context(), "worker-1"); err == nil || !strings.Contains(err.Error(), "HTTP 503") || time.Since(start) > 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	}, worker("worker-1", "a"))
}

// TestProxyOfKubeconfig: a refused CONNECT is the proxy's word.
func TestProxyOfKubeconfig(t *testing.T) {
	server := nodetest.New()
	server.Start()
	t.Cleanup(server.Close)
	cfg := server.Config() // as a proxy it serves no CONNECT
	proxy, err := url.Parse(cfg.Host)
	if err != nil {
		t.Fatal(err)
	}
	kube, err := NewKube(&rest.Config{Host: "https://kube.example:6443", Proxy: http.ProxyURL(proxy)}, "worker-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = kube.Get(t.Context(), "worker-1")
	want := "proxy " + proxy.Host + " answers CONNECT with HTTP 404: requests to the API server go through " + proxy.Host + ", the proxy-url of KUBECONFIG: check it"
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestOwnNode: as the Node's kubelet everything is asked but other Nodes, and what is
// refused is logged with what that needs.
func TestOwnNode(t *testing.T) {
	const kubelet = "system:node:worker-1"
	look(t, func(l *lookout) { l.as = kubelet }, func(t *testing.T, l *lookout) {
		l.until("a")
		l.Event(false, "RouteConfirmed", "one")
		l.writes()
		for _, name := range []string{"worker-1", "worker-10"} {
			if exists, err := l.kube.NodeExists(t.Context(), name); !exists || err != nil {
				t.Errorf("%s: %v, %v", name, exists, err)
			}
		}
		var got []string
		for _, r := range l.Requests() {
			got = append(got, strings.TrimSpace(r.Verb+" "+r.Resource+" "+r.Name+" as "+r.As))
		}
		slices.Sort(got)
		want := []string{"create events  as " + kubelet, "get nodes worker-1 as " + kubelet, "get nodes worker-10 as", "watch nodes  as " + kubelet}
		if !slices.Equal(got, want) {
			t.Errorf("requests %q, want %q", got, want)
		}
		l.Forbid("get", "list", "watch", "create")
		l.CloseWatches()
		l.Event(false, "RouteConfirmed", "two")
		l.pass(time.Minute)
		for _, line := range l.logged.texts() {
			if !strings.Contains(line, ": "+hintOwnNode) {
				t.Errorf("logged %q, want what KUBE_OWN_NODE needs", line)
			}
		}
		_, own := l.kube.NodeExists(t.Context(), "worker-1")
		_, other := l.kube.NodeExists(t.Context(), "worker-10")
		if len(l.logged.texts()) != 2 || !strings.HasSuffix(fmt.Sprint(own), hintOwnNode) || !strings.HasSuffix(fmt.Sprint(other), hintOtherNodes) {
			t.Errorf("logged %q, reads failed with %v and %v", l.logged.texts(), own, other)
		}
	}, worker("worker-1", "a"), worker("worker-10", "other"))
}
