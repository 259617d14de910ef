package otc

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// populate adds n servers named prefix-0, prefix-1 and so on.
func (w *world) populate(prefix string, n int) {
	for i := range n {
		w.AddServer(otctest.Instance{Name: fmt.Sprintf("%s-%d", prefix, i), Fixed: []string{fmt.Sprintf("10.21.%d.%d", i/250, i%250+1)}})
	}
}

// pages returns the offsets of the list requests, which count pages.
func (w *world) pages() (pages []string) {
	for _, r := range w.Requests() {
		if r.Op == otctest.OpServerList {
			pages = append(pages, r.Query.Get("offset"))
		}
	}
	return pages
}

// Trap 17: the list has 25 servers a page unless asked otherwise, and its offset
// counts pages. No server is lost.
func TestServersAreReadPageByPage(t *testing.T) {
	for n, want := range map[int][]string{0: {"1"}, 1: {"1"}, 26: {"1"}, 200: {"1"}, 201: {"1", "2"}, 400: {"1", "2"}, 601: {"1", "2", "3", "4"}} {
		w := newWorld(t)
		w.DeleteServer(one)
		w.populate("worker", n)
		got, err := w.client.Servers(t.Context())
		if err != nil || len(got) != n {
			t.Errorf("got %d servers, %v; want %d", len(got), err, n)
		}
		if !slices.Equal(w.pages(), want) {
			t.Errorf("%d servers: got pages %v, want %v", n, w.pages(), want)
		}
	}
}

// A cloud that gives fewer rows than asked for has not come to the end.
func TestServersWithShortPages(t *testing.T) {
	w := newWorld(t)
	for page, names := range [][]string{{"a", "b"}, {"c", "d"}, {"e"}} {
		var list []map[string]any
		for _, name := range names {
			list = append(list, map[string]any{"id": name, "name": name})
		}
		body, err := json.Marshal(map[string]any{"count": 5, "servers": list})
		if err != nil {
			t.Fatal(err)
		}
		w.Fail(otctest.Fault{Op: otctest.OpServerList, Body: body, Match: func(r otctest.Request) bool { return r.Query.Get("offset") == fmt.Sprint(page+1) }})
	}
	if got, err := w.client.Servers(t.Context()); err != nil || len(got) != 5 {
		t.Errorf("got %v, %v; want 5 servers", got, err)
	}
	if got := w.pages(); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("got pages %v", got)
	}
}

// Trap 45: a page of 200 servers is as large as their user data makes it, here
// 9 MB.
func TestServersWithUserData(t *testing.T) {
	w := newWorld(t)
	w.Set(func(k *otctest.Knobs) { k.UserDataSize = 32 << 10 })
	w.populate("worker", 249)
	if got, err := w.client.Servers(t.Context()); err != nil || len(got) != 250 {
		t.Errorf("got %d servers, %v; want 250", len(got), err)
	}
	w.wantCalls(otctest.OpServerList, 2)
}

// A page is decoded server by server: what it takes does not grow with the page.
func TestServersAreDecodedAsTheyArrive(t *testing.T) {
	row := `{"id":"a","name":"x","OS-EXT-SRV-ATTR:user_data":"` + strings.Repeat("eHh4", 11<<10) + `"}`
	took := func(n int) (bytes uint64) {
		body := `{"servers":[` + strings.Repeat(row+",", n-1) + row + `],"count":7}`
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var p serverPage
		err := decodeStream(strings.NewReader(body), p.decode)
		runtime.ReadMemStats(&after)
		if err != nil || len(p.servers) != n || p.count != 7 {
			t.Errorf("got %d servers of %d, %v; want %d of 7", len(p.servers), p.count, err, n)
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	few, many := took(20), took(400)
	t.Logf("20 servers of %d bytes take %d bytes, 400 take %d", len(row), few, many)
	if many > few+4<<20 { // all bytes ever allocated; the page has 18 MB
		t.Errorf("20 servers take %d bytes, 400 take %d", few, many)
	}
}

// Pages that are no page, or half of one, are asked for again, and nothing of
// them counts.
func TestServersInBrokenPages(t *testing.T) {
	const half = `{"servers":[{"id":"lost","name":"x"}`
	for name, f := range map[string]otctest.Fault{
		"cut off":            {Body: []byte(half)},
		"cut connection":     {Body: []byte(half + `]}`), Truncate: true, Keep: len(half)},
		"stalled":            {Body: []byte(half + `]}`), Slow: time.Second},
		"text":               {Body: []byte(`welcome`)},
		"an HTML page":       {Body: []byte(`<html>`)},
		"nothing":            {Body: []byte{}},
		"a list":             {Body: []byte(`[` + half + `]}]`)},
		"servers in no list": {Body: []byte(`{"servers":{"id":"lost"}}`)},
		"the wrong end":      {Body: []byte(half + `}]`)},
		"a server too large": {Body: []byte(half + `,{"id":"` + strings.Repeat("x", 2<<20) + `"}]}`)},
		"more behind it":     {Body: []byte(half + `]}{}`)},
		"garbage behind it":  {Body: []byte(half + `]}x`)},
		"too large":          {Body: []byte(half + strings.Repeat(`,{"id":"`+strings.Repeat("x", 1<<19)+`"}`, 65) + `]}`)},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				f.Op, f.Times = otctest.OpServerList, 2
				w.Fail(f)
				if got, err := w.client.Servers(t.Context()); err != nil || len(got) != 1 || got[0].ID != one {
					t.Errorf("got %v, %v; want the one server", got, err)
				}
				if got := w.count.retries["connection"]; got != 2 {
					t.Errorf("got %d retries, want 2", got)
				}
			})
		})
	}
}

// Trap 50: a server that is odd does not hide the others, nor itself if it has an id.
func TestServersThatAreOdd(t *testing.T) {
	const id = "11111111-2b6d-4f80-93ae-5d1c8b7f0e41"
	for _, tt := range []struct{ server, want string }{
		{`{"id":null,"name":"b"}`, ""}, {`{"name":"b"}`, ""}, {`{"id":7}`, ""}, {`7`, ""}, {`null`, ""}, {`"x"`, ""}, {`[]`, ""}, {`{}`, ""},
		{`{"id":"` + id + `","name":"b","status":"ERROR","addresses":[]}`, "b  []"},
		{`{"id":"` + id + `","name":"b","addresses":""}`, "b  []"},
		{`{"id":"` + id + `","name":"b","metadata":[],"addresses":{}}`, "b  []"},
		{`{"id":"` + id + `","name":"b","metadata":{"vpc_id":123}}`, "b  []"},
		{`{"id":"` + id + `","name":123,"metadata":{"vpc_id":"v"}}`, " v []"},
		{`{"id":"` + id + `","name":"b","OS-EXT-STS:task_state":false,"status":3}`, "b  []"},
		{`{"id":"` + id + `","addresses":{"a":{},"b":[7,{"addr":3},{"addr":"10.20.0.9"},{"addr":"10.20.0.8","OS-EXT-IPS:type":1}]}}`, "  [10.20.0.9]"},
		{`{"id":"` + id + `","name":"b\u001b[31m\u202e"}`, "b?[31m?  []"},
	} {
		w := newWorld(t)
		body := `{"count":2,"servers":[` + tt.server + `,{"id":"` + one + `","name":"good"}]}`
		w.Fail(otctest.Fault{Op: otctest.OpServerList, Body: []byte(body)})
		got, err := w.client.Servers(t.Context())
		n := len(got)
		if err != nil || n == 0 || got[n-1].ID != one || (n == 2) != (tt.want != "") {
			t.Errorf("%s: got %v, %v", tt.server, got, err)
			continue
		}
		if odd := got[0]; n == 2 && fmt.Sprint(odd.Name, " ", odd.VPCID, " ", odd.Fixed) != tt.want {
			t.Errorf("%s: got %v, want %q", tt.server, odd, tt.want)
		}
		w.wantCalls(otctest.OpServerList, 1)
	}
}

// A list without a count ends with a page that is not full.
func TestServersWithoutCount(t *testing.T) {
	w := newWorld(t)
	w.Fail(otctest.Fault{Op: otctest.OpServerList, Body: []byte(`{"servers":[{"id":"a","name":"x"}]}`)})
	if got, err := w.client.Servers(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("got %v, %v; want one server", got, err)
	}
	w.wantCalls(otctest.OpServerList, 1)
}

// A list that never ends is an error, not an endless loop.
func TestServersWithoutEnd(t *testing.T) {
	w := newWorld(t)
	w.Fail(otctest.Fault{Op: otctest.OpServerList, Times: -1, Body: []byte(`{"count":1000000,"servers":[{"id":"a","name":"x"}]}`)})
	if _, err := w.client.Servers(t.Context()); err == nil {
		t.Error("got no error")
	}
	if n := w.Count(otctest.OpServerList); n > 250 {
		t.Errorf("got %d pages", n)
	}
}

// A page that fails is an error: half a list proves nothing.
func TestServersWhenALaterPageFails(t *testing.T) {
	w := newWorld(t)
	w.populate("worker", 300)
	w.Fail(otctest.Fault{Op: otctest.OpServerList, After: 1, Status: 403})
	if got, err := w.client.Servers(t.Context()); err == nil || got != nil {
		t.Errorf("got %d servers, %v; want an error", len(got), err)
	}
}

// Trap 18: servers come and go between pages. Rows that move to a later page are
// seen twice, and count once.
func TestServersThatMoveBetweenPages(t *testing.T) {
	w := newWorld(t)
	w.populate("worker", 399) // and worker-1 of every world
	w.Fail(otctest.Fault{Op: otctest.OpServerList, After: 1, Before: func() {
		w.DeleteServer(one)
		w.populate("new", 5)
	}})
	got, err := w.client.Servers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range got {
		if seen[s.ID] {
			t.Errorf("%s is there twice", s.Name)
		}
		seen[s.ID] = true
	}
	if len(got) < 400 {
		t.Errorf("got %d servers, want 400 at least", len(got))
	}
	body := []byte(`{"count":3,"servers":[{"id":"a","name":"x"},{"id":"b","name":"x"}]}`)
	w.Fail(otctest.Fault{Op: otctest.OpServerList, Times: 2, Body: body})
	if got, err := w.client.Servers(t.Context()); err != nil || len(got) != 2 {
		t.Errorf("got %v, %v; want two servers", got, err)
	}
}

// Trap 16: 10.20.0.1 also finds 10.20.0.11, and floating addresses do not count.
func TestServersByIP(t *testing.T) {
	w := newWorld(t)
	w.AddServer(otctest.Instance{ID: two, Name: "other", Fixed: []string{"10.20.0.1"}, NICs: []otctest.NIC{{Addresses: []string{"10.30.0.5", "fd00::5"}}}})
	w.AddServer(otctest.Instance{Name: "third", Fixed: []string{"10.20.0.111"}, Floating: []string{"10.20.0.12"}})
	for ip, want := range map[string]string{"10.20.0.1": two, "10.20.0.11": one, "10.30.0.5": two, "10.20.0.12": "", "80.158.0.77": "", "10.20.0.2": "", "fd00::5": ""} {
		got, err := w.client.ServersByIP(t.Context(), netip.MustParseAddr(ip))
		if err != nil || len(got) != map[bool]int{true: 1}[want != ""] || want != "" && got[0].ID != want {
			t.Errorf("%s: got %v, %v; want %q", ip, got, err, want)
		}
	}
}

// Without permission the cloud shows an empty list.
func TestServersWithoutPermission(t *testing.T) {
	w := newWorld(t)
	w.Set(func(k *otctest.Knobs) { k.Deny = map[string]otctest.Denial{"ecs:cloudServers:list": otctest.DenyEmpty} })
	if got, err := w.client.Servers(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v; want none", got, err)
	}
}

func TestServer(t *testing.T) {
	w := newWorld(t)
	w.AddServer(otctest.Instance{ID: two, Name: "worker-2", TaskState: "deleting", Fixed: []string{"10.20.0.12", "fd00::12"},
		Floating: []string{"80.158.0.78"}, NICs: []otctest.NIC{{VPCID: "41d7e0a9-4b7d-4f0d-b2e6-a1c85d9f7b30", Addresses: []string{"10.20.0.5"}}}})
	for _, numeric := range []bool{false, true} {
		w.Set(func(k *otctest.Knobs) { k.NumericVersion = numeric })
		got, err := w.client.Server(t.Context(), two)
		want := Server{ID: two, Name: "worker-2", VPCID: otctest.VPCID, Deleting: true,
			Fixed: []netip.Addr{netip.MustParseAddr("10.20.0.5"), netip.MustParseAddr("10.20.0.12"), netip.MustParseAddr("fd00::12")}}
		if err != nil || !slices.Equal(got.Fixed, want.Fixed) || got.ID != want.ID || got.Name != want.Name || got.VPCID != want.VPCID || !got.Deleting {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
		}
	}
	w.AddServer(otctest.Instance{ID: two, Status: "BUILD"})
	if got, err := w.client.Server(t.Context(), two); err != nil || got.VPCID != "" || got.Deleting {
		t.Errorf("got %+v, %v; want one that is being built", got, err)
	}
	w.DeleteServer(two)
	if _, err := w.client.Server(t.Context(), two); !IsNotFound(err) {
		t.Errorf("got %v, want no such server", err)
	}
}

// An answer about another server, or none, is an error and not a server that is gone.
func TestAnswersThatHoldNoServer(t *testing.T) {
	for _, body := range []string{`{}`, `null`, `{"server":null}`, `{"server":{}}`, `{"server":{"id":"` + two + `"}}`, `{"servers":[]}`, `[]`, ``} {
		w := newWorld(t)
		w.Fail(otctest.Fault{Op: otctest.OpServerGet, Body: []byte(body)})
		if _, err := w.client.Server(t.Context(), one); err == nil || IsNotFound(err) {
			t.Errorf("%s: got %v, want an error", body, err)
		}
	}
}
