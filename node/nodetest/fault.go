package nodetest

import (
	"errors"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Down makes the Server refuse everything with 503 and cuts running watches,
// until Down(false). Nodes can still be changed by Go calls meanwhile.
func (s *Server) Down(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
	if down {
		s.cutWatches()
	}
	s.notify()
}

// Forbid answers the verbs get, list, watch or create with 403 from now
// on, and no others: Forbid() allows everything again. As on a real API server,
// a watch that runs already goes on.
func (s *Server) Forbid(verbs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forbidden = slices.Clone(verbs)
}

// RefuseWatchList answers a watch that asks for its initial events with 422, as
// API servers without the WatchList feature do (before 1.32, and 1.33).
func (s *Server) RefuseWatchList(refuse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noStream = refuse
}

// OnlyJSON makes the Server speak no protobuf, as some proxies and imitations.
func (s *Server) OnlyJSON(only bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onlyJSON = only
}

// CloseWatches cuts the connection of every running watch in mid-answer.
func (s *Server) CloseWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutWatches()
}

// Watches returns how many watches are running.
func (s *Server) Watches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watches
}

// Compact forgets the history: a watch from an earlier resourceVersion than the
// present one is answered 410 Expired.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = nil
	s.compacted = s.version
}

// ExpireWatches answers 410 Expired inside the stream of every running watch, as an
// API server does that has accepted a version and then finds it too old.
func (s *Server) ExpireWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expiries++
	s.notify()
}

// StallWatches makes every running watch send nothing more and never end, as a load
// balancer does that has lost its backend. Watches that begin later are not concerned.
func (s *Server) StallWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.stall)
	s.stall = make(chan struct{})
}

// Mute accepts watches and sends nothing on them, until Mute(false). What happened
// meanwhile follows then.
func (s *Server) Mute(mute bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = mute
	s.notify()
}

// Snapshot returns a function that goes back to what is there now, resourceVersion
// and all, and cuts running watches: as when etcd is restored.
func (s *Server) Snapshot() (restore func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	nodes, version := maps.Clone(s.nodes), s.version
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.nodes, s.version, s.compacted, s.history = maps.Clone(nodes), version, version, nil
		s.cutWatches()
		s.notify()
	}
}

// cutWatches ends running watches. The caller holds s.mu.
func (s *Server) cutWatches() {
	close(s.cut)
	s.cut = make(chan struct{})
}

func forbidden(req Request) error {
	err := errors.New(`User "system:serviceaccount:otc-route-manager:otc-route-manager" cannot ` +
		req.Verb + ` resource "` + req.Resource + `" in API group "" at the cluster scope`)
	return apierrors.NewForbidden(schema.GroupResource{Resource: req.Resource}, req.Name, err)
}
