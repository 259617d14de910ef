package nodetest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// historyLimit is how many changes a watch can at least fall behind before it
// expires; twice as many at most.
const historyLimit = 5000

// A change is one write. Its node is never modified afterwards.
type change struct {
	version uint64
	kind    watch.EventType
	node    *corev1.Node
}

// Put adds the Node or replaces the one of its name, and returns what is stored.
// An empty UID keeps the old one; another UID is a Node deleted and created anew.
func (s *Server) Put(node *corev1.Node) *corev1.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := node.DeepCopy()
	old := s.nodes[n.Name]
	if old != nil && n.UID != "" && n.UID != old.UID {
		s.remove(old)
		old = nil
	}
	if old != nil {
		n.UID, n.CreationTimestamp = old.UID, old.CreationTimestamp
		return s.store(watch.Modified, n).DeepCopy()
	}
	if n.UID == "" {
		n.UID = s.uid()
	}
	if n.CreationTimestamp.IsZero() {
		n.CreationTimestamp = metav1.Now()
	}
	return s.store(watch.Added, n).DeepCopy()
}

// Update changes a stored Node by calling edit on a copy of it. It returns false,
// without a call, when there is no such Node.
func (s *Server) Update(name string, edit func(*corev1.Node)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.nodes[name]
	if old == nil {
		return false
	}
	n := old.DeepCopy()
	edit(n)
	s.store(watch.Modified, n)
	return true
}

// Annotate sets one annotation of a Node. It returns false when there is no such
// Node. To take an annotation away, use [Server.Update].
func (s *Server) Annotate(name, key, value string) bool {
	return s.Update(name, func(n *corev1.Node) {
		metav1.SetMetaDataAnnotation(&n.ObjectMeta, key, value)
	})
}

// Touch renews the heartbeat of a Node's Ready condition, the most frequent
// change of a real Node and of no interest to most. It returns false when there
// is no such Node.
func (s *Server) Touch(name string) bool {
	return s.Update(name, func(n *corev1.Node) {
		i := slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
		if i < 0 {
			ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}
			n.Status.Conditions = append(n.Status.Conditions, ready)
			i = len(n.Status.Conditions) - 1
		}
		n.Status.Conditions[i].LastHeartbeatTime = metav1.Now()
	})
}

// Delete removes a Node. It returns false when there is no such Node.
func (s *Server) Delete(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.nodes[name]
	if old == nil {
		return false
	}
	s.remove(old)
	return true
}

// Get returns a copy of a stored Node, or nil.
func (s *Server) Get(name string) *corev1.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[name].DeepCopy() // of nil is nil
}

// store writes n under the next resourceVersion. The caller holds s.mu and gives n away.
func (s *Server) store(kind watch.EventType, n *corev1.Node) *corev1.Node {
	n.TypeMeta = metav1.TypeMeta{Kind: "Node", APIVersion: "v1"}
	s.version++
	n.ResourceVersion = format(s.version)
	s.nodes[n.Name] = n
	s.history = append(s.history, change{s.version, kind, n})
	if over := len(s.history) - historyLimit; over >= historyLimit { // rarely: it moves the rest
		s.compacted = s.history[over-1].version
		s.history = slices.Delete(s.history, 0, over)
	}
	s.notify()
	return n
}

// remove deletes n. As on a real API server, the last state is sent with the
// resourceVersion of the deletion. The caller holds s.mu.
func (s *Server) remove(n *corev1.Node) {
	s.store(watch.Deleted, n.DeepCopy())
	delete(s.nodes, n.Name)
}

// uid returns a new UID, the same one in each run. The caller holds s.mu.
func (s *Server) uid() types.UID {
	return types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012x", s.version+1))
}

// matching returns the Nodes that a selector selects, by name. The caller holds s.mu.
func (s *Server) matching(sel fields.Selector) []*corev1.Node {
	var out []*corev1.Node
	for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
		if n := s.nodes[name]; sel.Matches(fieldSet(n)) {
			out = append(out, n)
		}
	}
	return out
}

func (s *Server) serveNode(w http.ResponseWriter, req Request, c codec) error {
	n := s.Get(req.Name)
	if n == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, req.Name)
	}
	return c.write(w, http.StatusOK, n)
}

func (s *Server) serveList(w http.ResponseWriter, req Request, c codec) error {
	opts, err := s.options(req)
	if err != nil {
		return err
	}
	s.mu.Lock()
	version := s.version
	nodes := s.matching(opts.selector)
	s.mu.Unlock()
	if opts.version > version {
		return tooLarge(opts.version, version)
	}
	list := &corev1.NodeList{ListMeta: metav1.ListMeta{ResourceVersion: format(version)}}
	for _, n := range nodes {
		item := *n
		item.TypeMeta = metav1.TypeMeta{} // items of a list carry none
		list.Items = append(list.Items, item)
	}
	return c.write(w, http.StatusOK, list)
}

// fieldSet is what a Node's field selectors may ask for.
func fieldSet(n *corev1.Node) fields.Set {
	return fields.Set{"metadata.name": n.Name, "spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
}

func format(version uint64) string { return strconv.FormatUint(version, 10) }
