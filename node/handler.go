package node

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// A handler takes the events of one informer after the other for observe.
type handler struct {
	observe func(*Facts)
	isOwn   func(name string) bool // of the one Node; what is about others is not observed

	mu     sync.Mutex // a Node that is not there makes no event, and one that comes now must come last
	seen   bool       // the Node or its end, since the present informer began
	others bool       // other Nodes, since then
	absent bool       // what was observed last is that there is no such Node
}

func (h *handler) OnAdd(object any, _ bool) {
	if n, ok := object.(*corev1.Node); ok && h.own(n.Name) {
		facts := factsOf(n)
		h.deliver(&facts)
	}
}

func (h *handler) OnUpdate(_, now any) { h.OnAdd(now, false) }

// OnDelete may get a tombstone; only the name is needed.
func (h *handler) OnDelete(object any) {
	if name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil && h.own(name) {
		h.deliver(nil)
	}
}

func (h *handler) own(name string) bool {
	own := h.isOwn(name)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.others = h.others || !own
	return own
}

func (h *handler) deliver(f *Facts) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen, h.absent = true, f == nil
	h.observe(f)
}

// reset is called before another informer begins.
func (h *handler) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen, h.others = false, false
}

// initialListDone is called when all that the informer read at first has been
// observed. An empty answer means that there is no such Node; one with other Nodes
// alone is an error.
func (h *handler) initialListDone() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !h.seen && h.others:
		return errOthers
	case !h.seen && !h.absent:
		h.absent = true
		h.observe(nil)
	}
	return nil
}

// isOwn reports whether name is that of the watched Node. An answer with another one
// is recorded.
func (k *Kube) isOwn(name string) bool {
	if name == k.name {
		return true
	}
	k.rec.record("other nodes", "seen", warning, "", fmt.Sprintf("the API server's answer about node %s also contains node %s, which is ignored: %s", k.name, name, hintOthers))
	return false
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
