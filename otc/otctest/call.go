package otctest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"
)

// A call is a request on its way through the Server.
type call struct {
	Request
	endpoint
	project   string // as in the path
	id        string // as in the path
	base      string // scheme://host of the request
	requestID string
	user      string // whose token it carries
	contended bool   // another PUT to the same route table is under way
	knobs     Knobs
	fault     Fault
	serial    int
	index     int
	resets    int
}

// serve records the request, lets a fault have its way and returns the answer.
func (s *Server) serve(r *http.Request, body []byte) (answer, error) {
	c := s.arrive(r, body)
	a, err := s.respond(r.Context(), c)
	s.leave(c, a, err)
	return a, err
}

func (s *Server) arrive(r *http.Request, body []byte) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	c := &call{
		Request: Request{Time: time.Now(), Op: OpOther, Method: r.Method, Host: host(r), Path: r.URL.Path,
			Query: r.URL.Query(), Header: r.Header.Clone(), Body: body},
		base: scheme(r) + "://" + host(r), requestID: compactID(fmt.Sprint("request ", s.serial)), knobs: s.knobs,
		serial: s.serial, index: len(s.requests), resets: s.resets,
	}
	c.locate(s.endpoints)
	s.requests = append(s.requests, c.Request)
	c.fault = s.take(c.Request)
	if c.Op == OpTableUpdate {
		c.contended = s.writers[c.id] > 0
		s.writers[c.id]++
	}
	return c
}

func (s *Server) leave(c *call, a answer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Op == OpTableUpdate {
		s.writers[c.id]--
	}
	if err == nil && c.resets == s.resets {
		s.requests[c.index].Status = a.status
	}
}

// respond takes half the latency before the request takes effect and half
// after, so that a client can give up on a PUT that is or will be applied.
func (s *Server) respond(ctx context.Context, c *call) (answer, error) {
	f := c.fault
	if f.Before != nil {
		f.Before()
	}
	if t := httptrace.ContextClientTrace(ctx); t != nil && t.GotConn != nil && f.connects() {
		t.GotConn(httptrace.GotConnInfo{})
	}
	if err := wait(ctx, c.knobs.Latency/2); err != nil {
		return answer{}, err
	}
	var a answer
	switch {
	case f.Late > 0:
		s.postpone(c)
	case f.Applied:
		a = s.handle(c)
	}
	if err := f.stall(ctx); err != nil {
		return answer{}, err
	}
	if !f.Applied && !f.replaces() {
		a = s.handle(c)
	}
	if f.answers() {
		a = f.answer(c)
	}
	if err := wait(ctx, c.knobs.Latency-c.knobs.Latency/2); err != nil {
		return answer{}, err
	}
	return f.spoil(a), nil
}

// handle does what the cloud would do without a fault.
func (s *Server) handle(c *call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, refused := s.admit(c); refused {
		return a
	}
	return c.do(s, c)
}

// postpone lets the call in now, if it is let in, and carries it out later.
func (s *Server) postpone(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, refused := s.admit(c); refused {
		return
	}
	time.AfterFunc(c.fault.Late, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.do(s, c)
	})
}

// admit answers a call that does not get as far as a service.
func (s *Server) admit(c *call) (answer, bool) {
	switch {
	case c.do == nil:
		return c.notFound(), true
	case c.service == serviceIAM:
		return answer{}, false
	}
	return s.refuse(c)
}

// wait returns after d, or with an error as soon as ctx is done.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func host(r *http.Request) string {
	if r.Host != "" {
		return r.Host
	}
	return r.URL.Host
}

func scheme(r *http.Request) string {
	switch {
	case r.URL.Scheme != "":
		return r.URL.Scheme
	case r.TLS != nil:
		return "https"
	}
	return "http"
}

// region returns what follows the service name in a host of the cloud
// ("eu-de.otc.t-systems.com"), or "" for any other host.
func region(host string) string {
	service, rest, _ := strings.Cut(host, ".")
	switch service {
	case "iam", "iam-pub", "vpc", "ecs":
		return rest
	}
	return ""
}
