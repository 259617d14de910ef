package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// What a world holds: worker n is server ecsID(n), has the address addrOf(n) and
// the pod subnet subnetOf(n).
const (
	mainTable = otctest.TableID
	otherID   = "0123abcd-7c3e-4e1f-9d2a-8b6c5f4e3d21" // a server that is no Node
)

func clusterRange() netip.Prefix { return netip.MustParsePrefix("10.128.0.0/14") }

func ecsID(n int) string { return fmt.Sprintf("a4c7%04x-2b6d-4f80-93ae-5d1c%08x", n, n) }

func tableID(n int) string { return fmt.Sprintf("8e1b%04x-4f72-4d90-9c6e-b2a7d0f3e518", n) }

func addrOf(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 20, byte((n + 10) >> 8), byte(n + 10)})
}

// subnetOf is 10.128.2.0/23 for 1, 10.128.4.0/23 for 2 and so on.
func subnetOf(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128 + byte(n>>7), byte(n << 1), 0}), 23)
}

// annotation is what OVN-Kubernetes would write for these subnets.
func annotation(subnets ...string) string {
	return `{"default":["` + strings.Join(subnets, `","`) + `"]}`
}

// A world is one pretend cloud in a bubble of fake time, and the workers on it.
// All that goes over its wire is watched by a guard, in every test.
type world struct {
	*otctest.Server
	t      *testing.T
	guard  *guard
	agents []*agent
}

// bubble runs f in fake time, in a world of its own.
func bubble(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{Server: otctest.New(), t: t}
		w.guard = newGuard(w, t.Errorf)
		t.Cleanup(w.close)
		f(w)
	})
}

// close ends what still runs and looks for secrets in all that was told.
func (w *world) close() {
	for _, a := range w.agents {
		if a.stop != nil {
			a.crash()
		}
		a.noSecrets(w.guard.secrets())
	}
}

// pass lets d pass, and what happens in it happen.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// An agent is one worker Node with the process on it.
type agent struct {
	*Reconciler // of the process that runs, or ran last
	t           *testing.T
	w           *world
	name, id    string
	cfg         Config
	facts       Facts             // the Node
	wire        http.RoundTripper // nil: the world's; set before start
	cloud       Cloud             // nil: a real client; set before start
	tune        func(*otc.Config) // edits what the client is made from; nil: nothing
	kube        *kubeAPI
	told        *journal
	counts      *counts
	password    atomic.Value
	given       map[netip.Prefix]bool // what the process was told to route
	ids         []string              // the Node's instances
	stop        context.CancelFunc
	done        chan struct{}
}

// agent adds worker n: its server, its Node and the process, which is not started.
func (w *world) agent(n int, options ...func(*Config)) *agent {
	a := &agent{t: w.t, w: w, name: fmt.Sprintf("worker-%d", n), id: ecsID(n), kube: &kubeAPI{name: fmt.Sprintf("worker-%d", n), exists: true, others: w.nodeExists}, told: &journal{}, counts: newCounts()}
	a.cfg = Config{NodeName: a.name, Ranges: []netip.Prefix{clusterRange()}, Tables: []string{mainTable}, DriftInterval: 15 * time.Minute}
	for _, option := range options {
		option(&a.cfg)
	}
	a.password.Store(otctest.Password)
	a.ids = []string{a.id}
	a.facts = Facts{UID: fmt.Sprintf("uid-%d", n), Worker: true, Annotated: true, Annotation: annotation(subnetOf(n).String()),
		ProviderID: "openstack:///" + a.id, SystemUUID: a.id, Addresses: []netip.Addr{addrOf(n)}}
	w.AddServer(otctest.Instance{ID: a.id, Name: a.name, Fixed: []string{addrOf(n).String()}})
	w.agents = append(w.agents, a)
	return a
}

// up adds worker n, starts it, shows it its Node and waits for what comes of it.
func (w *world) up(n int, options ...func(*Config)) *agent {
	a := w.agent(n, options...)
	a.boot()
	return a
}

// settled is up, and waits until what was confirmed has been read again.
func (w *world) settled(n int, options ...func(*Config)) *agent {
	a := w.up(n, options...)
	w.pass(80 * time.Second)
	w.Reset()
	return a
}

// start starts a process: a new client, a new Reconciler, nothing remembered.
func (a *agent) start() {
	ctx, stop := context.WithCancel(a.t.Context())
	a.stop, a.done, a.given = stop, make(chan struct{}), map[netip.Prefix]bool{}
	log := slog.New(a.told)
	cloud := a.cloud
	if cloud == nil {
		cloud = a.client(log)
	}
	a.Reconciler = New(cloud, a.kube, a.counts, NewRecorder(log.With("node", a.name), a.kube.Event), a.cfg)
	go func(r *Reconciler, done chan struct{}) {
		defer close(done)
		r.Run(ctx)
	}(a.Reconciler, a.done)
}

// client returns a real client on the world's wire.
func (a *agent) client(log *slog.Logger) *otc.Client {
	wire := a.wire
	if wire == nil {
		wire = a.w.guard
	}
	cfg := cloudConfig(otctest.User, a.password.Load, wire)
	cfg.Allowed, cfg.UserAgent, cfg.Observer = a.cfg.Ranges, a.name, a.counts
	if a.tune != nil {
		a.tune(&cfg)
	}
	return otc.New(cfg, log)
}

// cloudConfig is how a client gets at the simulator.
func cloudConfig(user string, password func() any, wire http.RoundTripper) otc.Config {
	return otc.Config{
		AuthURL: "https://iam.eu-de.otc.test/v3", Region: "eu-de",
		Credentials: func() (otc.Credentials, error) {
			return otc.Credentials{User: user, Account: otctest.Account, Secret: otc.NewSecret(password().(string)), ProjectName: otctest.Project}, nil
		},
		Allowed: []netip.Prefix{clusterRange()}, Transport: wire,
	}
}

// boot starts a process, which sees the Node, and waits for what comes of it.
func (a *agent) boot() {
	a.start()
	a.see()
}

// crash ends the process, as SIGKILL would: nothing is written any more.
func (a *agent) crash() {
	a.stop()
	<-a.done
}

// restart crashes the process and starts another one, which sees the Node.
func (a *agent) restart() {
	a.crash()
	a.boot()
}

// see edits the Node, shows it to the process and waits for what comes of it.
func (a *agent) see(edits ...func(*Facts)) {
	a.show(edits...)
	synctest.Wait()
}

// show is see without waiting.
func (a *agent) show(edits ...func(*Facts)) {
	for _, edit := range edits {
		edit(&a.facts)
	}
	a.kube.set(true, nil)
	f := a.facts
	f.Addresses = slices.Clone(f.Addresses)
	subnets, _ := f.subnets()
	a.w.guard.give(a, subnets)
	a.Observe(&f)
}

// annotate is see with another value of the annotation.
func (a *agent) annotate(value string) {
	a.see(func(f *Facts) { f.Annotated, f.Annotation = true, value })
}

// move is see with other subnets.
func (a *agent) move(subnets ...string) { a.annotate(annotation(subnets...)) }

// vanish deletes the Node.
func (a *agent) vanish() {
	a.kube.set(false, nil)
	a.Observe(nil)
	synctest.Wait()
}

// replace gives the Node another server, as if it had been built anew under the
// same name and address. The Node itself has not heard of it yet.
func (a *agent) replace(id string) {
	a.w.DeleteServer(a.id)
	a.w.AddServer(otctest.Instance{ID: id, Name: a.name, Fixed: []string{a.facts.Addresses[0].String()}})
	a.w.guard.mu.Lock()
	defer a.w.guard.mu.Unlock()
	a.id, a.ids = id, append(a.ids, id)
}

// nodeExists reports whether a worker's Node is there.
func (w *world) nodeExists(name string) bool {
	return slices.ContainsFunc(w.agents, func(a *agent) bool { return a.name == name && a.kube.isThere() })
}

// tables is an option: that many route tables, the first of them mainTable.
func (w *world) tables(n int) func(*Config) {
	return func(c *Config) {
		c.Tables = []string{mainTable}
		for i := 2; i <= n; i++ {
			if w.Routes(tableID(i)) == nil {
				w.AddTable(tableID(i), fmt.Sprintf("rtb-%d", i), otctest.VPCID)
			}
			c.Tables = append(c.Tables, tableID(i))
		}
	}
}
