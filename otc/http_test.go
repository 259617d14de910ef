package otc

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc/otctest"
)

// Frames of HTTP/2 (RFC 9113 §6), as far as a peer needs them that answers nothing.
const (
	frameData, frameReset, frameSettings, frameGoAway = 0, 3, 4, 7
	protocolError                                     = 1
)

func frame(kind byte, stream uint32, payload ...byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	return append(binary.BigEndian.AppendUint32(append(head, 0), stream), payload...)
}

// A resetter is a peer that takes whole requests, by HTTP/2 if it is asked to, and
// answers none of them.
type resetter struct {
	net.Listener
	goAway bool // says that nothing was processed, though it was
	whole  atomic.Int32
	http2  atomic.Bool // was spoken
}

func newResetter(t *testing.T, cloud *socket, goAway bool) *resetter {
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: cloud.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	r := &resetter{Listener: l, goAway: goAway}
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go r.serve(c.(*tls.Conn))
		}
	}()
	return r
}

func (r *resetter) serve(c *tls.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	if c.Handshake() == nil && c.ConnectionState().NegotiatedProtocol == "h2" {
		r.http2.Store(true)
		r.serveHTTP2(in, c)
		return
	}
	req, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, req.Body); err == nil {
		r.whole.Add(1)
	}
}

func (r *resetter) serveHTTP2(in io.Reader, out io.Writer) {
	_, _ = io.CopyN(io.Discard, in, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
	_, _ = out.Write(frame(frameSettings, 0))
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, in, int64(binary.BigEndian.Uint32(head)>>8))
		switch stream := binary.BigEndian.Uint32(head[5:]); {
		case head[3] == frameSettings && head[4] == 0:
			ack := frame(frameSettings, 0)
			ack[4] = 1
			_, _ = out.Write(ack)
		case head[3] == frameData && head[4]&1 != 0 && r.goAway:
			r.whole.Add(1)
			_, _ = out.Write(frame(frameGoAway, 0, 0, 0, 0, 0, 0, 0, 0, 0))
		case head[3] == frameData && head[4]&1 != 0:
			r.whole.Add(1)
			_, _ = out.Write(frame(frameReset, stream, 0, 0, 0, protocolError))
		}
	}
}

// R6, R7: a request whose answer never comes is sent once, by all layers. Package
// http repeats it over HTTP/2, thousands of times.
func TestNothingIsSentTwice(t *testing.T) {
	cloud := otctest.New()
	s := newSocket(t, cloud)
	for _, goAway := range []bool{false, true} {
		for op, change := range map[string]func(*Config, string){
			"login": func(c *Config, url string) { c.AuthURL = url + "/v3" },
			"PUT":   func(c *Config, url string) { c.VPCEndpoint = url },
		} {
			r := newResetter(t, s, goAway)
			w := newWorld(t, s.overSocket, func(c *Config) { change(c, "https://"+r.Addr().String()) })
			if e := asError(t, w.write()); e.Reaction != Transient || e.Status != 0 {
				t.Errorf("%s: got %v, want a lost connection", op, e)
			}
			if n, http2 := r.whole.Load(), r.http2.Load(); n != 1 || http2 {
				t.Errorf("%s, go away %v, HTTP/2 %v: %d whole requests arrived, want 1 over HTTP/1.1", op, goAway, http2, n)
			}
		}
	}
}

// A connection at rest is kept for 90 s: a renewed address of the cloud counts
// from then on, and no firewall drops what is still in use.
func TestIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newHTTPTransport(nil)
		dials := 0
		tr.DialContext = func(context.Context, string, string) (net.Conn, error) {
			dials++
			here, there := net.Pipe()
			go func() {
				for in := bufio.NewReader(there); ; {
					if _, err := http.ReadRequest(in); err != nil {
						_ = there.Close()
						return
					}
					_, _ = io.WriteString(there, "HTTP/1.1 204 No Content\r\n\r\n")
				}
			}()
			return here, nil
		}
		for _, tt := range []struct {
			rest time.Duration
			want int
		}{{0, 1}, {80 * time.Second, 1}, {100 * time.Second, 2}} {
			pass(tt.rest)
			resp, err := tr.RoundTrip(httptest.NewRequest(http.MethodGet, "http://vpc.test/", nil))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if dials != tt.want {
				t.Errorf("after %v at rest: got %d connections, want %d", tt.rest, dials, tt.want)
			}
		}
		tr.CloseIdleConnections()
	})
}
