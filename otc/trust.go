package otc

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const rereadPause = time.Minute // between two reads of the trusted authorities

// A trustTransport reads the trusted authorities again when a certificate is not
// trusted, at most once a minute.
type trustTransport struct {
	read    func() (*x509.CertPool, error)
	current atomic.Pointer[http.Transport]

	mu     sync.Mutex
	readAt time.Time
}

// newTrustTransport trusts the system's authorities if read is nil or fails. These are loaded (2 MB) with
// the first certificate, not here.
func newTrustTransport(read func() (*x509.CertPool, error)) *trustTransport {
	t := &trustTransport{read: read, readAt: time.Now()}
	var roots *x509.CertPool
	if read != nil {
		roots, _ = read()
	}
	t.current.Store(newHTTPTransport(roots))
	return t
}

// RoundTrip does not repeat the request. Its error is none of a certificate when there
// are other authorities by now: the next attempt may succeed.
func (t *trustTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	used := t.current.Load()
	resp, err := used.RoundTrip(r)
	if err != nil && isBadCertificate(err) && t.replace(used) {
		err = fmt.Errorf("%v; OS_CACERT has changed, and is used from now on", err)
	}
	return resp, err
}

// replace reports whether other authorities are trusted by now than those of used.
func (t *trustTransport) replace(used *http.Transport) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current.Load() != used {
		return true
	}
	if t.read == nil || time.Since(t.readAt) < rereadPause {
		return false
	}
	t.readAt = time.Now()
	roots, err := t.read()
	if err != nil || roots.Equal(used.TLSClientConfig.RootCAs) {
		return false
	}
	t.current.Store(newHTTPTransport(roots))
	return true
}

// CloseIdleConnections is what go-retryablehttp asks for after a failed call.
func (t *trustTransport) CloseIdleConnections() { t.current.Load().CloseIdleConnections() }
