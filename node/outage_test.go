package node

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"otc-route-manager/node/nodetest"
)

// TestWatchTellsAnOutage: connections to the API server are refused, which
// client-go keeps to itself. Each outage is told once, whatever the number of
// tries, and its end as well.
func TestWatchTellsAnOutage(t *testing.T) {
	api := nodetest.New()
	api.Put(worker("worker-1", "a"))
	api.Start()
	t.Cleanup(api.Close)
	cfg := api.Config()
	var down atomic.Bool
	tries := make(chan int, 100)
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		tries <- 1
		if down.Load() {
			return nil, nobodyListens()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	told := &journal{}
	kube, err := NewKube(cfg, "worker-1", slog.New(told))
	if err != nil {
		t.Fatal(err)
	}
	down.Store(true)
	ctx, stop := context.WithCancel(t.Context())
	seen, ended := make(chan *Facts, 100), make(chan error, 1)
	go func() { ended <- kube.Watch(ctx, func(f *Facts) { seen <- f }) }()
	<-tries
	<-tries // the first has been told by now
	down.Store(false)
	if f := <-seen; f == nil || f.Annotation != "a" {
		t.Errorf("got %+v", f)
	}
	down.Store(true)
	for range len(tries) {
		<-tries
	}
	api.CloseWatches()
	<-tries
	<-tries
	down.Store(false)
	api.Annotate("worker-1", SubnetsAnnotation, "b")
	for f := <-seen; f == nil || f.Annotation != "b"; f = <-seen {
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Watch: %v", err)
	}
	var got []string
	for _, l := range told.all() {
		got = append(got, l.text)
	}
	failed := "error cannot watch node worker-1: dial tcp 192.0.2.7:443: connect: connection refused: check the API server and the way to it; tried again within a minute, routes stay as they are\n"
	if want := strings.Repeat(failed+"info watching node worker-1 again\n", 2); strings.Join(got, "\n")+"\n" != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
