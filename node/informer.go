package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Kube is the Kubernetes API as far as one Node needs it: a watch on that Node,
// and Events about it.
type Kube struct {
	rest   *rest.RESTClient
	name   string
	log    *slog.Logger
	rec    *Recorder
	events chan *corev1.Event
}

// NewKube returns a Kube for the Node of that name. It sends nothing yet.
func NewKube(cfg *rest.Config, nodeName string, log *slog.Logger) (*Kube, error) {
	codecs, err := coreV1()
	if err != nil {
		return nil, err
	}
	cfg = rest.CopyConfig(cfg)
	cfg.APIPath, cfg.GroupVersion = "/api", &corev1.SchemeGroupVersion
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	cfg.ContentType = runtime.ContentTypeJSON
	cfg.NegotiatedSerializer = codecs.WithoutConversion()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k := &Kube{name: nodeName, log: log, events: make(chan *corev1.Event, 32)}
	k.rec = NewRecorder(log.With("node", nodeName), nil)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return ear{next, k} })
	if k.rest, err = rest.RESTClientFor(cfg); err != nil {
		return nil, fmt.Errorf("Kubernetes client: %w", err)
	}
	return k, nil
}

// coreV1 reads and writes the objects of Kubernetes' group without a name, and no
// others: those of all groups would double the binary.
func coreV1() (serializer.CodecFactory, error) {
	scheme := runtime.NewScheme()
	err := corev1.AddToScheme(scheme)
	return serializer.NewCodecFactory(scheme), err
}

// An ear hears how lists and watches are answered: client-go repeats a refused
// connection for ever without a word.
type ear struct {
	http.RoundTripper
	kube *Kube
}

func (e ear) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := e.RoundTripper.RoundTrip(r)
	switch {
	case !strings.HasSuffix(r.URL.Path, "/nodes") || errors.Is(r.Context().Err(), context.Canceled):
	case err != nil:
		e.kube.watchFailed(err)
	case resp.StatusCode == http.StatusOK && e.kube.rec.isFailing("watch"):
		e.kube.rec.state("watch", info, "", "watching node "+e.kube.name+" again")
	}
	return resp, err
}

// WrappedRoundTripper returns what it wraps, so that client-go can close idle
// connections.
func (e ear) WrappedRoundTripper() http.RoundTripper { return e.RoundTripper }

// Watch tells observe of the Node, and of every change, until ctx ends; nil means
// that there is no such Node. It outlives any outage of the API server. Both list
// and watch ask for the one Node only.
func (k *Kube) Watch(ctx context.Context, observe func(*Facts)) error {
	lw := cache.NewListWatchFromClient(k.rest, "nodes", metav1.NamespaceAll, fields.OneTermEqualSelector("metadata.name", k.name))
	informer := cache.NewSharedIndexInformer(lw, &corev1.Node{}, 0, nil)
	if err := informer.SetTransform(trim); err != nil {
		return err
	}
	err := informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { k.watchFailed(err) })
	if err != nil {
		return err
	}
	var mu sync.Mutex // a Node that is not there makes no event, and one that comes now must come last
	told := false
	tell := func(f *Facts) {
		mu.Lock()
		defer mu.Unlock()
		told = true
		observe(f)
	}
	seen := func(object any) {
		if n, ok := object.(*corev1.Node); ok && n.Name == k.name {
			facts := FactsOf(n)
			tell(&facts)
		}
	}
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, now any) { seen(now) },
		DeleteFunc: func(any) { tell(nil) }, // the tombstone holds nothing we need
	})
	if err != nil {
		return err
	}
	go func() {
		if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if !told {
			observe(nil)
		}
	}()
	informer.RunWithContext(ctx)
	if ctx.Err() == nil {
		return errors.New("the watch ended by itself")
	}
	return nil
}

// watchFailed tells of a watch that cannot be kept. Expired and closed watches
// are normal.
func (k *Kube) watchFailed(err error) {
	reason := apierrors.ReasonForError(err)
	cure := "the API server has trouble"
	switch reason {
	case metav1.StatusReasonExpired, metav1.StatusReasonGone:
		return
	case metav1.StatusReasonForbidden:
		cure = "the ServiceAccount needs get, list and watch on nodes (manifests.yaml)"
	case metav1.StatusReasonUnauthorized:
		cure = "the API server does not take the ServiceAccount's token or the credentials of KUBECONFIG"
	case metav1.StatusReasonUnknown:
		cure = "check the API server and the way to it"
	}
	what := strings.TrimPrefix(err.Error(), "failed to list *v1.Node: ")
	k.rec.record("watch", string(reason), failing, "", fmt.Sprintf("cannot watch node %s: %s: %s; tried again within a minute, routes stay as they are", k.name, what, cure))
}

// trim drops what is never read before a Node is stored.
func trim(object any) (any, error) {
	n, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	n.ObjectMeta = metav1.ObjectMeta{
		Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion, Labels: n.Labels,
		Annotations: only(n.Annotations, SubnetsAnnotation),
	}
	n.Spec = corev1.NodeSpec{ProviderID: n.Spec.ProviderID}
	n.Status = corev1.NodeStatus{Addresses: n.Status.Addresses, NodeInfo: corev1.NodeSystemInfo{SystemUUID: n.Status.NodeInfo.SystemUUID}}
	return n, nil
}

func only(m map[string]string, key string) map[string]string {
	if v, ok := m[key]; ok {
		return map[string]string{key: v}
	}
	return nil
}

// Get reads a Node once.
func (k *Kube) Get(ctx context.Context, name string) (*corev1.Node, error) {
	var n corev1.Node
	err := k.rest.Get().Resource("nodes").Name(name).Do(ctx).Into(&n)
	return &n, err
}

// NodeExists reads a Node; only the API server's own 404 means false.
func (k *Kube) NodeExists(ctx context.Context, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := k.Get(ctx, name)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}
