package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"otc-route-manager/otc"
)

const (
	stepTimeout    = 15 * time.Second // too short for a wait after throttling, so nothing is sent twice then
	slowStepNotice = 2 * time.Second  // before a step that takes longer says so
)

// TableLimit is how many routes a table takes unless the project's quota says
// otherwise (VPC API, updating a route table).
const TableLimit = 200

// CheckCloud is what a Checker asks of the cloud; *otc.Client is one.
type CheckCloud interface {
	Cloud
	Login(ctx context.Context) (project string, expires time.Time, base map[string]string, err error)
	Ports(ctx context.Context, serverID string) ([]otc.Port, error)
}

// A Checker is one pass over the Node in dry run that prints what comes of it, a
// line per step. All exported fields but LoginRefused are needed.
type Checker struct {
	Out     io.Writer
	Cloud   CheckCloud
	Node    func(ctx context.Context, name string) (*corev1.Node, error) // reads it
	Address func(subnets []netip.Prefix) string                          // host and port of a pod of ours in one of these
	Config  Config
	LoginBy string // what is said of the login; "" or "by ID token, "

	LoginRefused string // why the program that runs in this pod does not send its password again; "": it may

	mu     sync.Mutex // for Out: a slow step may speak up
	failed bool
	facts  *Facts
	to     target      // what the pass brings the tables to; no server: it was not found
	limit  int         // routes that a table takes
	used   string      // behind the number of those in a table
	tables []readTable // those that could be read
}

// A readTable is a route table as it was read, and what it lacks.
type readTable struct {
	shown otc.RouteTable
	plan  Plan
}

// Run goes once through everything that must work and reports whether no step
// failed. It writes nothing but its lines, and logs in once at most.
func (c *Checker) Run(ctx context.Context) bool {
	c.Config.DryRun = true
	c.ok("configuration: Node %s, CLUSTER_CIDR %s, %s", c.Config.NodeName, join(c.Config.Ranges), plural(len(c.Config.Tables), "route table"))
	loggedIn := false
	c.step(ctx, "login", func(ctx context.Context) { loggedIn = c.login(ctx) })
	c.step(ctx, "node", c.node)
	if loggedIn {
		c.reconcile(ctx)
	}
	if !c.failed && len(c.to.wanted) > 0 {
		c.info("proof: from a client in the VPC, curl http://%s/health answers ok once the routes are there and security groups let it in", c.Address(c.to.wanted))
	}
	return !c.failed
}

// reconcile finds the instance and reads the tables, as a pass does.
func (c *Checker) reconcile(ctx context.Context) {
	if c.facts != nil {
		c.step(ctx, "instance", c.locate)
	}
	c.step(ctx, "quota", c.quota)
	for _, id := range c.Config.Tables {
		c.step(ctx, "route table "+id, func(ctx context.Context) { c.sync(ctx, id) })
	}
	c.checkDefaultTable()
	if c.to.server.ID == "" {
		return
	}
	c.step(ctx, "network", c.network)
	for _, o := range c.tables {
		if len(c.to.wanted) > 0 && !isOtherVPC(o.shown, c.to.server) {
			c.change(o)
		}
	}
}

// step gives a step its time, and says what is waited for if that is long.
func (c *Checker) step(ctx context.Context, name string, do func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	defer time.AfterFunc(slowStepNotice, func() { c.info("%s: still waiting, %v at most", name, stepTimeout) }).Stop()
	do(ctx)
}

func (c *Checker) ok(format string, args ...any)   { c.line("✅", format, args...) }
func (c *Checker) info(format string, args ...any) { c.line("ℹ️", format, args...) }
func (c *Checker) fail(format string, args ...any) {
	c.failed = true
	c.line("❌", format, args...)
}

func (c *Checker) line(mark, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(c.Out, mark, oneLine(fmt.Sprintf(format, args...)))
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// withRequest is an error's text with the id that the provider's support asks for.
func withRequest(err error) string {
	if id := otc.RequestIDOf(err); id != "" {
		return fmt.Sprintf("%v (request id %s)", err, id)
	}
	return err.Error()
}

// login reports whether there is a token, and a place to use it. A password that the
// running program has been refused is not sent again.
func (c *Checker) login(ctx context.Context) bool {
	if c.LoginRefused != "" {
		c.fail("login: %s; not tried again: the running pod was refused just now; five failures lock the user", strings.TrimPrefix(c.LoginRefused, "iam login: "))
		c.info("route tables and instance: not tried without a login")
		return false
	}
	project, expires, base, err := c.Cloud.Login(ctx)
	switch e, ok := errors.AsType[*otc.Error](err); {
	case ok && e.Service != "iam": // the login itself went well
		c.fail("endpoint: %v", e.Err)
		c.info("route tables and instance: not tried without an endpoint")
	case err != nil:
		c.fail("login: %s", strings.TrimPrefix(withRequest(err), "iam login: "))
		c.info("route tables and instance: not tried without a login")
	default:
		c.ok("login: %sproject %s, token until %s", c.LoginBy, project, stamp(expires))
		for _, service := range slices.Sorted(maps.Keys(base)) {
			c.ok("endpoint: %s is %s", service, base[service])
		}
	}
	return err == nil
}

// node reads the Node, and says what it asks for.
func (c *Checker) node(ctx context.Context) {
	n, err := c.Node(ctx, c.Config.NodeName)
	switch {
	case apierrors.IsNotFound(err):
		c.fail("node: there is no Node %s: check NODE_NAME against kubectl get nodes", c.Config.NodeName)
	case err != nil:
		c.fail("node: cannot read Node %s: %v", c.Config.NodeName, err)
	default:
		facts := factsOf(n)
		c.facts = &facts
		c.ok("node: %s is there, InternalIP %s", c.Config.NodeName, cmp.Or(join(facts.Addresses), "none"))
		c.intent(facts)
	}
}

// intent says what the Node asks for; of a Node that is no worker, what it would.
func (c *Checker) intent(f Facts) {
	worker := f.Worker
	f.Worker = true
	in, n := intent{}.next(&f, &c.Config)
	if worker {
		c.to.wanted = in.wanted
		c.ok("role: a worker")
	} else {
		c.info("role: not a worker, so it gets no routes; the label %s would make it one", labelWorker)
	}
	reason := strings.TrimPrefix(in.reason, "annotation ")
	switch {
	case in.phase == waiting:
		c.fail("annotation: %s: is OVN-Kubernetes the cluster's network, and is it up on this Node?", reason)
	case in.phase == invalid:
		c.fail("annotation: %s: OVN-Kubernetes writes it, so see the log of its cluster manager, and who else edits the Node", reason)
	case in.phase == skipped:
		subnets, _ := f.subnets()
		c.fail("annotation: %s does not lie strictly inside CLUSTER_CIDR %s: check CLUSTER_CIDR (make create-configmap)", join(subnets), join(c.Config.Ranges))
	case n.outside != "":
		c.ok("annotation: pod subnets %s; %s lies outside CLUSTER_CIDR and is skipped", join(in.wanted), n.outside)
	default:
		c.ok("annotation: pod subnets %s", join(in.wanted))
	}
}

func (c *Checker) locate(ctx context.Context) {
	server, err := findInstance(ctx, c.Cloud, *c.facts)
	if err != nil {
		c.fail("instance: %s", withRequest(err))
		return
	}
	c.to.server = server
	c.ok("instance: %s (%s) with %s", server.ID, server.Name, join(server.Fixed))
	if _, err := c.Cloud.Server(ctx, server.ID); otc.IsForbidden(err) { // the list found it
		c.info("instance: without ecs:cloudServers:showServer an instance that is gone cannot be recognized: its routes are never orphans")
	}
}

func (c *Checker) quota(ctx context.Context) {
	limit, err := c.Cloud.RouteQuota(ctx)
	c.limit, c.used = limit, fmt.Sprintf(" of %d routes used", limit)
	switch {
	case err != nil:
		c.limit, c.used = TableLimit, fmt.Sprintf(" of %d routes used (limit assumed)", TableLimit)
	case limit < 0:
		c.limit, c.used = math.MaxInt, " routes used, no limit"
	}
}

// sync reads a table and plans. One of another VPC is shown all the same.
func (c *Checker) sync(ctx context.Context, id string) {
	to := c.to
	to.server.VPCID = ""
	shown, plan, err := env{cloud: c.Cloud, cfg: &c.Config}.inspect(ctx, &tableState{id: id, target: to}, new(map[string]bool))
	if err != nil {
		c.fail("route table %s: %s", id, withRequest(err))
		return
	}
	o := readTable{shown, plan}
	c.tables = append(c.tables, o)
	c.ok("route table %s: %q of VPC %s, %d%s", id, o.shown.Name, o.shown.VPCID, o.shown.Used(), c.used)
	if isOtherVPC(o.shown, c.to.server) {
		c.fail("instance: it is in VPC %s, route table %s in %s: check ROUTE_TABLE_ID", c.to.server.VPCID, id, o.shown.VPCID)
	}
}

// checkDefaultTable: what comes into a VPC from elsewhere follows its default table (VPC
// user guide, associating a route table with a subnet).
func (c *Checker) checkDefaultTable() {
	const clients = "clients in other VPCs (peering), behind VPN or Direct Connect"
	i := slices.IndexFunc(c.tables, func(o readTable) bool { return o.shown.Default && !isOtherVPC(o.shown, c.to.server) })
	switch {
	case i >= 0:
		c.ok("default table: route table %s is the VPC's: it serves %s", c.tables[i].shown.ID, clients)
	case len(c.tables) == len(c.Config.Tables):
		c.info("default table: no configured route table is the VPC's default one: %s will not reach the pods", clients)
	}
}

// network checks the port that holds the Node's InternalIP: whether a table serves its subnet, and whether it
// may forward. Further ports are named where they differ, since the pods' traffic may leave by them.
func (c *Checker) network(ctx context.Context) {
	ports, err := c.Cloud.Ports(ctx, c.to.server.ID)
	if err != nil && !otc.IsForbidden(err) {
		c.info("subnet and source/destination check: unknown: %s", withRequest(err))
		return
	}
	if len(ports) == 0 {
		c.info("subnet and source/destination check: unknown: needs vpc:ports:get")
		return
	}
	i := slices.IndexFunc(ports, func(p otc.Port) bool {
		return slices.ContainsFunc(p.Addresses, func(a netip.Addr) bool { return slices.Contains(c.facts.Addresses, a) })
	})
	if i < 0 {
		c.info("subnet and source/destination check: unknown: no NIC of instance %s holds the InternalIP %s", c.to.server.ID, join(c.facts.Addresses))
		return
	}
	c.checkSubnet(ports[i].NetworkID)
	check := ports[i].SourceCheck(c.to.wanted)
	switch check {
	case otc.CheckOff:
		c.ok("source/destination check: off")
	case otc.CheckOn:
		c.fail("source/destination check: it is on, so the cloud drops pod traffic: switch it off on the NIC %s of instance %s in the OTC console", join(c.facts.Addresses), c.to.server.ID)
	default:
		c.info("source/destination check: unknown: %s", check)
	}
	for j, p := range ports {
		if other := p.SourceCheck(c.to.wanted); j != i && other != check {
			c.info("source/destination check: other NIC %s: %s", join(p.Addresses), other)
		}
	}
}

// checkSubnet: each VPC subnet uses exactly one route table.
func (c *Checker) checkSubnet(network string) {
	i := slices.IndexFunc(c.tables, func(o readTable) bool { return slices.Contains(o.shown.Subnets, network) })
	switch {
	case i >= 0:
		c.ok("subnet: route table %s serves the Node's own subnet", c.tables[i].shown.ID)
	case len(c.tables) == len(c.Config.Tables):
		c.info("subnet: no configured route table serves the Node's own subnet %s: only clients in the subnets that they do serve will reach the pods", network)
	}
}

// change says what a pass over the table would write, and what is in its way.
func (c *Checker) change(o readTable) {
	id, ch := o.shown.ID, o.plan.Changes
	for _, r := range o.plan.Conflicts {
		c.fail("change: route table %s has the foreign %s route %s: remove it there, nothing is written until it is gone", id, r.Type, r)
	}
	for _, r := range o.plan.Shadows {
		hint := "find out whose it is, and remove it"
		if r.Type == otc.TypeLocal {
			hint = "a subnet of the VPC must not overlap CLUSTER_CIDR"
		}
		c.fail("change: in route table %s the %s route %s takes traffic of this Node: %s", id, r.Type, r, hint)
	}
	more := len(ch.Routes(otc.Add)) - len(ch.Routes(otc.Delete))
	switch {
	case more > 0 && o.shown.Used()+more > c.limit:
		c.fail("change: route table %s is full, so this would not fit: %s: remove routes, or give some subnets another table", id, ch)
	case len(ch) > 0:
		c.ok("change: route table %s would get: %s", id, ch)
	case len(o.plan.Conflicts) == 0:
		c.ok("change: none, route table %s is right", id)
	}
}
