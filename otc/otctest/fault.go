package otctest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"
)

// A Fault spoils requests. Which ones: Op, Match, After and Times. How: the
// rest. A fault without Status, Body, Err, Reset or Hang lets the request take
// effect and only delays or damages its answer. Faults are tried in the order
// in which they were queued; a request meets at most one.
type Fault struct {
	Op    string             // "": any operation
	Match func(Request) bool // nil: any request. Must not call methods of the Server
	After int                // leave that many matching requests alone first
	Times int                // requests to spoil; 0: one, -1: all until Heal

	Before func() // called before anything else happens; may call the Server: another writer, say

	Status  int // of the answer. 0 with Body or ApplyFirst: 200 or 500
	Code    string
	Message string
	Shape   Shape                // of the error body; 0: the one of the service and code
	Header  http.Header          // more header fields
	Body    []byte               // instead of an error body; empty but not nil: none
	Echo    func(Request) string // instead of Message: what the request held, say

	Applied    bool          // the request takes effect first, then its answer is delayed, replaced or lost
	ApplyFirst int           // table.update: that many operations take effect, then comes the error
	Delay      time.Duration // before the request takes effect, or after it if Applied
	Late       time.Duration // the request takes effect after the request arrived it takes effect, whatever has happened since
	Hang       bool          // no answer until the client gives up
	Reset      bool          // the connection is reset
	Err        error         // RoundTrip returns it; a socket is reset. Without a connection, if it is of a dial, a proxy or a look-up
	Truncate   bool          // the connection ends before the body does
	Keep       int           // bytes of the body that get through before that; 0: it ends after the header
	Slow       time.Duration // time between two bytes of the body
}

// queued is a Fault with what is left of it.
type queued struct {
	Fault
	after, times int
}

// Fail queues a fault.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &queued{Fault: f, after: f.After, times: f.Times}
	if q.times == 0 {
		q.times = 1
	}
	s.faults = append(s.faults, q)
}

// Heal drops all faults that are left.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Pending returns the number of queued faults that are not used up.
func (s *Server) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.faults)
}

// take returns the fault that r meets, or the zero Fault.
func (s *Server) take(r Request) Fault {
	for i, q := range s.faults {
		if q.Op != "" && q.Op != r.Op || q.Match != nil && !q.Match(r) {
			continue
		}
		if q.after > 0 {
			q.after--
			continue
		}
		if q.times > 0 {
			q.times--
		}
		if q.times == 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return q.Fault
	}
	return Fault{}
}

// replaces reports whether the request must not take effect by itself.
func (f Fault) replaces() bool {
	return f.ApplyFirst == 0 && (f.Late > 0 || f.Status != 0 || f.Body != nil || f.Err != nil || f.Reset || f.Hang)
}

// answers reports whether the fault brings its own answer.
func (f Fault) answers() bool { return f.Status != 0 || f.Body != nil || f.ApplyFirst > 0 }

// connects reports whether there is a connection before the fault shows.
func (f Fault) connects() bool {
	var dns *net.DNSError
	var op *net.OpError
	return !errors.As(f.Err, &dns) && !(errors.As(f.Err, &op) && (op.Op == "dial" || op.Op == "proxyconnect"))
}

// stall lets time pass, and fails if the fault leaves the request without an answer.
func (f Fault) stall(ctx context.Context) error {
	if err := wait(ctx, f.Delay); err != nil {
		return err
	}
	switch {
	case f.Err != nil:
		return f.Err
	case f.Reset:
		return &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	case f.Hang, f.Late > 0 && !f.answers():
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (f Fault) answer(c *call) answer {
	status := f.Status
	switch {
	case status == 0 && f.Body != nil:
		status = http.StatusOK
	case status == 0:
		status = http.StatusInternalServerError
	}
	message := f.Message
	if f.Echo != nil {
		message = f.Echo(c.Request)
	}
	a := c.fail(f.Shape, status, f.Code, message)
	if f.Body != nil {
		a.body = f.Body
	}
	for name, values := range f.Header {
		a.header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	return a
}

// spoil damages how the answer gets through.
func (f Fault) spoil(a answer) answer {
	a.truncate, a.keep, a.slow = f.Truncate, max(0, min(f.Keep, len(a.body)-1)), f.Slow
	return a
}
