package metrics

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"otc-route-manager/metrics/status"
)

func TestAddress(t *testing.T) {
	for subnet, want := range map[string]string{"127.0.0.0/8": "127.0.0.1:8080", "203.0.113.0/24": "invalid AddrPort"} {
		if got := Address([]netip.Prefix{netip.MustParsePrefix(subnet)}, 8080); got.String() != want {
			t.Errorf("%s: got %v, want %s", subnet, got, want)
		}
	}
}

// TestRunningPodStatus: what the other program answers, and soon nothing if it hangs.
func TestRunningPodStatus(t *testing.T) {
	t.Parallel() // it waits 2 s
	port := func(addr string) int {
		_, port, _ := net.SplitHostPort(addr)
		n, _ := strconv.Atoi(port)
		return n
	}
	listen := func(answer string) int {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
				t.Cleanup(func() { conn.Close() })
				io.WriteString(conn, answer)
			}
		}()
		return port(l.Addr().String())
	}
	refused := status.Status{LoginRefused: "iam login: HTTP 401 \"<no>\"", Reasons: []status.Reason{{Text: "why"}}}
	ours := port(serve(t, Server(handler(refused, nil), slog.New(slog.DiscardHandler))))
	for name, test := range map[string]struct {
		port int
		want status.Summary
	}{
		"ours":            {ours, status.Summary{LoginRefused: refused.LoginRefused, Reason: "why"}},
		"nobody":          {1, status.Summary{}},
		"another program": {listen("HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{\"login_refused\":\"no\","), status.Summary{}},
		"one that hangs":  {listen(""), status.Summary{}},
	} {
		answer := make(chan status.Summary, 1)
		go func() { answer <- RunningPodStatus(test.port) }()
		select {
		case got := <-answer:
			if got != test.want {
				t.Errorf("%s: got %+v, want %+v", name, got, test.want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: no answer within 10 s, want one within 2 s", name)
		}
	}
}
