package otctest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// An answer is what goes back, and how.
type answer struct {
	status   int
	header   http.Header
	body     []byte
	truncate bool
	keep     int // bytes that get through if truncate
	slow     time.Duration
}

// reply returns an answer with a JSON body.
func (c *call) reply(status int, v any) answer {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // v is built from strings, numbers, slices and maps of them
	}
	return c.raw(status, "application/json", body)
}

func (c *call) raw(status int, contentType string, body []byte) answer {
	return answer{status: status, body: body, header: http.Header{
		"Content-Type": {contentType},
		"Server":       {"api-gateway"},
		"X-Request-Id": {c.requestID},
	}}
}

// sent returns the bytes that get through.
func (a answer) sent() []byte {
	if a.truncate {
		return a.body[:a.keep]
	}
	return a.body
}

// write sends the answer over a socket. A body shorter than its Content-Length
// makes the server close the connection.
func (a answer) write(ctx context.Context, w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	rc := http.NewResponseController(w)
	for chunk := range a.chunks() {
		if a.slow > 0 && wait(ctx, a.slow) != nil {
			break
		}
		if _, err := w.Write(chunk); err != nil {
			return
		}
		if a.slow > 0 {
			_ = rc.Flush() // the next Write reports a lost client
		}
	}
}

// chunks yields what gets through: at once, or byte by byte if it is slow.
func (a answer) chunks() func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		b := a.sent()
		if a.slow == 0 {
			yield(b)
			return
		}
		for i := range b {
			if !yield(b[i : i+1]) {
				return
			}
		}
	}
}

// response returns the answer as a client's transport would.
func (a answer) response(r *http.Request) *http.Response {
	var body io.Reader = bytes.NewReader(a.sent())
	if a.slow > 0 {
		body = slowReader(r.Context(), body, a.slow)
	}
	if a.truncate {
		body = io.MultiReader(body, readFunc(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }))
	}
	return &http.Response{
		Status:     strconv.Itoa(a.status) + " " + http.StatusText(a.status),
		StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: io.NopCloser(body), ContentLength: int64(len(a.body)), Request: r,
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// slowReader returns a reader of single bytes, each after d.
func slowReader(ctx context.Context, r io.Reader, d time.Duration) io.Reader {
	return readFunc(func(p []byte) (int, error) {
		if err := wait(ctx, d); err != nil {
			return 0, err
		}
		return r.Read(p[:min(1, len(p))])
	})
}

// abort ends the connection without an answer, by a reset where that is possible.
func abort(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // makes Close send a reset
	}
	_ = conn.Close()
}
