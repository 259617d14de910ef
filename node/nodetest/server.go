// Package nodetest is a Kubernetes API with Nodes and Events and nothing else.
//
// It speaks the wire format of a real API server (JSON and protobuf, list,
// watch, watch-list, bookmarks, expired versions, errors as Status) and honours
// the field selector, which client-go's fake does not. State goes in by Go
// calls, faults too; requests and Events come out. It does not check identity,
// does not page and knows no label selectors. It imports no package testing, so
// that the demo and benchmarks can serve it too.
package nodetest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// A Server is the API. It is an [http.Handler]; make one with [New].
// All its methods may be called at any time from any goroutine.
type Server struct {
	codecs serializer.CodecFactory
	params runtime.ParameterCodec

	mu        sync.Mutex
	version   uint64 // the resourceVersion of the last write
	compacted uint64 // a watch from an older version is answered Expired
	nodes     map[string]*corev1.Node
	history   []change
	events    []corev1.Event
	requests  []Request
	watches   int
	expiries  int           // asked for by ExpireWatches so far
	bookmarks int           // asked for by Bookmark so far
	changed   chan struct{} // closed and replaced whenever anything above changes
	cut       chan struct{} // closed and replaced when watches must end
	stall     chan struct{} // closed and replaced when watches must fall silent for good
	down      bool
	mute      bool // send nothing on watches
	noStream  bool // refuse watch-list
	onlyJSON  bool
	forbidden []string
	listener  *httptest.Server
}

// New returns a Server that holds no Node. It listens only after [Server.Start];
// without that it can be given to any http.Server as handler.
func New() *Server {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		panic(err) // the types of core/v1 are compiled in: cannot fail
	}
	return &Server{
		codecs:    serializer.NewCodecFactory(scheme),
		params:    runtime.NewParameterCodec(scheme),
		version:   1,
		compacted: 1,
		nodes:     map[string]*corev1.Node{},
		changed:   make(chan struct{}),
		cut:       make(chan struct{}),
		stall:     make(chan struct{}),
	}
}

// Start serves on a free loopback port until [Server.Close]. It panics when
// called twice or when there is no port.
func (s *Server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		panic("nodetest: started twice")
	}
	s.listener = httptest.NewServer(s)
}

// Config returns what client-go needs to reach a started Server: the address.
// Content types and codecs are the caller's.
func (s *Server) Config() *rest.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		panic("nodetest: not started")
	}
	return &rest.Config{Host: s.listener.URL}
}

// Close ends all watches and stops listening. It may be called more than once.
func (s *Server) Close() {
	s.Down(true)
	s.mu.Lock()
	l := s.listener
	s.mu.Unlock()
	if l != nil {
		l.Close()
	}
}

// A Request is one request as it arrived, in the words of an audit log.
type Request struct {
	Verb      string // get, list, watch, create; the lower-case method for anything else
	Resource  string // nodes or events; empty for a path that is not served
	Namespace string
	Name      string
	Path      string
	Query     url.Values
	UserAgent string
	As        string // the user to impersonate
	Accept    string
}

// Requests returns every request so far, refused ones too, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Await returns nil as soon as cond holds, or the context's error. It asks cond
// again after every request, write, Event and opened or ended watch.
func (s *Server) Await(ctx context.Context, cond func() bool) error {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := parse(r)
	cut, err := s.admit(req)
	c, mediaErr := s.negotiate(req.Accept)
	if err == nil {
		err = mediaErr
	}
	if err == nil {
		err = s.serve(w, r, req, c, cut)
	}
	if err != nil {
		c.writeError(w, err)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, req Request, c codec, cut <-chan struct{}) error {
	switch req.Resource + " " + req.Verb {
	case "nodes get":
		return s.serveNode(w, req, c)
	case "nodes list":
		return s.serveList(w, req, c)
	case "nodes watch":
		return s.serveWatch(w, r, req, c, cut)
	case "events create":
		return s.createEvent(w, r, req, c)
	}
	return apierrors.NewGenericServerResponse(http.StatusNotFound, req.Verb, schema.GroupResource{}, "", "", 0, true)
}

// admit records the request and returns the channel that ends its watch, or the
// refusal that [Server.Down] or [Server.Forbid] asks for.
func (s *Server) admit(req Request) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, req)
	s.notify()
	if s.down {
		return nil, apierrors.NewServiceUnavailable("the API server is down")
	}
	if slices.Contains(s.forbidden, req.Verb) {
		return nil, forbidden(req)
	}
	return s.cut, nil
}

// notify wakes whoever waits for a change. The caller holds s.mu.
func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// parse reads verb and resource off a request: /api/v1/nodes[/NAME] and
// /api/v1/namespaces/NAMESPACE/events[/NAME].
func parse(r *http.Request) Request {
	req := Request{
		Path:      r.URL.Path,
		Query:     r.URL.Query(),
		UserAgent: r.UserAgent(),
		As:        r.Header.Get("Impersonate-User"),
		Accept:    r.Header.Get("Accept"),
	}
	if rest, ok := strings.CutPrefix(req.Path, "/api/v1/"); ok {
		p := strings.Split(rest, "/")
		if len(p) > 2 && p[0] == "namespaces" {
			req.Namespace, p = p[1], p[2:]
		}
		known := p[0] == "nodes" && req.Namespace == "" || p[0] == "events" && req.Namespace != ""
		if known && len(p) <= 2 {
			req.Resource = p[0]
			req.Name = strings.Join(p[1:], "")
		}
	}
	req.Verb = verb(r.Method, req)
	return req
}

func verb(method string, req Request) string {
	switch {
	case method == http.MethodGet && req.Name != "":
		return "get"
	case method == http.MethodGet && isTrue(req.Query.Get("watch")):
		return "watch"
	case method == http.MethodGet:
		return "list"
	case method == http.MethodPost && req.Name == "":
		return "create"
	}
	return strings.ToLower(method)
}

// isTrue reads a boolean query parameter the way the API server does: set and
// neither 0 nor false.
func isTrue(v string) bool {
	return v != "" && v != "0" && !strings.EqualFold(v, "false")
}
