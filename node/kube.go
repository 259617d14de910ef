package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// maxAnswer bounds an answer that is no watch; a Node has 2 MB at most (etcd's limit).
const maxAnswer = 4 << 20

// Kube is the Kubernetes API as far as one Node needs it: a watch on that Node,
// and Events about it.
type Kube struct {
	rest      *rest.RESTClient
	account   *rest.RESTClient // the same, never as another user
	ownNode   bool             // rest acts as this Node's kubelet
	transport *http.Transport  // that rest sends with; nil: unknown
	ownProxy  bool             // KUBECONFIG names a proxy
	name      string
	rec       *Recorder
	problem   atomic.Pointer[watchProblem] // nil: none
}

// NewKube returns a Kube for the Node of that name. It sends nothing yet. A nil
// Recorder discards.
func NewKube(cfg *rest.Config, nodeName string, rec *Recorder) (*Kube, error) {
	codecs, err := coreV1()
	if err != nil {
		return nil, err
	}
	cfg = rest.CopyConfig(cfg)
	cfg.APIPath, cfg.GroupVersion = "/api", &corev1.SchemeGroupVersion
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	cfg.ContentType = runtime.ContentTypeJSON
	cfg.NegotiatedSerializer = codecs.WithoutConversion()
	if cfg.Dial == nil {
		cfg.Dial = newDialer().dial
	}
	if rec == nil {
		rec = NewRecorder(nil, nil)
	}
	k := &Kube{name: nodeName, rec: rec, ownProxy: cfg.Proxy != nil, ownNode: strings.HasPrefix(cfg.Impersonate.UserName, "system:node:")}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return errorRecorder{next} })
	if k.rest, k.transport, err = connection(cfg); err != nil {
		return nil, err
	}
	k.account = k.rest
	if k.ownNode {
		cfg.Impersonate = rest.ImpersonationConfig{}
		k.account, _, err = connection(cfg)
	}
	return k, err
}

// connection returns a client and what it sends with; nil if that is unknown.
func connection(cfg *rest.Config) (*rest.RESTClient, *http.Transport, error) {
	client, err := rest.RESTClientFor(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("Kubernetes client: %w", err)
	}
	transport := transportOf(client.Client.Transport)
	if transport != nil {
		prepare(transport)
	}
	return client, transport, nil
}

// coreV1 reads and writes the objects of Kubernetes' group without a name, and no
// others: those of all groups would double the binary.
func coreV1() (serializer.CodecFactory, error) {
	scheme := runtime.NewScheme()
	err := corev1.AddToScheme(scheme)
	return serializer.NewCodecFactory(scheme), err
}

// lastTransportError is, as a key of a request's context, where an errorRecorder
// keeps why there was no answer.
type lastTransportError struct{}

// An errorRecorder keeps the transport's error, which client-go turns into an
// empty watch.
type errorRecorder struct{ http.RoundTripper }

func (e errorRecorder) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := e.RoundTripper.RoundTrip(r)
	switch last, ok := r.Context().Value(lastTransportError{}).(*atomic.Pointer[error]); {
	case err != nil && ok && r.Context().Err() == nil:
		last.Store(&err)
	case err == nil && (resp.StatusCode != http.StatusOK || !r.URL.Query().Has("watch")):
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body} // client-go reads all of it into memory
	}
	return resp, err
}

// WrappedRoundTripper returns what it wraps, so that client-go can close idle
// connections.
func (e errorRecorder) WrappedRoundTripper() http.RoundTripper { return e.RoundTripper }

// Get reads a Node once; a kubelet's rights do not reach to other Nodes. The error
// says what to do; it is a NotFound only if the API server itself says that this Node
// is not there, not some load balancer that a page is not.
func (k *Kube) Get(ctx context.Context, name string) (*corev1.Node, error) {
	client, rights := k.rest, k.rights(hintWatch)
	if name != k.name && k.ownNode {
		client, rights = k.account, hintOtherNodes
	}
	var n corev1.Node
	err := fromAPIServer(client.Get().Resource("nodes").Name(name).MaxRetries(0).Do(ctx).Into(&n))
	switch {
	case err == nil || apierrors.IsNotFound(err) && aboutNode(err, name):
		return &n, err
	case apierrors.IsNotFound(err):
		err = fmt.Errorf("404, but not from the API server about node %s: %v", name, err)
	}
	return nil, fmt.Errorf("%w: %s", err, k.hint(err, rights))
}

// aboutNode reports whether err came as a Status that names this Node.
func aboutNode(err error, name string) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok {
		return false
	}
	d := status.Status().Details
	return d != nil && d.Kind == "nodes" && d.Name == name
}

// NodeExists reads a Node; only the API server's own word means false.
func (k *Kube) NodeExists(ctx context.Context, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := k.Get(ctx, name)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}
