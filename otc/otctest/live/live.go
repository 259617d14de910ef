// Package live asks a cloud what its documents leave open. questions.go lists what is
// assumed, and a run shows what was seen. `make test` asks the simulator (otctest),
// `make live` asks a real account, with the same code.
//
// It writes only into a route table that no subnet uses, only inside a range that nothing
// of the VPC uses, and removes what it wrote. gate.go decides what leaves.
package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"otc-route-manager/otc"
)

// A Config is where to ask. Read fills in Table, Instance and Ranges.
type Config struct {
	OTC      otc.Config // AuthURL, Credentials, Region, endpoints and RootCAs are used; Transport nil: the network
	Table    string     // LIVE_ROUTE_TABLE: not a default table, serves no subnet, holds no route
	Instance string     // LIVE_INSTANCE: the next hop of the routes
	Ranges   []netip.Prefix
	DryRun   bool      // list the calls on Out, without the waits between them; Transport is a simulator
	Out      io.Writer // the answers, as a Markdown table
	Log      io.Writer // what else a person should read
}

// Read takes LIVE_ROUTE_TABLE, LIVE_INSTANCE and LIVE_CIDR. It returns what is wrong.
func (c *Config) Read(getenv func(string) string) (problems []string) {
	c.Table, c.Instance = strings.ToLower(getenv("LIVE_ROUTE_TABLE")), strings.ToLower(getenv("LIVE_INSTANCE"))
	if !otc.IsUUID(c.Table) {
		problems = append(problems, "LIVE_ROUTE_TABLE: want the id of an empty route table that no subnet uses")
	}
	if !otc.IsUUID(c.Instance) {
		problems = append(problems, "LIVE_INSTANCE: want the id of an ECS instance in the VPC of that table; nothing happens to it")
	}
	for i, s := range strings.Split(getenv("LIVE_CIDR"), ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil || !fits(i, p) {
			return append(problems, "LIVE_CIDR: want an IPv4 range from /16 to /24 that nothing uses; to try IPv6, an IPv6 range from /32 to /112 behind a comma")
		}
		c.Ranges = append(c.Ranges, p)
	}
	return problems
}

// fits reports whether a range may be the i-th of LIVE_CIDR: there is room for 256
// destinations, and it is no larger than it has to be.
func fits(i int, p netip.Prefix) bool {
	least, most := 16, 24
	if i == 1 {
		least, most = 32, 112
	}
	return i < 2 && p.Addr().Is6() == (i == 1) && !p.Addr().Is4In6() && p == p.Masked() && p.Bits() >= least && p.Bits() <= most
}

// Run asks all questions and removes what it wrote. The Recording is nil if the run ended
// before the last question, and in a dry run.
func Run(ctx context.Context, c Config) (*Recording, error) {
	r := newRun(c)
	if err := r.all(ctx); err != nil || c.DryRun {
		return nil, err
	}
	return r.record()
}

// all does everything but the recording.
func (r *run) all(ctx context.Context) error {
	for _, step := range []func(context.Context) error{r.logIn, r.check, r.announce} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("%w (%d calls were made, nothing was written)", err, r.gate.calls)
		}
	}
	return r.askAll(ctx)
}

// announce names in full what will be written where, and leaves time to stop.
func (r *run) announce(ctx context.Context) error {
	const pause = 10 * time.Second
	r.gate.open = true
	if r.DryRun {
		return nil
	}
	fmt.Fprintf(r.Log, `Checked: route table %s is not the default table of VPC %s,
no subnet uses it, and it holds local routes only. No subnet of the VPC and no
route of its tables overlaps %s%s.

Routes are written into this table only, inside %[3]s only, to instance
%[5]s or to one that does not exist. They are removed
at the end; after an error and after Ctrl-C, too. The first write follows in %[6]v.

`, r.Table, r.checked.VPC, r.ranges(), r.unchecked, r.Instance, pause)
	return r.wait(ctx, pause)
}

func (r *run) ranges() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(r.Ranges), " ", " and "), "[]")
}

// askAll asks, and cleans up in every case.
func (r *run) askAll(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, r.cleanUp(context.WithoutCancel(ctx))) }()
	for i, q := range questions() {
		r.gate.question = q.name
		row := Row{q.name, q.assumed, q.ask(ctx, r)}
		if r.err == nil {
			r.show(i, row)
		}
		if !q.keep {
			r.clear(ctx)
		}
		if r.err != nil {
			return fmt.Errorf("the run ended at %q: %w", q.name, r.err)
		}
	}
	return nil
}

func (r *run) show(i int, row Row) {
	r.rows = append(r.rows, row)
	if r.DryRun {
		return
	}
	if i == 0 {
		fmt.Fprintln(r.Out, "| Question | Assumed | Seen | |\n|---|---|---|---|")
	}
	fmt.Fprintf(r.Out, "| %s | %s | %s | %s |\n", row.Question, row.Assumed, strings.ReplaceAll(row.Seen, "|", "/"), row.Mark())
}

// lister returns a function that lists the calls of a dry run.
func (r *run) lister() func(*http.Request, *update) {
	title := ""
	return func(req *http.Request, sent *update) {
		if title != r.gate.question {
			title = r.gate.question
			fmt.Fprintf(r.Out, "\n%s\n", title)
		}
		text := req.URL.String()
		for _, base := range r.base {
			text = strings.Replace(text, base, "…", 1)
		}
		if req.Method == http.MethodGet && req.Header.Get("X-Auth-Token") != r.token {
			text += "  with a token that was never issued"
		}
		if sent != nil {
			text += "  " + sent.String()
		}
		text = strings.NewReplacer(cmp.Or(r.checked.VPC, noServer), "ITS_VPC", r.Table, "LIVE_ROUTE_TABLE", r.Instance, "LIVE_INSTANCE", noServer, "NO_SUCH_ID").Replace(text)
		fmt.Fprintf(r.Out, "%4d  %-4s %s\n", r.gate.calls, req.Method, text)
	}
}
