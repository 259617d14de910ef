package nodetest

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	restwatch "k8s.io/client-go/rest/watch"
)

// A watcher is the server's side of one watch.
type watcher struct {
	server    *Server
	opts      listOptions
	seen      uint64        // every change up to this version is dealt with
	first     []watch.Event // what is there at the beginning
	expiries  int           // calls of ExpireWatches so far, when the watch began
	bookmarks int           // calls of Bookmark dealt with
	stall     <-chan struct{}
}

// Bookmark sends a bookmark on every watch that allows them: nothing happened to
// you up to this version. A real API server does so about once a minute.
func (s *Server) Bookmark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bookmarks++
	s.notify()
}

// serveWatch streams until the client leaves, the asked timeout is over, or cut
// is closed; that cuts the connection in mid-answer.
func (s *Server) serveWatch(w http.ResponseWriter, r *http.Request, req Request, c codec, cut <-chan struct{}) error {
	opts, err := s.options(req)
	if err != nil {
		return err
	}
	wt, err := s.watch(opts)
	if err != nil {
		return err
	}
	defer s.ended()
	out := c.stream(w)
	var timeout <-chan time.Time
	if opts.timeout > 0 {
		t := time.NewTimer(opts.timeout)
		defer t.Stop()
		timeout = t.C
	}
	for {
		if closed(cut) { // what happened after the cut must not get out
			panic(http.ErrAbortHandler)
		}
		if closed(wt.stall) {
			<-r.Context().Done()
			return nil
		}
		events, changed := wt.next()
		if !deliver(w, out, events) {
			return nil
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-wt.stall:
		case <-cut:
		case <-r.Context().Done():
			return nil
		case <-timeout:
			if opts.bookmarks {
				deliver(w, out, []watch.Event{wt.bookmark()})
			}
			return nil
		}
	}
}

// deliver sends events, and in any case what is still in a buffer. It returns
// false when the client is gone or has been told to go.
func deliver(w http.ResponseWriter, out *restwatch.Encoder, events []watch.Event) bool {
	for _, e := range events {
		if out.Encode(&e) != nil || e.Type == watch.Error {
			return false
		}
	}
	return http.NewResponseController(w).Flush() == nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// watch begins a watch.
func (s *Server) watch(opts listOptions) (*watcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wt := &watcher{server: s, opts: opts, seen: opts.version, expiries: s.expiries, bookmarks: s.bookmarks, stall: s.stall}
	if opts.initial {
		if opts.version > s.version {
			return nil, tooLarge(opts.version, s.version)
		}
		wt.seen = s.version
		for _, n := range s.matching(opts.selector) {
			wt.first = append(wt.first, watch.Event{Type: watch.Added, Object: n})
		}
	}
	if opts.initialDone && opts.bookmarks {
		end := wt.bookmark()
		metav1.SetMetaDataAnnotation(&end.Object.(*corev1.Node).ObjectMeta, metav1.InitialEventsAnnotationKey, "true")
		wt.first = append(wt.first, end)
	}
	s.watches++
	s.notify()
	return wt, nil
}

func (s *Server) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches--
	s.notify()
}

// next returns what the client has not seen yet and a channel that is closed
// when there may be more.
func (w *watcher) next() ([]watch.Event, <-chan struct{}) {
	s := w.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mute {
		return nil, s.changed
	}
	if w.seen < s.compacted || w.expiries < s.expiries {
		err := apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", w.seen, s.compacted))
		return []watch.Event{errorEvent(err)}, s.changed
	}
	events := w.first
	w.first = nil
	for _, ch := range s.after(w.seen) {
		if w.opts.selector.Matches(fieldSet(ch.node)) {
			events = append(events, watch.Event{Type: ch.kind, Object: ch.node})
		}
	}
	w.seen = max(w.seen, s.version)
	if w.bookmarks < s.bookmarks {
		w.bookmarks = s.bookmarks
		if w.opts.bookmarks {
			events = append(events, w.bookmark())
		}
	}
	return events, s.changed
}

// after returns the changes later than a version. The caller holds s.mu.
func (s *Server) after(version uint64) []change {
	i, _ := slices.BinarySearchFunc(s.history, version+1, func(c change, v uint64) int { return cmp.Compare(c.version, v) })
	return s.history[i:]
}

// bookmark tells the client how far it has seen.
func (w *watcher) bookmark() watch.Event {
	n := &corev1.Node{TypeMeta: metav1.TypeMeta{Kind: "Node", APIVersion: "v1"}}
	n.ResourceVersion = format(w.seen)
	return watch.Event{Type: watch.Bookmark, Object: n}
}
