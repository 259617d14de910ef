package otc

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc/otctest"
)

// refused are destinations that R1 forbids, each as it could come by mistake.
func refused() map[string]Route {
	with := func(destination string, edit func(*Route)) Route {
		r := route(destination)
		if edit != nil {
			edit(&r)
		}
		return r
	}
	return map[string]Route{
		"the default route":           with("0.0.0.0/0", nil),
		"the IPv6 default route":      with("::/0", nil),
		"half of the world":           with("0.0.0.0/1", nil),
		"the whole range":             with("10.128.0.0/14", nil),
		"more than the range":         with("10.128.0.0/13", nil),
		"the whole IPv6 range":        with("fd01::/48", nil),
		"outside":                     with("10.132.0.0/23", nil),
		"the VPC's own":               with("10.20.0.0/24", nil),
		"IPv6 outside":                with("fd02::/64", nil),
		"IPv4 in IPv6":                with("::ffff:10.128.4.0/119", nil),
		"no destination":              with("10.128.4.0/23", func(r *Route) { r.Destination = netip.Prefix{} }),
		"host bits":                   with("10.128.4.7/23", nil),
		"spelled as another":          with("10.128.4.0/23", func(r *Route) { r.Raw = "10.128.6.0/23" }),
		"spelled as the default":      with("10.128.4.0/23", func(r *Route) { r.Raw = "0.0.0.0/0" }),
		"spelled longer":              with("10.128.4.0/23", func(r *Route) { r.Raw = "10.128.4.0/24" }),
		"no CIDR":                     with("10.128.4.0/23", func(r *Route) { r.Raw = "pl-1" }),
		"outside in its own spelling": with("10.20.0.0/24", func(r *Route) { r.Raw = "10.20.0.0/24" }),
	}
}

// R1: no destination leaves but those strictly inside a permitted range, whatever
// the planner said.
func TestR1NothingOutsideTheRangesLeaves(t *testing.T) {
	good := route("10.128.8.0/23")
	for name, r := range refused() {
		for _, ch := range []Changes{Ops(Add, r), Ops(Modify, r), Ops(Delete, r),
			Ops(Add, good, r), slices.Concat(Ops(Add, good), Ops(Modify, r)), slices.Concat(Ops(Add, good), Ops(Delete, r))} {
			w := newWorld(t)
			if err := w.put(ch); !errors.Is(err, ErrGuard) {
				t.Errorf("%s: %v: got %v, want a refusal", name, ch, err)
			}
			w.wantCalls(otctest.OpTableUpdate, 0)
		}
	}
}

// R1: what is added is canonical; the table's spelling is for what is there.
func TestR1AddsAreCanonical(t *testing.T) {
	for _, spelling := range []string{"10.128.4.7/23", "10.128.4.1/23"} {
		r := route("10.128.4.0/23")
		r.Raw = spelling
		w := newWorld(t)
		if err := w.put(Ops(Add, r)); !errors.Is(err, ErrGuard) {
			t.Errorf("got %v, want a refusal", err)
		}
		w.wantCalls(otctest.OpTableUpdate, 0)
		w.SetRoutes(otctest.TableID, otctest.Route{Type: "ecs", Destination: spelling, NextHop: two})
		if err := w.put(Ops(Modify, r)); err != nil {
			t.Errorf("got %v", err)
		}
		if got := w.Routes(otctest.TableID); len(got) != 1 || got[0].Destination != spelling || got[0].NextHop != one {
			t.Errorf("got %v", got)
		}
	}
}

// R1: ranges that permit nothing, or less than it seems.
func TestR1OddRanges(t *testing.T) {
	for _, ranges := range []string{"", "10.128.4.0/23", "10.128.0.0/14 10.128.4.0/23", "10.128.4.0/23 10.128.0.0/14", "0.0.0.0/0", "::/0"} {
		w := newWorld(t, func(c *Config) {
			c.Allowed = nil
			for _, r := range strings.Fields(ranges) {
				c.Allowed = append(c.Allowed, netip.MustParsePrefix(r))
			}
		})
		if err := w.write(); !errors.Is(err, ErrGuard) { // 10.128.4.0/23
			t.Errorf("%q: got %v, want a refusal", ranges, err)
		}
		w.wantCalls(otctest.OpTableUpdate, 0)
	}
}

// R1: the edges of a range are inside.
func TestR1InsideIsSent(t *testing.T) {
	var all []Route
	for _, s := range []string{"10.128.0.0/23", "10.131.254.0/23", "10.130.0.1/32", "10.130.128.0/17", "fd01::/64", "fd01:0:0:ffff::/64"} {
		all = append(all, route(s))
	}
	w := newWorld(t)
	for _, ch := range []Changes{Ops(Add, all[:3]...), Ops(Add, all[3:]...), slices.Concat(Ops(Modify, all[:2]...), Ops(Delete, all[2:5]...))} {
		if err := w.put(ch); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(w.Routes(otctest.TableID)); got != 3 {
		t.Errorf("got %d routes, want 3", got)
	}
	w.wantCalls(otctest.OpTableUpdate, 3)
}

// R2: a PUT is a delta. It names what it changes, once, and nothing else moves.
func TestR2OnlyNamedRoutesChange(t *testing.T) {
	foreign := []otctest.Route{{Type: "nat", Destination: "0.0.0.0/0", NextHop: "nat-1", Description: "x"},
		{Type: "ecs", Destination: "10.128.6.0/23", NextHop: two, Description: "otc-route-manager worker-2"}}
	w := newWorld(t)
	w.SetRoutes(otctest.TableID, append(slices.Clone(foreign), otctest.Route{Type: "ecs", Destination: "10.128.8.0/23", NextHop: one, Description: mark})...)
	if err := w.put(slices.Concat(Ops(Add, route("10.128.4.0/23")), Ops(Delete, route("10.128.8.0/23")))); err != nil {
		t.Fatal(err)
	}
	requests := w.Requests()
	if body := string(requests[len(requests)-1].Body); strings.Contains(body, "nat-1") || strings.Contains(body, "10.128.6.0") || strings.Count(body, "destination") != 2 {
		t.Errorf("got %s, want the two operations and nothing else", body)
	}
	want := append(slices.Clone(foreign), otctest.Route{Type: "ecs", Destination: "10.128.4.0/23", NextHop: one, Description: mark})
	if got := w.Routes(otctest.TableID); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	w.wantCalls(otctest.OpTableUpdate, 1)
}

// R2: one operation per destination, in whatever spelling and list, and five in all.
func TestR2FewOperationsOnePerDestination(t *testing.T) {
	a, b := route("10.128.4.0/23"), route("10.128.4.0/23")
	b.Raw = "10.128.4.9/23"
	six, long := route("fd01:0:0:4::/64"), route("fd01:0:0:4::/64")
	long.Raw = "fd01:0000:0000:0004:0000:0000:0000:0000/64"
	for name, ch := range map[string]Changes{
		"add twice":                   Ops(Add, a, a),
		"add and delete":              slices.Concat(Ops(Add, a), Ops(Delete, a)),
		"add and delete, spelled":     slices.Concat(Ops(Add, a), Ops(Delete, b)),
		"add and modify":              slices.Concat(Ops(Add, a), Ops(Modify, a)),
		"modify and delete, spelled":  slices.Concat(Ops(Modify, b), Ops(Delete, a)),
		"delete twice, spelled":       Ops(Delete, a, b),
		"IPv6 in long and short form": slices.Concat(Ops(Add, six), Ops(Delete, long)),
		"nothing":                     {},
		"six operations":              Ops(Add, a, route("10.128.6.0/23"), route("10.128.8.0/23"), route("10.128.10.0/23"), route("10.128.12.0/23"), six),
	} {
		w := newWorld(t)
		if err := w.put(ch); !errors.Is(err, ErrGuard) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
		w.wantCalls(otctest.OpTableUpdate, 0)
	}
}

// A PUT rests on a read that was asked for 10 s ago at most when it leaves, whatever
// has held it up: executed 60 s late, it comes before the new owner's last check.
func TestR6PutRestsOnARecentRead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		read   time.Duration // before the PUT
		login  time.Duration // how long the login takes
		dial   time.Duration // how long the PUT's connection takes
		revoke bool          // the token that the read was made with
		sent   int
	}{
		{"just read", 0, 0, 0, false, 1},
		{"10 s ago", 10*time.Second - 1, 0, 0, false, 1},
		{"more than 10 s ago", 10*time.Second + 1, 0, 0, false, 0},
		{"never read", 1e6 * time.Hour, 0, 0, false, 0},
		{"a login of 10 s", 0, 10*time.Second - 1, 0, false, 1},
		{"a login of more", 0, 10*time.Second + 1, 0, false, 0},
		{"a connection of 10 s", 0, 0, 10*time.Second - 1, false, 1},
		{"a connection of more", 0, 0, 10*time.Second + 1, false, 0},
		{"a refused token, and a login of 10 s", 0, 10*time.Second - 1, 0, true, 2},
		{"a refused token, and a login of more", 0, 10*time.Second + 1, 0, true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.client.transport.base = roundTripper(func(r *http.Request) (*http.Response, error) {
					if r.Method == http.MethodPut && tt.dial > 0 {
						select {
						case <-time.After(tt.dial):
						case <-r.Context().Done():
							return nil, r.Context().Err()
						}
					}
					return w.RoundTrip(r)
				})
				if tt.revoke {
					w.mustRead()
					w.RevokeTokens()
				}
				w.Fail(otctest.Fault{Op: otctest.OpLogin, Delay: tt.login})
				table := fresh()
				table.AsOf = table.AsOf.Add(-tt.read)
				if tt.read > time.Hour {
					table.AsOf = time.Time{}
				}
				err := w.client.UpdateRoutes(t.Context(), table, Ops(Add, route("10.128.4.0/23")))
				routes := w.Routes(otctest.TableID)
				if tooOld := errors.Is(err, ErrTooOld) && ReactionTo(err) == Conflict; (len(routes) == 0) != tooOld || (err != nil) != tooOld {
					t.Errorf("got %v and the routes %v", err, routes)
				}
				w.wantCalls(otctest.OpTableUpdate, tt.sent)
			})
		})
	}
}

// What is written is a well-formed route to a server.
func TestGuardOnRoutes(t *testing.T) {
	for name, edit := range map[string]func(*Route){
		"another type":             func(r *Route) { r.Type = "vip" },
		"no type":                  func(r *Route) { r.Type = "" },
		"an address as next hop":   func(r *Route) { r.NextHop = "10.20.0.11" },
		"no next hop":              func(r *Route) { r.NextHop = "" },
		"a long description":       func(r *Route) { r.Description = strings.Repeat("x", 256) },
		"a tag in the description": func(r *Route) { r.Description = "<b>" },
		"half a tag":               func(r *Route) { r.Description = "a>b" },
	} {
		r := route("10.128.4.0/23")
		edit(&r)
		for _, ch := range []Changes{Ops(Add, r), Ops(Modify, r)} {
			w := newWorld(t)
			if err := w.put(ch); !errors.Is(err, ErrGuard) {
				t.Errorf("%s: got %v, want a refusal", name, err)
			}
			w.wantCalls(otctest.OpTableUpdate, 0)
		}
	}
	r := route("10.128.4.0/23")
	r.Description = mark + strings.Repeat("x", 255-len(mark))
	w := newWorld(t)
	if err := w.put(Ops(Add, r)); err != nil {
		t.Errorf("255 bytes of description: got %v", err)
	}
}
