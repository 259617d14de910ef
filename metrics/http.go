package metrics

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"otc-route-manager/metrics/status"
)

// Handler answers GET and HEAD on /metrics, /health and /, the status page.
// Nothing can be changed through it.
//
// /health is liveness: 200, or 503 with the error of alive. /health?ready=1 is
// readiness: 200 or 503 with the reasons of status. /health?status=1 is a
// [status.Summary], always with 200: `kubectl get --raw` drops the body of a 503. /metrics takes the state of the Node from status, too.
// Each function is called for the requests that need it, concurrently, and must
// return at once.
//
// Call Handler once, before the first request.
func (m *Metrics) Handler(status func() status.Status, alive func() error) http.Handler {
	m.state.status = status
	page := newPage()
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.reg, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError, // one collector's trouble must not hide our series
		DisableCompression:  true,                     // 20 kB a scrape are not worth a compressor's memory
		MaxRequestsInFlight: 10,
	}))
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		if asks(r, "status") {
			summary(w, status())
		} else if asks(r, "ready") {
			s := status()
			answer(w, s.Ready, readyReason(s))
		} else if err := alive(); err != nil {
			answer(w, false, err.Error())
		} else {
			answer(w, true, "ok")
		}
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if !isOwnHost(r.Host) {
			http.Error(w, "no page under this host name: use the pod's address, or localhost with make port-forward", http.StatusMisdirectedRequest)
			return
		}
		page.write(w, m.view(status(), time.Now()))
	})
	return secured(mux)
}

// Server returns a server for h that holds few connections and soon closes slow ones.
// Their errors are logged at debug level: anybody can cause them.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 3 * time.Second, // of a new connection's silence, too
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       75 * time.Second, // a scrape every minute keeps its connection
		MaxHeaderBytes:    8 << 10,
		ConnState:         new(connLimiter).changed,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// secured sets what every answer has in common.
func secured(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
		h.ServeHTTP(w, r)
	})
}

// isOwnHost reports whether a Host header is an address, or a name that is not in the
// public DNS: one without a dot (localhost, a pod, a Service), or one of the cluster's.
// Under any other name a foreign web page could read ours in the browser of somebody
// with a port-forward (DNS rebinding). /health and /metrics are answered under every
// name: the API server's pod proxy, which make status uses, leaves its own in place.
func isOwnHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	_, err := netip.ParseAddr(host)
	return err == nil || !strings.Contains(host, ".") || strings.HasSuffix(host, ".svc") || strings.HasSuffix(host, ".svc.cluster.local")
}

// asks reports whether the query asks for what is named: ready=1, but ready=true
// and a bare ready too, so that no spelling of the wish gets liveness.
func asks(r *http.Request, name string) bool {
	query := r.URL.Query()
	wish, err := strconv.ParseBool(query.Get(name))
	return query.Has(name) && (wish || err != nil)
}

// summary writes the answer to /health?status=1.
func summary(w http.ResponseWriter, s status.Status) {
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false) // .make/nodes knows no escape but \" and \\
	_ = out.Encode(status.Summary{Ready: s.Ready, InSync: s.InSync, LoginRefused: oneLine(s.LoginRefused), Reason: oneLine(readyReason(s))})
}

func readyReason(s status.Status) string {
	switch {
	case len(s.Reasons) > 0:
		return s.Line()
	case s.Ready:
		return "ready"
	}
	return "not ready"
}

// answer writes one line of plain text, with 200 or 503.
func answer(w http.ResponseWriter, ok bool, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	w.Write([]byte(oneLine(line) + "\n"))
}

// oneLine makes s fit for a line that people read.
func oneLine(s string) string { return strings.Map(printable, s) }

// printable returns a blank for white space and a replacement for what has no glyph,
// such as a control or bidirectional character.
func printable(r rune) rune {
	switch {
	case unicode.IsSpace(r):
		return ' '
	case unicode.IsGraphic(r):
		return r
	}
	return unicode.ReplacementChar
}
