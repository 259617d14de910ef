package metrics

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"otc-route-manager/metrics/status"
)

// A namedConn remembers that it was closed. Its name begins with the last number of
// its peer's address.
type namedConn struct {
	net.Conn
	name   string
	closed *[]string
}

func (c namedConn) Close() error {
	*c.closed = append(*c.closed, c.name)
	return nil
}

func (c namedConn) RemoteAddr() net.Addr {
	peer, _, _ := strings.Cut(c.name, "-")
	addr, _ := net.ResolveTCPAddr("tcp", "10.0.0."+peer+":40000")
	return addr
}

func TestConnLimiter(t *testing.T) {
	states := map[string]http.ConnState{"new": http.StateNew, "active": http.StateActive, "idle": http.StateIdle, "closed": http.StateClosed}
	all := func(event, format string) string { // of 32 connections
		var events []string
		for i := range maxConnections {
			events = append(events, event+" "+fmt.Sprintf(format, i))
		}
		return strings.Join(events, ", ")
	}
	full := all("new", "1-%d")
	tests := []struct{ name, events, closed string }{
		{"one is closed before another is opened", full + ", closed 1-7, new 1-a", ""},
		{"the longest idle one is evicted", full + ", new 1-a, new 1-b", "1-0 1-1"},
		{"one that has just answered has not been idle long", full + ", active 1-0, idle 1-0, new 1-a", "1-1"},
		{"one in the middle of a request stays", full + ", active 1-0, new 1-a", "1-1"},
		{"a request is evicted if none is idle", full + ", " + all("active", "1-%d") + ", new 1-a, new 1-b", "1-0 1-a"},
		{"each peer has one", all("new", "%d-x") + ", active 0-x, new 99-x", "1-x"},
		{"one of the peer that holds most is evicted", "new 2-x, " + full + ", new 3-x, new 1-a", "1-0 1-1 1-2"},
		{"also with requests", "new 2-x, " + full + ", " + all("active", "1-%d") + ", new 1-a, new 1-b", "1-0 1-1 1-a"},
	}
	for _, test := range tests {
		var c connLimiter
		var closed []string
		for _, event := range strings.Split(test.events, ", ") {
			state, name, _ := strings.Cut(event, " ")
			c.changed(namedConn{name: name, closed: &closed}, states[state])
		}
		if got := strings.Join(closed, " "); got != test.closed {
			t.Errorf("%s: closed %q, want %q", test.name, got, test.closed)
		}
	}
}

// TestFlood: however many connections a peer opens, few stay open, and a probe is answered.
func TestFlood(t *testing.T) {
	for name, sent := range map[string]string{"silent": "", "in the middle of a request": "GET /metrics HTTP/1.1\r\nX-Slow", "kept alive": "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			srv := Server(handler(status.Status{}, nil), slog.New(slog.DiscardHandler))
			srv.ReadHeaderTimeout, srv.ReadTimeout, srv.IdleTimeout = 0, 0, 0 // only eviction closes a connection
			addr := serve(t, srv)
			closed := make(chan struct{}, 500)
			for range cap(closed) {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, sent) // it may be closed already
				go func() { _, _ = io.Copy(io.Discard, conn); closed <- struct{}{} }()
			}
			client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
			r, err := client.Get("http://" + addr + "/health?ready=0")
			if err != nil || r.StatusCode != http.StatusOK {
				t.Fatalf("got %v, %v, want an answer at once", r, err)
			}
			r.Body.Close()
			late := time.After(10 * time.Second)
			for n := range cap(closed) - maxConnections {
				select {
				case <-closed:
				case <-late:
					t.Fatalf("got %d of %d closed, want %d", n, cap(closed), cap(closed)-maxConnections)
				}
			}
		})
	}
}
