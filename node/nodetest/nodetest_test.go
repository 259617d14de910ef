package nodetest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"otc-route-manager/node/nodetest"
)

const key = "k8s.ovn.org/node-subnets"

// patience is how long a test waits for what should come at once. Reflectors
// pause for up to two seconds after an error.
const patience = 20 * time.Second

func start(t *testing.T) *nodetest.Server {
	t.Helper()
	s := nodetest.New()
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// client returns a REST client with a scheme of core/v1 only, as the program has.
func client(t *testing.T, s *nodetest.Server, accept string) *rest.RESTClient {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	cfg := s.Config()
	cfg.APIPath, cfg.GroupVersion = "/api", &corev1.SchemeGroupVersion
	cfg.ContentType, _, _ = strings.Cut(accept, ",")
	cfg.AcceptContentTypes = accept
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	cfg.UserAgent = "nodetest-client"
	cfg.QPS = -1 // no limit
	rc, err := rest.RESTClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return rc
}

func node(name, subnets string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if subnets != "" {
		n.Annotations = map[string]string{key: subnets}
	}
	return n
}

// await fails the test unless cond comes true in time.
func await(t *testing.T, s *nodetest.Server, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Await(ctx, cond); err != nil {
		t.Fatalf("%s: %v; requests: %v", what, err, lines(s))
	}
}

// lines is the request log, one "verb query" each.
func lines(s *nodetest.Server) []string {
	var out []string
	for _, r := range s.Requests() {
		out = append(out, r.Verb+" "+r.Query.Encode())
	}
	return out
}

// verbs counts the requests of one verb.
func verbs(s *nodetest.Server, verb string) (n int) {
	for _, r := range s.Requests() {
		if r.Verb == verb {
			n++
		}
	}
	return n
}

// A tale is what an informer's handlers were told, as "add worker-1 VALUE".
type tale chan string

func (h tale) tell(verb string, obj any) {
	if d, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		verb, obj = verb+" tombstone", d.Obj
	}
	n := obj.(*corev1.Node)
	h <- fmt.Sprintf("%s %s %s", verb, n.Name, n.Annotations[key])
}

func (h tale) want(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-h:
			if got != w {
				t.Fatalf("informer told %q, want %q", got, w)
			}
		case <-time.After(patience):
			t.Fatalf("informer told nothing, want %q", w)
		}
	}
}

// watchNode runs a real informer on one Node until the test ends.
func watchNode(t *testing.T, rc *rest.RESTClient, name string) tale {
	t.Helper()
	lw := cache.NewListWatchFromClient(rc, "nodes", "", fields.OneTermEqualSelector("metadata.name", name))
	inf := cache.NewSharedIndexInformer(lw, &corev1.Node{}, 0, nil)
	h := make(tale, 100)
	_, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { h.tell("add", o) },
		UpdateFunc: func(_, o any) { h.tell("update", o) },
		DeleteFunc: func(o any) { h.tell("delete", o) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), klog.New(nil)))
	var wg sync.WaitGroup
	wg.Go(func() { inf.RunWithContext(ctx) })
	t.Cleanup(wg.Wait)
	t.Cleanup(cancel)
	synced, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if !cache.WaitForCacheSync(synced.Done(), inf.HasSynced) {
		t.Fatal("informer did not sync")
	}
	return h
}

const (
	protobuf = "application/vnd.kubernetes.protobuf,application/json"
	json     = "application/json"
)

// eachWay runs a test in both media types, with and without watch-list.
func eachWay(t *testing.T, test func(t *testing.T, s *nodetest.Server, rc *rest.RESTClient)) {
	for _, accept := range []string{protobuf, json} {
		for _, mode := range []string{"watch-list", "list and watch"} {
			media, _, _ := strings.Cut(accept, ",")
			t.Run(media+", "+mode, func(t *testing.T) {
				t.Parallel() // a reflector waits a second or two after an error
				s := start(t)
				s.RefuseWatchList(mode == "list and watch")
				test(t, s, client(t, s, accept))
			})
		}
	}
}

func TestInformer(t *testing.T) {
	eachWay(t, func(t *testing.T, s *nodetest.Server, rc *rest.RESTClient) {
		s.Put(node("worker-1", "a"))
		s.Put(node("worker-2", "x"))
		h := watchNode(t, rc, "worker-1")
		h.want(t, "add worker-1 a")
		s.Annotate("worker-2", key, "y")
		s.Annotate("worker-1", key, "b")
		h.want(t, "update worker-1 b")
		s.Touch("worker-1")
		h.want(t, "update worker-1 b")
		s.Delete("worker-1")
		h.want(t, "delete worker-1 b")
		s.Put(node("worker-1", "c"))
		h.want(t, "add worker-1 c")
		for _, r := range s.Requests() {
			if got := r.Query.Get("fieldSelector"); got != "metadata.name=worker-1" || r.UserAgent != "nodetest-client" {
				t.Errorf("%s %s by %s selects %q, want metadata.name=worker-1", r.Verb, r.Path, r.UserAgent, got)
			}
		}
	})
}

func TestInformerModes(t *testing.T) {
	s := start(t)
	watchNode(t, client(t, s, protobuf), "worker-1")
	if n := verbs(s, "list"); n != 0 {
		t.Errorf("watch-list: %d lists, want none", n)
	}
	s = start(t)
	s.RefuseWatchList(true)
	watchNode(t, client(t, s, protobuf), "worker-1")
	await(t, s, "watch after list", func() bool { return verbs(s, "watch") == 2 })
	if n := verbs(s, "list"); n != 1 {
		t.Errorf("watch-list refused: %d lists, want 1", n)
	}
}

func TestCutWatch(t *testing.T) {
	eachWay(t, func(t *testing.T, s *nodetest.Server, rc *rest.RESTClient) {
		s.Put(node("worker-1", "a"))
		h := watchNode(t, rc, "worker-1")
		h.want(t, "add worker-1 a")
		await(t, s, "first watch", func() bool { return s.Watches() == 1 })
		s.Touch("worker-1") // a watch that ends within a second without any event makes a reflector list again
		h.want(t, "update worker-1 a")
		before := len(s.Requests())
		s.CloseWatches()
		s.Annotate("worker-1", key, "b")
		h.want(t, "update worker-1 b")
		for _, r := range s.Requests()[before:] {
			if r.Verb == "list" || r.Query.Get("sendInitialEvents") != "" {
				t.Errorf("after a cut: %s %s, want a watch that resumes", r.Verb, r.Query.Encode())
			}
		}
	})
}

func TestExpiredWatch(t *testing.T) {
	eachWay(t, func(t *testing.T, s *nodetest.Server, rc *rest.RESTClient) {
		s.Put(node("worker-1", "a"))
		h := watchNode(t, rc, "worker-1")
		h.want(t, "add worker-1 a")
		await(t, s, "first watch", func() bool { return s.Watches() == 1 })
		s.Put(node("worker-2", "x")) // the watch of worker-1 does not learn of this version
		s.Down(true)
		s.Delete("worker-1")
		s.Compact()
		s.Down(false)
		h.want(t, "delete tombstone worker-1 a")
		s.Put(node("worker-1", "b"))
		h.want(t, "add worker-1 b")
	})
}

func TestDownAndForbidden(t *testing.T) {
	s := start(t)
	rc := client(t, s, protobuf)
	s.Put(node("worker-1", "a"))
	get := func() error { return rc.Get().Resource("nodes").Name("worker-1").Do(t.Context()).Error() }
	s.Down(true)
	if got, want := fmt.Sprint(get()), "the API server is down"; got != want {
		t.Errorf("down: got %q, want %q", got, want)
	}
	s.Down(false)
	s.Forbid("list", "get")
	want := `nodes "worker-1" is forbidden: User "system:serviceaccount:otc-route-manager:otc-route-manager"` +
		` cannot get resource "nodes" in API group "" at the cluster scope`
	if got := fmt.Sprint(get()); got != want {
		t.Errorf("forbidden: got %q, want %q", got, want)
	}
	s.Forbid()
	if err := get(); err != nil {
		t.Errorf("allowed again: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	s := nodetest.New()
	first := s.Put(node("worker-1", "a"))
	if again := s.Put(node("worker-1", "b")); again.UID != first.UID || again.ResourceVersion == first.ResourceVersion {
		t.Errorf("put again: UID %s version %s, want UID %s and a later version than %s",
			again.UID, again.ResourceVersion, first.UID, first.ResourceVersion)
	}
	s.Delete("worker-1")
	if reborn := s.Put(node("worker-1", "a")); reborn.UID == first.UID {
		t.Errorf("a Node created again has UID %s once more", reborn.UID)
	}
	s.Get("worker-1").Annotations[key] = "mine"
	if got := s.Get("worker-1").Annotations[key]; got != "a" {
		t.Errorf("Get hands out the stored Node: annotation is now %q", got)
	}
	got := []bool{s.Get("worker-9") == nil, !s.Delete("worker-9"), !s.Touch("worker-9"), !s.Annotate("worker-9", key, "")}
	if slices.Contains(got, false) {
		t.Errorf("unknown Node: got %v, want all true", got)
	}
}
