package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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
	stepTimeout = 15 * time.Second // too short for a wait after throttling, so nothing is sent twice then
	patience    = 2 * time.Second  // before a step that takes longer says so
)

// TableLimit is how many routes a table takes (VPC API, updating a route table).
const TableLimit = 200

// CheckCloud is what Check asks of the cloud; *otc.Client is one.
type CheckCloud interface {
	Cloud
	Login(ctx context.Context) (project string, expires time.Time, base map[string]string, err error)
	Ports(ctx context.Context, serverID string) ([]otc.Port, error)
}

// A checker goes through the steps and remembers what later steps need.
type checker struct {
	mu     sync.Mutex // for out: a slow step may speak up
	out    io.Writer
	cloud  CheckCloud
	cfg    Config
	failed bool

	facts    *Facts
	wanted   []netip.Prefix
	instance otc.Server
	tables   []otc.RouteTable
	loggedIn bool
}

// Check goes once through everything that must work, writes nothing but a line
// per step to out, and reports whether no step failed. read reads the Node. There
// is at most one login.
func Check(ctx context.Context, out io.Writer, cloud CheckCloud, read func(ctx context.Context, name string) (*corev1.Node, error), cfg Config) bool {
	c := &checker{out: out, cloud: cloud, cfg: cfg}
	c.pass("configuration: Node %s, CLUSTER_CIDR %s, %s", cfg.NodeName, join(cfg.Ranges), plural(len(cfg.Tables), "route table"))
	c.step(ctx, "login", c.login)
	for _, id := range cfg.Tables {
		c.step(ctx, "route table "+id, func(ctx context.Context) { c.routeTable(ctx, id) })
	}
	c.step(ctx, "node", func(ctx context.Context) { c.node(ctx, read) })
	c.step(ctx, "instance", c.findInstance)
	c.step(ctx, "network", c.network)
	c.changes()
	return !c.failed
}

// step gives a step its time, and says what is waited for if that is long.
func (c *checker) step(ctx context.Context, name string, do func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	defer time.AfterFunc(patience, func() { c.note("%s: still waiting, %v at most", name, stepTimeout) }).Stop()
	do(ctx)
}

func (c *checker) pass(format string, args ...any) { c.line("✅", format, args...) }
func (c *checker) note(format string, args ...any) { c.line("ℹ️", format, args...) }
func (c *checker) fail(format string, args ...any) {
	c.failed = true
	c.line("❌", format, args...)
}

func (c *checker) line(mark, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(c.out, mark, oneLine(fmt.Sprintf(format, args...)))
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

func (c *checker) login(ctx context.Context) {
	project, expires, base, err := c.cloud.Login(ctx)
	if e, ok := errors.AsType[*otc.Error](err); ok && e.Service != "iam" { // the login itself went well
		c.fail("endpoint: %v", e.Err)
		c.note("route tables and instance: not tried without an endpoint")
		return
	}
	if err != nil {
		c.fail("login: %s", strings.TrimPrefix(withRequest(err), "iam login: "))
		c.note("route tables and instance: not tried without a login")
		return
	}
	c.loggedIn = true
	c.pass("login: project %s, token until %s", project, stamp(expires))
	for _, service := range slices.Sorted(maps.Keys(base)) {
		c.pass("endpoint: %s is %s", service, base[service])
	}
}

func (c *checker) routeTable(ctx context.Context, id string) {
	if !c.loggedIn {
		return
	}
	view, err := c.cloud.RouteTable(ctx, id)
	if err != nil {
		c.fail("route table %s: %s", id, withRequest(err))
		return
	}
	c.tables = append(c.tables, view)
	c.pass("route table %s: %q of VPC %s, %d of %d routes used", id, view.Name, view.VPCID, len(view.Routes), TableLimit)
}

// node reads the Node, its role and its annotation.
func (c *checker) node(ctx context.Context, read func(ctx context.Context, name string) (*corev1.Node, error)) {
	n, err := read(ctx, c.cfg.NodeName)
	switch {
	case apierrors.IsNotFound(err):
		c.fail("node: there is no Node %s: check NODE_NAME against kubectl get nodes", c.cfg.NodeName)
		return
	case apierrors.IsForbidden(err):
		c.fail("node: reading Node %s is forbidden: it takes the ClusterRole of manifests.yaml (make deploy)", c.cfg.NodeName)
		return
	case err != nil:
		c.fail("node: cannot read Node %s: %v: check KUBECONFIG and the API server", c.cfg.NodeName, err)
		return
	}
	facts := FactsOf(n)
	c.facts = &facts
	c.pass("node: %s is there, InternalIP %s", c.cfg.NodeName, cmp.Or(addresses(facts.Addresses), "none"))
	if facts.Worker {
		c.pass("role: a worker")
	} else {
		c.note("role: not a worker, so it gets no routes; the label %s would make it one", labelWorker)
	}
	c.annotation(facts)
}

func (c *checker) annotation(facts Facts) {
	subnets, err := facts.subnets()
	if err != nil {
		cure := "OVN-Kubernetes writes it, so see the log of its cluster manager, and who else edits the Node"
		if isWaiting(err) {
			cure = "is OVN-Kubernetes the cluster's network, and is it up on this Node?"
		}
		c.fail("annotation: %s: %s", strings.TrimPrefix(err.Error(), "annotation "), cure)
		return
	}
	var outside []netip.Prefix
	c.wanted, outside = divide(subnets, c.cfg.Ranges)
	switch {
	case len(c.wanted) == 0:
		c.fail("annotation: %s does not lie strictly inside CLUSTER_CIDR %s: check CLUSTER_CIDR (make create-configmap)", join(outside), join(c.cfg.Ranges))
	case len(outside) > 0:
		c.pass("annotation: pod subnets %s; %s lies outside CLUSTER_CIDR and is skipped", join(c.wanted), join(outside))
	default:
		c.pass("annotation: pod subnets %s", join(c.wanted))
	}
}

func (c *checker) findInstance(ctx context.Context) {
	if !c.loggedIn || c.facts == nil {
		return
	}
	server, err := findInstance(ctx, c.cloud, *c.facts)
	if err != nil {
		c.fail("instance: %s", withRequest(err))
		return
	}
	c.instance = server
	c.pass("instance: %s (%s) with %s", server.ID, server.Name, addresses(server.Fixed))
	for _, view := range c.tables {
		if c.isElsewhere(view) {
			c.fail("instance: it is in VPC %s, route table %s in %s: check ROUTE_TABLE_ID", server.VPCID, view.ID, view.VPCID)
		}
	}
	if _, err := c.cloud.Server(ctx, server.ID); otc.IsForbidden(err) { // the list found it
		c.note("instance: without ecs:cloudServers:showServer nobody can tell that an instance is gone: its routes are never orphans")
	}
}

// isElsewhere reports whether a table belongs to another VPC than the instance.
func (c *checker) isElsewhere(view otc.RouteTable) bool {
	return c.instance.VPCID != "" && view.VPCID != "" && c.instance.VPCID != view.VPCID
}

func addresses(all []netip.Addr) string {
	var s []string
	for _, a := range all {
		s = append(s, a.String())
	}
	return strings.Join(s, ", ")
}

// network looks at the instance's ports: whether a table serves their subnets,
// and whether they may forward.
func (c *checker) network(ctx context.Context) {
	if c.instance.ID == "" {
		return
	}
	ports, err := c.cloud.Ports(ctx, c.instance.ID)
	if err != nil && !otc.IsForbidden(err) {
		c.note("subnet and source/destination check: unknown: %s", withRequest(err))
		return
	}
	if len(ports) == 0 {
		c.note("subnet and source/destination check: unknown: needs vpc:ports:get")
		return
	}
	forwards := false
	var networks []string
	for _, p := range ports {
		forwards = forwards || p.Forwards()
		networks = append(networks, p.NetworkID)
	}
	c.served(networks)
	if forwards {
		c.pass("source/destination check: off")
	} else {
		c.fail("source/destination check: it is on, so the cloud drops pod traffic: switch it off on the NIC of instance %s in the OTC console", c.instance.ID)
	}
}

// served: each VPC subnet uses exactly one route table.
func (c *checker) served(networks []string) {
	for _, view := range c.tables {
		for _, subnet := range view.Subnets {
			if slices.Contains(networks, subnet) {
				c.pass("subnet: route table %s serves the Node's own subnet", view.ID)
				return
			}
		}
	}
	if len(c.tables) == len(c.cfg.Tables) {
		c.note("subnet: no configured route table serves the Node's own subnet %s: only clients in the subnets that they do serve will reach the pods", strings.Join(networks, ", "))
	}
}

// changes says what would be written.
func (c *checker) changes() {
	if c.instance.ID == "" || len(c.wanted) == 0 || !c.facts.Worker {
		return
	}
	for _, view := range c.tables {
		if !c.isElsewhere(view) {
			c.change(view)
		}
	}
}

func (c *checker) change(view otc.RouteTable) {
	plan := MakePlan(Question{Wanted: c.wanted, Self: c.instance.ID, NodeName: c.cfg.NodeName, Ranges: c.cfg.Ranges, Table: view.Routes})
	for _, r := range plan.Conflicts {
		c.fail("change: route table %s has the %s route %s of somebody else: remove it there, nothing is written until it is gone", view.ID, r.Type, r)
	}
	for _, r := range plan.Shadows {
		cure := "find out whose it is, and remove it"
		if r.Type == "local" {
			cure = "a subnet of the VPC must not overlap CLUSTER_CIDR"
		}
		c.fail("change: in route table %s the %s route %s takes traffic of this Node: %s", view.ID, r.Type, r, cure)
	}
	ch := plan.Changes
	switch {
	case len(view.Routes)+len(ch.Routes(otc.Add))-len(ch.Routes(otc.Delete)) > TableLimit:
		c.fail("change: route table %s is full, so this would not fit: %s: remove routes, or give some subnets another table", view.ID, ch)
	case !plan.lacks() && len(plan.Conflicts) == 0:
		c.pass("change: none, route table %s is right", view.ID)
	case len(ch) > 0:
		c.pass("change: route table %s would get: %s", view.ID, ch)
	}
}
