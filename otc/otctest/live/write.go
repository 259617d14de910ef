package live

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"otc-route-manager/otc"
)

// Questions that write.

// dest returns one of 16 parts of LIVE_CIDR, such as 10.99.0.16/28 of 10.99.0.0/24.
func (r *run) dest(i int) string { return part(r.Ranges[0], 4, i).String() }

// dests returns n of 256 parts, from the i-th on.
func (r *run) dests(i, n int) (words string) {
	for range n {
		words += " " + part(r.Ranges[0], 8, i).String()
		i++
	}
	return words
}

// part returns the i-th part of a range that is a few bits longer.
func part(p netip.Prefix, bits, i int) netip.Prefix {
	b, length := p.Addr().AsSlice(), p.Bits()+bits
	for n := range bits {
		at := length - 1 - n
		b[at/8] |= byte(i>>n&1) << (7 - at%8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(addr, length)
}

// readsAfterWrite reads ten times in a row. Later reads wait as long as these lacked the
// route.
func readsAfterWrite(ctx context.Context, r *run) string {
	r.kept["write"] = r.write(ctx, "add 0")
	if r.err == nil && r.kept["write"].status != http.StatusOK {
		r.err = fmt.Errorf("the cloud takes no plain route: %s", r.kept["write"])
	}
	n, settle := 0, time.Second
	for i := range 10 {
		if r.readNow(ctx).find(r.dest(0)) == nil {
			n, settle = n+1, time.Second+time.Duration(i+1)*pace
		}
	}
	switch {
	case r.err != nil: // it is still not known
	case n == 10:
		r.settle = 3 * unmeasured
	default:
		r.settle = settle
	}
	return fmt.Sprint(n)
}

func firstWrite(_ context.Context, r *run) string {
	t, err := r.kept["write"].table()
	switch added := t.find(r.dest(0)) != nil; {
	case err != nil:
		return "there are none"
	case added && len(t.Routes) == 1:
		return "the added ones"
	case added:
		return "all"
	}
	return "all, as they were before"
}

func writes(words string) func(context.Context, *run) string {
	return func(ctx context.Context, r *run) string { return r.write(ctx, words).String() }
}

// partial adds two good routes and, between them, one that is there.
func partial(ctx context.Context, r *run) string {
	if a := r.write(ctx, "add 1 0 2"); a.status == http.StatusOK {
		return "the write is taken"
	}
	if n := len(r.gate.left(r.read(ctx))) - 1; n > 0 {
		return fmt.Sprintf("%d of 2 are applied", n)
	}
	return "nothing is applied"
}

func unknownHop(ctx context.Context, r *run) string {
	r.kept["hop"] = r.put(ctx, map[string][]op{"add": {{otc.TypeECS, r.dest(0), noServer, mark}}})
	return r.kept["hop"].String()
}

func otherHop(ctx context.Context, r *run) string {
	if r.kept["hop"].status != http.StatusOK {
		return notAsked + "a next hop that does not exist is refused"
	}
	return r.write(ctx, "add 0").String()
}

func deleteAndAdd(ctx context.Context, r *run) string {
	r.write(ctx, "add 0")
	return r.write(ctx, "del 0 add 0").String()
}

// modify finds the route of the question before.
func modify(ctx context.Context, r *run) string {
	a := r.put(ctx, map[string][]op{"mod": {{otc.TypeECS, r.dest(0), r.Instance, ""}}})
	switch o := r.read(ctx).find(r.dest(0)); {
	case a.status != http.StatusOK || o == nil:
		return a.String()
	case o.Description == "":
		return "it is emptied"
	}
	return "it stays"
}

func bareAddress(ctx context.Context, r *run) string {
	return r.write(ctx, "add "+part(r.Ranges[0], 4, 9).Addr().String()).String()
}

func described(i int, more string) func(context.Context, *run) string {
	return func(ctx context.Context, r *run) string { return r.shown(ctx, r.dest(i), mark+more) }
}

func hostBits(ctx context.Context, r *run) string {
	p := part(r.Ranges[0], 4, 8)
	return r.shown(ctx, netip.PrefixFrom(p.Addr().Next(), p.Bits()).String(), mark)
}

// otherSpelling deletes by the canonical form what was added with host bits.
func otherSpelling(ctx context.Context, r *run) string {
	if o := r.read(ctx).find(r.dest(8)); o == nil || o.Destination == r.dest(8) {
		return notAsked + "the table holds the canonical form"
	}
	return r.write(ctx, "del 8").String()
}

func ipv6(i int, full bool) func(context.Context, *run) string {
	return func(ctx context.Context, r *run) string {
		if len(r.Ranges) < 2 {
			return notAsked + "LIVE_CIDR has no IPv6 range"
		}
		p := part(r.Ranges[1], 4, i)
		text := p.String()
		if full {
			text = fmt.Sprintf("%s/%d", strings.ToUpper(p.Addr().StringExpanded()), p.Bits())
		}
		return r.shown(ctx, text, mark)
	}
}

// shown adds a route and compares what a read shows with what was sent.
func (r *run) shown(ctx context.Context, destination, description string) string {
	a := r.put(ctx, map[string][]op{"add": {{otc.TypeECS, destination, r.Instance, description}}})
	if a.status != http.StatusOK {
		return a.String()
	}
	switch o := r.read(ctx).find(destination); {
	case o == nil:
		return "200, not shown"
	case o.Description != description:
		return "200, shown with another description"
	case o.Destination == destination:
		return "200, shown as sent"
	case o.Destination == otc.ParseDestination(destination).String():
		return "200, shown in canonical form"
	}
	return "200, shown in another spelling"
}

// operations finds out how many a write may carry; clearing up relies on it.
func operations(ctx context.Context, r *run) string {
	for _, n := range []int{2, 5, 6, 10, 50} {
		all := r.dests(0, n)
		if a := r.write(ctx, "add "+all); a.status != http.StatusOK {
			return fmt.Sprintf("%d are refused: %s", n, a)
		}
		if got := len(r.gate.left(r.read(ctx))); got != n {
			return fmt.Sprintf("%d of %d are applied", got, n)
		}
		if a := r.write(ctx, "del "+all); a.status != http.StatusOK {
			return fmt.Sprintf("%d deletes are refused: %s", n, a)
		}
		r.chunk, r.gate.reserve = n, slack
	}
	return "all are applied"
}

// order adds one by one: a list in a request need not have an order.
func order(ctx context.Context, r *run) string {
	want := []string{r.dest(2), r.dest(0), r.dest(1)}
	for _, d := range want {
		r.write(ctx, "add "+d)
	}
	var got []string
	all := r.read(ctx).Routes
	for _, o := range all[max(0, len(all)-len(want)):] {
		got = append(got, o.Destination)
	}
	if slices.Equal(got, want) {
		return "local ones first, then as added"
	}
	return "another one"
}

// fill adds routes until no more are taken, if there are enough calls to delete them.
func fill(ctx context.Context, r *run) string {
	limit := r.limit
	if limit < 1 || limit > 250 {
		return notAsked + "the quota is not known, or larger than 250"
	}
	need := 2*((limit+r.chunk-1)/r.chunk) + 8
	if left := maxCalls - slack - r.gate.calls; need > left {
		return fmt.Sprintf("%sit takes %d calls, at %d routes in a write, and %d are left", notAsked, need, r.chunk, left)
	}
	for n := 0; n < limit; n += r.chunk {
		if a := r.write(ctx, "add"+r.dests(n, min(r.chunk, limit-n))); a.status != http.StatusOK {
			return fmt.Sprintf("%d or some more, then %s", n, a)
		}
	}
	r.fits = limit
	return "as many as the quota says"
}

func oneMore(ctx context.Context, r *run) string {
	if r.fits == 0 {
		return notAsked + "the table is not full"
	}
	a := r.write(ctx, "add"+r.dests(r.fits, 1))
	if a.status == http.StatusOK {
		r.fits = 0
	}
	return a.String()
}

func moveWhenFull(ctx context.Context, r *run) string {
	if r.fits == 0 {
		return notAsked + "the table is not full"
	}
	return r.write(ctx, "del"+r.dests(0, 1)+" add"+r.dests(r.fits, 1)).String()
}
