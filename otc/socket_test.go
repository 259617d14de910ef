package otc

import (
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"otc-route-manager/otc/otctest"
)

// These tests use real sockets and therefore no bubble, and nothing that waits.

// A socket is a pretend cloud behind TLS, with the connections it has seen.
type socket struct {
	*httptest.Server
	mu    sync.Mutex
	conns int
}

func newSocket(t *testing.T, cloud http.Handler) *socket {
	s := &socket{Server: httptest.NewUnstartedServer(cloud)}
	s.start(t)
	return s
}

// start opens the socket, and closes it in the end.
func (s *socket) start(t *testing.T) {
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if state == http.StateNew {
			s.conns++
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
}

func (s *socket) roots() (*x509.CertPool, error) { return poolOf(s.Certificate()), nil }

func poolOf(authorities ...*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range authorities {
		pool.AddCert(cert)
	}
	return pool
}

// overSocket makes a world's client use the socket.
func (s *socket) overSocket(c *Config) {
	c.Transport, c.AuthURL, c.RootCAs = nil, s.URL+"/v3", s.roots
}

func TestOneConnection(t *testing.T) {
	cloud := otctest.New()
	s := newSocket(t, cloud)
	w := newWorld(t, s.overSocket)
	cloud.Set(func(k *otctest.Knobs) { k.TokenSize = 20 << 10 })
	for range 10 {
		w.mustRead()
		if err := w.write(); err != nil && !strings.Contains(err.Error(), "VPC.2812") {
			t.Errorf("got %v", err)
		}
		if _, err := w.client.Server(t.Context(), one); !IsNotFound(err) {
			t.Errorf("got %v, want no such server", err)
		}
	}
	cloud.RevokeTokens()
	w.mustRead()
	if n := cloud.Count(""); n != 1+30+3 {
		t.Errorf("got %d requests, want 34", n)
	}
	if s.conns != 1 {
		t.Errorf("got %d connections, want 1 for all calls", s.conns)
	}
}

// Package http repeats some requests by itself on a connection that it has used
// before; a PUT must not be one of them.
func TestWriteIsNotRepeatedOverASocket(t *testing.T) {
	cloud := otctest.New()
	w := newWorld(t, newSocket(t, cloud).overSocket)
	w.mustRead()
	cloud.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Applied: true, Reset: true, Times: -1})
	if e := asError(t, w.write()); e.Reaction != Transient || e.Status != 0 {
		t.Errorf("got %v, want a lost connection", e)
	}
	if n := cloud.Count(otctest.OpTableUpdate); n != 1 {
		t.Errorf("got %d PUTs, want 1", n)
	}
}

// A certificate does not get better by asking again.
func TestBadCertificateOnRead(t *testing.T) {
	good, bad := newSocket(t, otctest.New()), newSocket(t, otctest.New())
	w := newWorld(t, good.overSocket, func(c *Config) {
		c.VPCEndpoint = strings.Replace(bad.URL, "127.0.0.1", "localhost", 1)
	})
	if e := asError(t, w.read()); e.Service != "vpc" || e.Reaction != Permanent {
		t.Errorf("got %v (%v), want a refused certificate", e, e.Reaction)
	}
	if bad.conns != 1 {
		t.Errorf("got %d connections, want 1", bad.conns)
	}
}

func TestNoTLSAtAll(t *testing.T) {
	plain := httptest.NewServer(otctest.New())
	defer plain.Close()
	w := newWorld(t, func(c *Config) { c.Transport, c.AuthURL = nil, strings.Replace(plain.URL, "http:", "https:", 1)+"/v3" })
	if e := asError(t, w.read()); e.Reaction != Transient || !strings.Contains(e.Error(), "TLS handshake") {
		t.Errorf("got %v", e)
	}
	w = newWorld(t, func(c *Config) { c.Transport, c.AuthURL = nil, plain.URL+"/v3" })
	w.mustRead() // loopback may be plain
}

func TestNobodyListens(t *testing.T) {
	gone := httptest.NewServer(otctest.New())
	gone.Close()
	w := newWorld(t, func(c *Config) { c.Transport, c.AuthURL = nil, gone.URL+"/v3" })
	if e := asError(t, w.read()); e.Reaction != Transient || !strings.HasPrefix(e.Error(), "iam login: dial tcp ") || !strings.Contains(e.Error(), "refused") {
		t.Errorf("got %v, want a refused connection", e)
	}
}

// R13: a token is a header of the answer, and has a bound as well.
func TestTokenThatIsTooLarge(t *testing.T) {
	cloud := otctest.New()
	w := newWorld(t, newSocket(t, cloud).overSocket)
	cloud.Set(func(k *otctest.Knobs) { k.TokenSize = 300 << 10 })
	if err := w.read(); err == nil || len(err.Error()) > 500 {
		t.Errorf("got %v, want an answer that is too large", err)
	}
	cloud.Set(func(k *otctest.Knobs) { k.TokenSize = 60 << 10 })
	w = newWorld(t, func(c *Config) {
		c.Transport, c.AuthURL, c.RootCAs = w.client.transport.base, w.client.cfg.AuthURL, w.client.cfg.RootCAs
	})
	w.mustRead()
}
