package otc

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc/otctest"
)

// A signer is a private CA.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newSigner(t *testing.T) signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := signer{&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "some CA"}, NotBefore: time.Now().Add(-90 * 24 * time.Hour),
		NotAfter: time.Now().Add(90 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, key}
	der := s.sign(t, s.cert, key)
	if s.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s signer) sign(t *testing.T, cert *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, cert, s.cert, &key.PublicKey, s.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// issue makes a server's certificate for 127.0.0.1, as edited.
func (s signer) issue(t *testing.T, edit func(*x509.Certificate)) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if edit != nil {
		edit(c)
	}
	return tls.Certificate{Certificate: [][]byte{s.sign(t, c, key)}, PrivateKey: key}
}

// R12: a certificate's fault has a hint of its own, and only an unknown CA is a case
// for OS_CACERT. Nothing was sent, so that no login has to wait.
func TestCertificates(t *testing.T) {
	ca := newSigner(t)
	for _, tt := range []struct {
		name    string
		edit    func(*x509.Certificate)
		unknown bool // its CA
		hint    string
	}{
		{"good", nil, false, ""},
		{"expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, false, "has expired…clock is wrong"},
		{"not yet valid", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, false, "not valid yet: is this node's clock right?"},
		{"another host's", func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"iam.eu-nl.test"} }, false, "another host's: check the endpoint's URL…proxy"},
		{"no host's", func(c *x509.Certificate) { c.IPAddresses, c.Subject.CommonName = nil, "127.0.0.1" }, false, "names no host…issue a new one"},
		{"for clients only", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, false, "cannot be used"},
		{"of an unknown CA", nil, true, "OS_CACERT"},
		{"of an unknown CA, and expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, true, "has expired"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cloud := otctest.New()
			s := &socket{Server: httptest.NewUnstartedServer(cloud)}
			s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, tt.edit)}}
			s.start(t)
			w := newWorld(t, s.overSocket, func(c *Config) {
				c.RootCAs = func() (*x509.CertPool, error) { return poolOf(ca.cert), nil }
				if tt.unknown {
					c.RootCAs = func() (*x509.CertPool, error) { return poolOf(), nil }
				}
			})
			err := w.read()
			if tt.hint == "" {
				if err != nil {
					t.Errorf("got %v, want the table", err)
				}
				return
			}
			e := asError(t, err)
			wantParts(t, e.Error(), "iam login: tls: failed to verify certificate: ")
			wantParts(t, e.Hint, tt.hint)
			if e.Reaction != Permanent || !e.NotSent || e.Service != "iam" || e.RetryAfter != 0 || strings.Contains(e.Hint, "OS_CACERT") != (tt.hint == "OS_CACERT") {
				t.Errorf("got %#v", e)
			}
			if n := cloud.Count(""); n != 0 {
				t.Errorf("got %d requests, want none", n)
			}
		})
	}
}

// A private CA that is replaced in its file is trusted without a restart. The file is
// read once a minute at most, and one that cannot be read changes nothing.
func TestReplacedAuthority(t *testing.T) {
	before, after := newSigner(t), newSigner(t)
	s := &socket{Server: httptest.NewUnstartedServer(otctest.New())}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{before.issue(t, nil)}}
	s.start(t)
	file, reads := before.cert, 0
	w := newWorld(t, s.overSocket, func(c *Config) {
		c.RootCAs = func() (*x509.CertPool, error) {
			if reads++; file == nil {
				return nil, errors.New("no such file")
			}
			return poolOf(file), nil
		}
	})
	w.mustRead()
	trust := w.client.cfg.Transport.(*trustTransport)
	old := trust.current.Load()
	s.TLS.Certificates = []tls.Certificate{after.issue(t, nil)}
	trust.CloseIdleConnections()
	for _, tt := range []struct {
		name     string
		file     *x509.Certificate
		ago      time.Duration // since the file was read
		reaction Reaction
		reads    int
	}{
		{"read a moment ago", after.cert, 50 * time.Second, Permanent, 1},
		{"not readable", nil, time.Minute, Permanent, 2},
		{"read a moment ago, in vain", after.cert, 50 * time.Second, Permanent, 2},
		{"the same", before.cert, time.Minute, Permanent, 3},
		{"another", after.cert, time.Minute, Transient, 4},
	} {
		file, trust.readAt = tt.file, time.Now().Add(-tt.ago)
		err := w.write()
		if e := asError(t, err); e.Reaction != tt.reaction || !e.NotSent || reads != tt.reads {
			t.Errorf("%s: got %v, %v, after %d reads of the file", tt.name, e, e.Reaction, reads)
		}
	}
	if !trust.replace(old) {
		t.Error("another request that failed at the same time is not told")
	}
	if err := w.write(); err != nil || reads != 4 {
		t.Errorf("got %v after %d reads of the file", err, reads)
	}
}

// wantParts checks that text has the parts, which are separated by "…".
func wantParts(t *testing.T, text, parts string) {
	t.Helper()
	for part := range strings.SplitSeq(parts, "…") {
		if !strings.Contains(text, part) {
			t.Errorf("got %q, want %q in it", text, part)
		}
	}
}

func TestTLS11IsRefused(t *testing.T) {
	s := &socket{Server: httptest.NewUnstartedServer(otctest.New())}
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	s.start(t)
	if e := asError(t, newWorld(t, s.overSocket).read()); !e.NotSent || !strings.Contains(e.Error(), "protocol version") {
		t.Errorf("got %v, want a refused TLS version", e)
	}
}

// A connectProxy answers CONNECT with a status.
func connectProxy(t *testing.T, answer string) *httptest.Server {
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// R12: what a proxy answers to CONNECT comes from the proxy, and the endpoint has never
// heard of the request: the hint is about the way, and no login has to wait.
func TestProxyRefusesToConnect(t *testing.T) {
	const page = "\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
	for _, tt := range []struct {
		answer, want string
		reaction     Reaction
	}{
		{"HTTP/1.1 403 Forbidden" + page, "iam login: proxy 127.0.0.1:…answers CONNECT with HTTP 403…allowed there…NO_PROXY", Permanent},
		{"HTTP/1.1 407 Proxy Authentication Required" + page, "HTTP 407…user and password in HTTPS_PROXY", Permanent},
		{"HTTP/1.1 302 Found\r\nLocation: http://login.corp.example/" + page, "HTTP 302…HTTPS_PROXY", Permanent},
		{"HTTP/1.1 502 Bad Gateway" + page, "HTTP 502…HTTPS_PROXY", Transient},
		{"HTTP/1.1 503 Service Unavailable" + page, "HTTP 503…HTTPS_PROXY", Transient},
		{"", "no connection, the CONNECT request failed: …EOF…HTTPS_PROXY", Transient},
		{"SSH-2.0-OpenSSH_9\r\n", "the CONNECT request failed: malformed…HTTPS_PROXY", Transient},
		{"HTTP/1.1 200 OK\r\n\r\n", "no connection, the TLS handshake failed: …HTTPS_PROXY", Transient}, // and closes
		{"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK" + page, "HTTPS_PROXY", Transient},
	} {
		proxy := connectProxy(t, tt.answer)
		tr := newHTTPTransport(nil)
		tr.Proxy = func(*http.Request) (*url.URL, error) {
			u, err := url.Parse(proxy.URL)
			u.User = url.UserPassword("corp", "geheim-1")
			return u, err
		}
		w := newWorld(t, func(c *Config) { c.Transport = tr })
		e := asError(t, w.read())
		wantParts(t, e.Error(), tt.want)
		if e.Reaction != tt.reaction || !e.NotSent || e.RetryAfter != 0 || strings.Contains(e.Error(), "OS_PASSWORD") {
			t.Errorf("%.20q: got %v, %#v", tt.answer, e, e)
		}
		wantSilence(t, e.Error()+w.log.String(), "the error", "geheim-1", "Y29ycDpnZWhlaW0tMQ")
	}
}

func TestProxyOfTheEnvironment(t *testing.T) {
	if got := reflect.ValueOf(newHTTPTransport(nil).Proxy).Pointer(); got != reflect.ValueOf(http.ProxyFromEnvironment).Pointer() {
		t.Error("HTTPS_PROXY is not read")
	}
}

// R13: what is slow to connect is given the attempt's whole 20 s, whatever takes them.
func TestConnectionsTakeTheirTime(t *testing.T) {
	ca := newSigner(t)
	for _, tt := range []struct {
		name      string
		dial, tls time.Duration
		want      string // "": an answer
	}{
		{"a dial of 19 s", 19 * time.Second, 0, ""},
		{"a TLS handshake of 19 s", 0, 19 * time.Second, ""},
		{"9 s each", 9 * time.Second, 9 * time.Second, ""},
		{"a TLS handshake without end", 0, time.Hour, "no connection within 20s, the TLS handshake did not end: …firewall"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				tr := newHTTPTransport(nil)
				tr.TLSClientConfig.InsecureSkipVerify = true // a bubble's clock begins in 2000
				tr.DialContext = func(context.Context, string, string) (net.Conn, error) {
					pass(tt.dial)
					here, there := net.Pipe()
					go serveLate(tls.Server(there, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, nil)}}), there, tt.tls)
					return here, nil
				}
				w.client.transport.base = tr
				defer tr.CloseIdleConnections()
				k := &call{service: "vpc", operation: opTable, method: http.MethodPut, url: "https://vpc.test/"}
				err := w.client.transport.send(t.Context(), k)
				if tt.want == "" {
					if err != nil {
						t.Errorf("got %v, want an answer", err)
					}
					return
				}
				e := asError(t, err)
				wantParts(t, e.Error(), tt.want)
				if !e.NotSent {
					t.Errorf("got %#v", e)
				}
			})
		})
	}
}

// serveLate answers one request after the TLS handshake has waited.
func serveLate(c *tls.Conn, raw net.Conn, wait time.Duration) {
	defer func() { _ = raw.Close() }()
	if wait >= attemptTimeout {
		_, _ = io.Copy(io.Discard, raw)
		return
	}
	pass(wait)
	for in := bufio.NewReader(c); ; {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
	}
}

// R13: one name server that is dead costs 5 s of each look-up (resolv.conf(5)), and
// not the connection.
func TestDeadNameServer(t *testing.T) {
	cloud := otctest.New()
	server := httptest.NewServer(cloud)
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	before := net.DefaultResolver
	_, _ = (&net.Resolver{PreferGo: true}).LookupHost(t.Context(), "localhost") // reads resolv.conf outside of the bubble
	defer func() { net.DefaultResolver = before }()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go serveName(there, time.Since(start) < 4*time.Second)
			return here, nil
		}}
		tr := newHTTPTransport(nil)
		req, err := http.NewRequestWithContext(within(t, attemptTimeout), http.MethodGet, "http://vpc.otc.test.:"+port+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatalf("got %v after %v, want an answer", err, time.Since(start))
		}
		_ = resp.Body.Close()
		tr.CloseIdleConnections()
		if d := time.Since(start); d < 5*time.Second {
			t.Errorf("it took %v: no server was dead", d)
		}
	})
}

// serveName answers each DNS query (RFC 1035 §4, over a stream) with 127.0.0.1 for A
// and nothing for AAAA, or with silence.
func serveName(c net.Conn, dead bool) {
	defer func() { _ = c.Close() }()
	for {
		var size uint16
		if binary.Read(c, binary.BigEndian, &size) != nil {
			return
		}
		q := make([]byte, size)
		if _, err := io.ReadFull(c, q); err != nil {
			return
		}
		if dead {
			continue
		}
		end := 12
		for q[end] != 0 {
			end += int(q[end]) + 1
		}
		question := q[12 : end+5]
		a := append([]byte{q[0], q[1], 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
		if q[end+2] == 1 {
			a[7] = 1
			a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1)
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil {
			return
		}
	}
}
