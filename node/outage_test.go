package node

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"

	"otc-route-manager/node/nodetest"
)

const (
	watchFails = "error cannot watch node worker-1: dial tcp 192.0.2.7:443: connect: connection refused: check the API server and the way to it; tried again within a minute, routes stay as they are"
	watchAgain = "info watching node worker-1 again"
)

func (j *journal) texts() (out []string) {
	for _, l := range j.all() {
		out = append(out, l.text)
	}
	return out
}

// TestWatchTellsARefusedConnection: client-go keeps it to itself.
func TestWatchTellsARefusedConnection(t *testing.T) {
	t.Parallel()
	api := nodetest.New()
	api.Put(worker("worker-1", "a"))
	api.Start()
	t.Cleanup(api.Close)
	cfg, told, tries := api.Config(), &journal{}, atomic.Int32{}
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if tries.Add(1) <= 2 {
			return nil, nobodyListens()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	kube, err := NewKube(cfg, "worker-1", slog.New(told))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	seen, ended := make(chan *Facts, 1), make(chan error, 1)
	go func() { ended <- kube.Watch(ctx, func(f *Facts) { seen <- f }) }()
	if f := <-seen; f == nil || f.Annotation != "a" {
		t.Errorf("got %+v", f)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Watch: %v", err)
	}
	if got, want := told.texts(), []string{watchFails, watchAgain}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

type answers func(*http.Request) (*http.Response, error)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

// TestEachOutageIsToldOnce: its beginning and its end, however many tries it
// takes, and the next one too. What is not the watch is told elsewhere.
func TestEachOutageIsToldOnce(t *testing.T) {
	told := &journal{}
	kube, err := NewKube(&rest.Config{Host: "https://kube.test"}, "worker-1", slog.New(told))
	if err != nil {
		t.Fatal(err)
	}
	var outage bool
	wire := ear{answers(func(*http.Request) (*http.Response, error) {
		if outage {
			return nil, nobodyListens()
		}
		return &http.Response{StatusCode: http.StatusOK}, nil
	}), kube}
	ask := func(ctx context.Context, path string) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://kube.test"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = wire.RoundTrip(r)
	}
	for range 2 {
		for _, outage = range []bool{false, true, true, true, false, false} {
			ask(t.Context(), "/api/v1/nodes")
		}
	}
	outage = true
	ask(t.Context(), "/api/v1/nodes/worker-1")
	stopped, stop := context.WithCancel(t.Context())
	stop()
	ask(stopped, "/api/v1/nodes")
	if got, want := told.texts(), []string{watchFails, watchAgain, watchFails, watchAgain}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
