package node

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"otc-route-manager/node/nodetest"
)

// A lookout is a Kube that watches worker-1, in a bubble: the wire is HTTP over
// pipes in memory, so that time is fake.
type lookout struct {
	*nodetest.Server
	t    *testing.T
	kube *Kube
	*Events
	seen   chan *Facts
	logged *journal
	end    chan struct{} // closed when Watch has returned
	stop   context.CancelFunc
	wire   *pipes
	as     string // the user that the API server is asked as; "": the account
}

// look runs test with an API server that holds these Nodes and was prepared, and a
// watch on worker-1.
func look(t *testing.T, prepare func(*lookout), test func(*testing.T, *lookout), nodes ...*corev1.Node) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lookout{Server: nodetest.New(), t: t, seen: make(chan *Facts, 1000), logged: &journal{}, end: make(chan struct{}), Events: NewEvents("worker-1"), wire: &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})}}
		for _, n := range nodes {
			l.Put(n)
		}
		l.wire.dialer = dialer{func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }, l.wire.dial}
		if prepare != nil {
			prepare(l)
		}
		server := &http.Server{Handler: l.wire.front(l.Server)}
		go func() { _ = server.Serve(l.wire) }()
		// QPS: no limit, a test asks more than a Node does.
		kube, err := NewKube(&rest.Config{Host: "http://kube.test", Dial: l.wire.dialer.dial, QPS: -1, Impersonate: rest.ImpersonationConfig{UserName: l.as}}, "worker-1", NewRecorder(slog.New(l.logged).With("node", "worker-1"), nil))
		if err != nil {
			t.Fatal(err)
		}
		l.kube = kube
		ctx, stop := context.WithCancel(klog.NewContext(t.Context(), klog.New(nil)))
		l.stop = stop
		go func() { kube.Watch(ctx, func(f *Facts) { l.seen <- f }); close(l.end) }()
		t.Cleanup(func() {
			stop()
			<-l.end
			l.Close()
			_ = server.Close()
		})
		test(t, l)
	})
}

// next returns the next sight of the Node.
func (l *lookout) next() *Facts {
	l.t.Helper()
	select {
	case f := <-l.seen:
		return f
	case <-time.After(time.Hour):
		l.t.Fatalf("nothing seen; the log: %v", l.logged.texts())
		return nil
	}
}

// until returns the first sight with this annotation; "-" is a Node without one.
func (l *lookout) until(value string) *Facts {
	l.t.Helper()
	for {
		if f := l.next(); f != nil && (f.Annotation == value || value == "-" && !f.Annotated) {
			return f
		}
	}
}

// gone waits for the sight of no Node.
func (l *lookout) gone() {
	l.t.Helper()
	for l.next() != nil {
	}
}

// nothing fails the test if anything is seen that was not looked at yet.
func (l *lookout) nothing() {
	l.t.Helper()
	synctest.Wait()
	if len(l.seen) > 0 {
		l.t.Errorf("saw %+v", <-l.seen)
	}
}

// pass lets d pass, and what happens in it happen.
func (l *lookout) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (j *journal) texts() (out []string) {
	for _, l := range j.all() {
		out = append(out, l.text)
	}
	return out
}

func worker(name, value string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{SubnetsAnnotation: value, "other": "x"}, Labels: map[string]string{labelWorker: ""}},
		Spec:       corev1.NodeSpec{ProviderID: "openstack:///" + ecsID(1), PodCIDR: "10.0.0.0/24"},
		Status: corev1.NodeStatus{
			NodeInfo:  corev1.NodeSystemInfo{SystemUUID: ecsID(1), MachineID: "m"},
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.20.0.11"}},
			Images:    []corev1.ContainerImage{{Names: []string{"i"}}},
		},
	}
}

// reads returns the requests for Nodes, and fails the test if one asked for more
// than the one Node, or to begin anywhere but with what is so now.
func (l *lookout) reads() (reads []nodetest.Request) {
	l.t.Helper()
	for _, r := range l.Requests() {
		if r.Resource != "nodes" || r.Verb == "get" && r.Name == "worker-1" {
			continue
		}
		reads = append(reads, r)
		if r.Query.Get("fieldSelector") != "metadata.name=worker-1" {
			l.t.Errorf("%s %s?%s asks for other Nodes", r.Verb, r.Path, r.Query.Encode())
		}
		if version := r.Query.Get("resourceVersion"); version != "" && (r.Verb == "list" || r.Query.Has("sendInitialEvents")) {
			l.t.Errorf("%s %s?%s may be answered with the past", r.Verb, r.Path, r.Query.Encode())
		}
		if !strings.HasPrefix(r.Accept, "application/vnd.kubernetes.protobuf,application/json") {
			l.t.Errorf("%s asks for %s, want protobuf or else JSON", r.Verb, r.Accept)
		}
	}
	if len(reads) == 0 {
		l.t.Error("no list and no watch")
	}
	return reads
}

// Pipes are connections in memory: a listener and its dialer.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}

	mu     sync.Mutex
	open   []net.Conn       // the server's ends
	dials  []time.Time      // when
	refuse error            // what dialing comes to; nil: a connection
	answer http.HandlerFunc // what answers in the server's place; nil: nothing does

	delay  time.Duration // before each answer
	dialer dialer        // in front of dial
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials = append(p.dials, time.Now())
	if p.refuse != nil {
		return nil, p.refuse
	}
	client, server := net.Pipe()
	p.open = append(p.open, server)
	select {
	case p.accepted <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// set makes dialing fail with err and cuts what is open; nil ends that.
func (p *pipes) set(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = err
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

// say makes another answer in the server's place, until nil is given.
func (p *pipes) say(answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *pipes) front(server http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		answer := p.answer
		p.mu.Unlock()
		_ = wait(r.Context(), p.delay)
		if answer != nil {
			answer(w, r)
			return
		}
		server.ServeHTTP(w, r)
	}
}

// dialed returns when there were dials since the start.
func (p *pipes) dialed() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.dials)
}

// silent does not answer.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// unselected answers as a proxy does that drops the query's field selector.
func (l *lookout) unselected(w http.ResponseWriter, r *http.Request) {
	r = r.Clone(r.Context())
	query := r.URL.Query()
	query.Del("fieldSelector")
	r.URL.RawQuery = query.Encode()
	l.ServeHTTP(w, r)
}

// page answers as a load balancer does that has no backend.
func page(status int) http.HandlerFunc {
	return text(status, "text/html", "<html>no backend for this host</html>")
}

func text(status int, media, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}
