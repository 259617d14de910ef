package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// How the watch comes back. 1,000 Nodes ask an API server that is down 190 times a
// second, and find it within 10 s of its return.
const (
	firstPause   = 2 * time.Second  // after a connection has ended, at least half of it
	longestPause = 7 * time.Second  // after several that did not live long
	longLife     = 30 * time.Second // of a connection; the first pause counts again
	shortestRead = 15 * time.Second // from the request to the Node, with name look-up and connection
	longestRead  = time.Minute      // doubled to this while there is no answer: a slow API server is reached
	probePause   = 3 * time.Second  // before each probe while there is no answer, and what it may take
	overdue      = 10 * time.Second // after a watch should have ended

	connectTimeout = 5 * time.Second // to an address; lost packets are sent again after 1 and 3 s, then after 7
)

// Watch gives observe the Node, and every change of it, until ctx ends; nil means
// that there is no such Node. It outlives any outage of the API server.
//
// Each connection has its own informer, which begins with a consistent read and
// ends when the connection does: broken, or closed by the API server as each is
// after 5 to 10 minutes. An informer that is kept goes on from the version it
// knows: after an outage it waits for up to a minute once it has learned that this
// is too old, and for ever if etcd was restored and never had it.
func (k *Kube) Watch(ctx context.Context, observe func(*Facts)) {
	h := &handler{observe: observe, isOwn: k.isOwn}
	limit, probes := shortestRead, true
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		begin := time.Now()
		err := k.follow(ctx, h, limit, probes)
		if probes = !errors.Is(err, errReturned); !probes {
			continue
		}
		switch {
		case err == nil:
			limit = shortestRead
		case errors.Is(err, errSilent):
			limit = min(2*limit, longestRead)
		}
		if err != nil && ctx.Err() == nil {
			k.watchFailed(err)
		}
		if time.Since(begin) >= longLife {
			pause = firstPause
		}
		if wait(ctx, pause/2+rand.N(pause/2)) != nil {
			return
		}
	}
}

// Why a connection ended that had not delivered.
var (
	errSilent   = errors.New("no answer")
	errClosed   = errors.New("the watch was closed before it had begun")
	errOverdue  = errors.New("the watch has not ended when it should have")
	errOthers   = errors.New("the answer is about other Nodes only")
	errReturned = errors.New("the API server answers another request")
)

// follow runs one informer until its connection or ctx ends. The error is why no
// watch was established within the limit.
func (k *Kube) follow(ctx context.Context, h *handler, limit time.Duration, probes bool) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var last atomic.Pointer[error]
	ctx = context.WithValue(ctx, lastTransportError{}, &last)
	h.reset()
	accepted := make(chan struct{})
	informer := cache.NewSharedIndexInformer(k.listWatch(accepted, end), &corev1.Node{}, 0, nil)
	registration, err := informer.AddEventHandler(h)
	ignore := func(context.Context, *cache.Reflector, error) {} // listWatch has it already
	if err := errors.Join(err, informer.SetTransform(trim), informer.SetWatchErrorHandlerWithContext(ignore)); err != nil {
		return err
	}
	established := make(chan bool)
	go func() { established <- k.await(ctx, end, accepted, registration.HasSyncedChecker().Done(), h, limit) }()
	if probes {
		go k.probe(ctx, end, accepted)
	}
	informer.RunWithContext(ctx) // until ctx ends
	if <-established {
		return nil
	}
	if err := last.Load(); err != nil {
		return *err
	}
	return context.Cause(ctx)
}

// await reports whether the watch is established within the limit: accepted, and what
// it begins with delivered, in any order.
func (k *Kube) await(ctx context.Context, end context.CancelCauseFunc, accepted, delivered <-chan struct{}, h *handler, limit time.Duration) bool {
	late := time.AfterFunc(limit, func() { end(fmt.Errorf("%w within %v", errSilent, limit)) })
	defer late.Stop()
	for _, c := range []<-chan struct{}{accepted, delivered} {
		select {
		case <-c:
		case <-ctx.Done():
			return false
		}
	}
	if err := h.initialListDone(); err != nil {
		end(err)
		return false
	}
	k.watchEstablished()
	return true
}

// probe ends a watch that has no answer once the API server answers another request:
// what it was asked before its return it may never answer. The next watch has no
// probes, because a slow watch need not mean an outage.
func (k *Kube) probe(ctx context.Context, end context.CancelCauseFunc, accepted <-chan struct{}) {
	ctx = context.WithValue(ctx, lastTransportError{}, nil) // its errors are not the watch's
	for {
		select {
		case <-time.After(probePause):
		case <-accepted:
			return
		case <-ctx.Done():
			return
		}
		attempt, cancel := context.WithTimeout(ctx, probePause)
		_, err := k.Get(attempt, k.name)
		cancel()
		if _, answered := errors.AsType[*apierrors.StatusError](err); err == nil || answered {
			end(errReturned)
			return
		}
	}
}

// listWatch asks for the one Node, once: it closes accepted when the API server
// takes the watch, and what ends that, or keeps it from beginning, ends the informer.
func (k *Kube) listWatch(accepted chan<- struct{}, end context.CancelCauseFunc) *cache.ListWatch {
	nodes := func(o metav1.ListOptions) *rest.Request {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", k.name).String()
		return k.rest.Get().Resource("nodes").VersionedParams(&o, metav1.ParameterCodec).MaxRetries(0)
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.ResourceVersion = "" // the informer's "0" may be answered with the past
			list, err := nodes(o).Do(ctx).Get()
			if err != nil {
				end(err)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.Watch = true
			w, err := nodes(o).Watch(ctx)
			if apierrors.IsInvalid(err) {
				return nil, err // before Kubernetes 1.34 it may have to be a list first
			}
			if err != nil {
				end(err)
				return nil, errClosed // client-go waits after some others
			}
			close(accepted)
			return endingWatch{w, end, endLater(o, end)}, nil
		},
	}
}

// endLater ends a watch that outlives what it was asked to live: a load balancer may
// answer for an API server that it has lost.
func endLater(o metav1.ListOptions, end context.CancelCauseFunc) *time.Timer {
	var life time.Duration
	if o.TimeoutSeconds != nil { // client-go always asks for 5 to 10 minutes
		life = time.Duration(*o.TimeoutSeconds) * time.Second
	}
	return time.AfterFunc(life+overdue, func() { end(errOverdue) })
}

// An endingWatch is a watch that ends the informer when it is over.
type endingWatch struct {
	watch.Interface
	end     context.CancelCauseFunc
	overdue *time.Timer
}

// Stop is called by the informer when it has seen the end of the watch.
func (w endingWatch) Stop() {
	w.overdue.Stop()
	w.Interface.Stop()
	w.end(errClosed)
}

// WatchProblem returns why the Node cannot be watched, and what to do about that; both are
// "" while the watch is established or has not been tried.
func (k *Kube) WatchProblem() (text, hint string) {
	if t := k.problem.Load(); t != nil {
		return t.text, t.hint
	}
	return "", ""
}

// A watchProblem keeps the watch from standing.
type watchProblem struct{ text, hint string }

// watchEstablished records that the watch has delivered, if it could not before.
func (k *Kube) watchEstablished() {
	if k.problem.Swap(nil) != nil {
		k.rec.state("watch", info, "", "watching node "+k.name+" again")
	}
}

// watchFailed records a watch that was not established.
func (k *Kube) watchFailed(err error) {
	err = fromAPIServer(err)
	p := watchProblem{fmt.Sprintf("cannot watch node %s: %v", k.name, err), k.hint(err, k.rights(hintWatch))}
	if errors.Is(err, errOthers) {
		p.hint = hintOthers
	}
	k.problem.Store(&p)
	key := string(apierrors.ReasonForError(err))
	k.rec.record("watch", key, failing, "", p.text+": "+p.hint+"; retrying within a minute; routes are unchanged")
}
