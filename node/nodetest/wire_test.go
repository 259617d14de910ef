package nodetest_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// stream opens a watch with the given query.
func stream(t *testing.T, rc *rest.RESTClient, query string) watch.Interface {
	t.Helper()
	w, err := rc.Get().RequestURI("/api/v1/nodes?watch=true&" + query).Watch(t.Context())
	if err != nil {
		t.Fatalf("watch %s: %v", query, err)
	}
	t.Cleanup(w.Stop)
	return w
}

// wantEvents reads as many events as wanted; "END" is the end of the stream.
func wantEvents(t *testing.T, w watch.Interface, want ...string) {
	t.Helper()
	for _, want := range want {
		select {
		case e, open := <-w.ResultChan():
			if got := eventLine(e, open); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("got nothing, want %q", want)
		}
	}
}

func eventLine(e watch.Event, open bool) string {
	if !open {
		return "END"
	}
	switch o := e.Object.(type) {
	case *corev1.Node:
		line := fmt.Sprintf("%s %s %s", e.Type, o.ResourceVersion, o.Name)
		if o.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
			line += "initial"
		}
		return line
	case *metav1.Status:
		return fmt.Sprintf("%s %d %s", e.Type, o.Code, o.Reason)
	}
	return fmt.Sprintf("%s %T", e.Type, e.Object)
}

func TestWatch(t *testing.T) {
	const name = "fieldSelector=metadata.name%3Dn1&"
	for _, tt := range []struct {
		name, query string
		want        []string
		then        string // the first event after n1 is deleted and n2 touched
	}{
		{"no version begins with what is there", "", []string{"ADDED 5 n1", "ADDED 3 n2"}, "DELETED 6 n1"},
		{"version 0 too", "resourceVersion=0", []string{"ADDED 5 n1", "ADDED 3 n2"}, "DELETED 6 n1"},
		{"a version replays what came after", "resourceVersion=2", []string{"ADDED 3 n2", "MODIFIED 4 n1", "MODIFIED 5 n1"}, "DELETED 6 n1"},
		{"filtered", name + "resourceVersion=2", []string{"MODIFIED 4 n1", "MODIFIED 5 n1"}, "DELETED 6 n1"},
		{"the other way", "fieldSelector=metadata.name%21%3Dn1&resourceVersion=2", []string{"ADDED 3 n2"}, "MODIFIED 7 n2"},
		{"watch-list", name + "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
			[]string{"ADDED 5 n1", "BOOKMARK 5 initial"}, "DELETED 6 n1"},
		{"without initial events", "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=4", []string{"MODIFIED 5 n1"}, "DELETED 6 n1"},
	} {
		for _, accept := range []string{protobuf, json} {
			t.Run(tt.name, func(t *testing.T) {
				s := start(t)
				s.Put(node("n1", "a"))
				s.Put(node("n2", "a"))
				s.Touch("n1")
				s.Touch("n1")
				w := stream(t, client(t, s, accept), tt.query)
				wantEvents(t, w, tt.want...)
				s.Delete("n1")
				s.Touch("n2")
				wantEvents(t, w, tt.then)
			})
		}
	}
}

func TestWatchEnds(t *testing.T) {
	s := start(t)
	s.Put(node("n1", "a"))
	rc := client(t, s, protobuf)
	plain := stream(t, rc, "resourceVersion=1&timeoutSeconds=1")
	marked := stream(t, rc, "resourceVersion=2&timeoutSeconds=1&allowWatchBookmarks=true")
	wantEvents(t, plain, "ADDED 2 n1", "END")
	wantEvents(t, marked, "BOOKMARK 2 ", "END")

	cut := stream(t, rc, "resourceVersion=2")
	s.CloseWatches()
	wantEvents(t, cut, "END")
}

func TestCloseWatchesCutsInMidAnswer(t *testing.T) {
	s := start(t)
	resp, err := http.Get(s.Config().Host + "/api/v1/nodes?watch=1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	s.CloseWatches()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the watch ended with %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestDownCutsWatches(t *testing.T) {
	s := start(t)
	w := stream(t, client(t, s, protobuf), "resourceVersion=1")
	s.Down(true)
	wantEvents(t, w, "END")
}

func TestAnotherUID(t *testing.T) {
	s := start(t)
	w := stream(t, client(t, s, protobuf), "resourceVersion=1")
	first := s.Put(node("n1", "a"))
	reborn := node("n1", "a")
	reborn.UID = "another"
	if got := s.Put(reborn); got.UID != "another" || first.UID == "another" {
		t.Errorf("got UID %s after %s, want another", got.UID, first.UID)
	}
	wantEvents(t, w, "ADDED 2 n1", "DELETED 3 n1", "ADDED 4 n1")
}

func TestBookmark(t *testing.T) {
	s := start(t)
	rc := client(t, s, protobuf)
	asked := stream(t, rc, "resourceVersion=1&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dn1")
	silent := stream(t, rc, "resourceVersion=1&fieldSelector=metadata.name%3Dn1")
	s.Put(node("n2", "a"))
	s.Bookmark()
	wantEvents(t, asked, "BOOKMARK 2 ")
	s.Put(node("n1", "a"))
	wantEvents(t, asked, "ADDED 3 n1")
	wantEvents(t, silent, "ADDED 3 n1")
}

func TestCompact(t *testing.T) {
	s := start(t)
	rc := client(t, s, protobuf)
	s.Put(node("n1", "a"))
	s.Touch("n1")
	s.Compact()
	wantEvents(t, stream(t, rc, "resourceVersion=2"), "ERROR 410 Expired", "END")
	s.Touch("n1")
	wantEvents(t, stream(t, rc, "resourceVersion=3"), "MODIFIED 4 n1")
}

func TestHistoryIsBounded(t *testing.T) {
	s := start(t)
	s.Put(node("n1", "a"))
	for range 10000 {
		s.Touch("n1")
	}
	rc := client(t, s, protobuf)
	wantEvents(t, stream(t, rc, "resourceVersion=1"), "ERROR 410 Expired")
	wantEvents(t, stream(t, rc, "resourceVersion=5100"), "MODIFIED 5101 n1")
}

func TestList(t *testing.T) {
	for _, accept := range []string{protobuf, json} {
		s := start(t)
		s.Put(node("n2", "b"))
		s.Put(node("n1", "a"))
		for query, want := range map[string]string{
			"":                                 "3: n1 a, n2 b",
			"resourceVersion=0&limit=500":      "3: n1 a, n2 b",
			"fieldSelector=metadata.name%3Dn2": "3: n2 b",
			"fieldSelector=metadata.name%3Dn9": "3: ",
			"resourceVersion=2&resourceVersionMatch=NotOlderThan":        "3: n1 a, n2 b",
			"fieldSelector=metadata.name%3Dn1,spec.unschedulable%3Dtrue": "3: ",
		} {
			var list corev1.NodeList
			err := client(t, s, accept).Get().RequestURI("/api/v1/nodes?" + query).Do(t.Context()).Into(&list)
			var items []string
			for _, n := range list.Items {
				items = append(items, n.Name+" "+n.Annotations[key])
			}
			if got := list.ResourceVersion + ": " + strings.Join(items, ", "); err != nil || got != want {
				t.Errorf("list %q: got %q, %v, want %q", query, got, err, want)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		path string
		want string
	}{
		{"/api/v1/nodes/n9", "404 NotFound"},
		{"/api/v1/pods", "404 NotFound"},
		{"/apis", "404 NotFound"},
		{"/api/v1/nodes/n1/status", "404 NotFound"},
		{"/api/v1/namespaces/default/nodes", "404 NotFound"},
		{"/api/v1/nodes?fieldSelector=metadata.uid%3D1", "400 BadRequest"},
		{"/api/v1/nodes?fieldSelector=metadata.name", "400 BadRequest"},
		{"/api/v1/nodes?labelSelector=a", "400 BadRequest"},
		{"/api/v1/nodes?resourceVersion=x", "400 BadRequest"},
		{"/api/v1/nodes?resourceVersion=99", "504 Timeout"},
		{"/api/v1/nodes?sendInitialEvents=true", "422 Invalid"},
		{"/api/v1/nodes?resourceVersionMatch=Exact", "422 Invalid"},
		{"/api/v1/nodes?watch=1&sendInitialEvents=true", "422 Invalid"},
		{"/api/v1/nodes?watch=1&resourceVersionMatch=NotOlderThan", "422 Invalid"},
		{"/api/v1/nodes?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=99", "504 Timeout"},
	} {
		for _, accept := range []string{protobuf, json} {
			s := start(t)
			s.Put(node("n1", "a"))
			err := client(t, s, accept).Get().RequestURI(tt.path).MaxRetries(0).Do(t.Context()).Error()
			if got := errorLine(err); got != tt.want {
				t.Errorf("GET %s: got %s, want %s", tt.path, got, tt.want)
			}
		}
	}
}

func errorLine(err error) string {
	st, ok := err.(apierrors.APIStatus)
	if !ok {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%d %s", st.Status().Code, st.Status().Reason)
}

func TestMediaTypes(t *testing.T) {
	s := start(t)
	s.Put(node("n1", "a"))
	get := func(path, accept string) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Config().Host+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return fmt.Sprintf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	for accept, want := range map[string]string{
		"":    "200 application/json",
		"*/*": "200 application/json",
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json": "200 application/json",
		"application/vnd.kubernetes.protobuf":                           "200 application/vnd.kubernetes.protobuf",
		"text/html":                                                     "406 application/json",
	} {
		if got := get("/api/v1/nodes/n1", accept); got != want {
			t.Errorf("Accept %q: got %s, want %s", accept, got, want)
		}
	}
	for accept, want := range map[string]string{
		json:     "200 application/json",
		protobuf: "200 application/vnd.kubernetes.protobuf;stream=watch",
	} {
		if got := get("/api/v1/nodes?watch=1", accept); got != want {
			t.Errorf("watch, Accept %q: got %s, want %s", accept, got, want)
		}
	}
}

// TestWatchFaults: what real API servers do to those who watch.
func TestWatchFaults(t *testing.T) {
	s := start(t)
	s.Put(node("n1", "a"))
	rc := client(t, s, protobuf)
	expired := stream(t, rc, "resourceVersion=2")
	s.ExpireWatches()
	wantEvents(t, expired, "ERROR 410 Expired", "END")

	s.Mute(true)
	muted := stream(t, rc, "")
	s.Touch("n1")
	s.Bookmark()
	s.Mute(false)
	wantEvents(t, muted, "ADDED 2 n1", "MODIFIED 3 n1")

	restore := s.Snapshot()
	s.Touch("n1")
	s.Delete("n1")
	s.Put(node("n2", "b"))
	restore()
	future := stream(t, rc, "resourceVersion=6")
	wantEvents(t, stream(t, rc, ""), "ADDED 3 n1")
	s.Touch("n1")
	if got := s.Get("n1").ResourceVersion; got != "4" || s.Get("n2") != nil {
		t.Errorf("restored: n1 at %s, n2 %v", got, s.Get("n2"))
	}
	select {
	case e := <-future.ResultChan():
		t.Errorf("a watch from the future got %v", e)
	default:
	}
}
