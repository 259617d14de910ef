package node

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"otc-route-manager/otc"
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
func Check(ctx context.Context, out io.Writer, cloud CheckCloud, read func(context.Context) (*Node, error), cfg Config) bool {
	c := &checker{out: out, cloud: cloud, cfg: cfg}
	c.pass("configuration: %s in %s, Node %s", plural(len(cfg.Tables), "route table"), join(cfg.Ranges), cfg.NodeName)
	c.login(ctx)
	c.routeTables(ctx)
	c.node(ctx, read)
	c.findInstance(ctx)
	c.network(ctx)
	c.changes()
	return !c.failed
}

func (c *checker) pass(format string, args ...any) { c.line("✅", format, args...) }
func (c *checker) note(format string, args ...any) { c.line("ℹ️", format, args...) }
func (c *checker) fail(format string, args ...any) {
	c.failed = true
	c.line("❌", format, args...)
}

func (c *checker) line(mark, format string, args ...any) {
	fmt.Fprintln(c.out, mark, oneLine(fmt.Sprintf(format, args...)))
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func (c *checker) login(ctx context.Context) {
	project, expires, base, err := c.cloud.Login(ctx)
	if err != nil {
		c.fail("login: %v", err)
		c.note("route tables and instance: not tried without a login")
		return
	}
	c.loggedIn = true
	c.pass("login: project %s, token until %s", project, clock(expires))
	for _, service := range slices.Sorted(maps.Keys(base)) {
		c.pass("endpoint: %s is %s", service, base[service])
	}
}

func (c *checker) routeTables(ctx context.Context) {
	if !c.loggedIn {
		return
	}
	for _, id := range c.cfg.Tables {
		view, err := c.cloud.RouteTable(ctx, id)
		if err != nil {
			c.fail("route table %s: %v", id, err)
			continue
		}
		c.tables = append(c.tables, view)
		c.pass("route table %s: %q of VPC %s, %d of %d routes used", id, view.Name, view.VPCID, len(view.Routes), TableLimit)
		if n := len(view.Routes); n >= TableLimit {
			c.fail("route table %s: it is full: remove routes, or give some subnets another table", id)
		}
	}
}

// node reads the Node, its role and its annotation.
func (c *checker) node(ctx context.Context, read func(context.Context) (*Node, error)) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	n, err := read(ctx)
	switch {
	case apierrors.IsNotFound(err):
		c.fail("node: there is no Node %s: check NODE_NAME", c.cfg.NodeName)
		return
	case apierrors.IsForbidden(err):
		c.fail("node: reading Node %s is forbidden: the ServiceAccount needs the ClusterRole of manifests.yaml (make deploy)", c.cfg.NodeName)
		return
	case err != nil:
		c.fail("node: cannot read Node %s: %v: check KUBECONFIG and the API server", c.cfg.NodeName, err)
		return
	}
	facts := FactsOf(n)
	c.facts = &facts
	c.pass("node: Node %s is there, InternalIP %v", c.cfg.NodeName, facts.Addresses)
	if facts.Worker {
		c.pass("role: a worker")
	} else {
		c.note("role: no worker, so it gets no routes; the label %s would make it one", labelWorker)
	}
	c.annotation(facts)
}

func (c *checker) annotation(facts Facts) {
	subnets, err := facts.subnets()
	if err != nil && isWaiting(err) {
		c.fail("annotation: %v: is OVN-Kubernetes the cluster's network, and is it up on this Node?", err)
		return
	}
	if err != nil {
		c.fail("annotation: %v: OVN-Kubernetes writes it; nothing is routed until it is right", err)
		return
	}
	var outside []netip.Prefix
	c.wanted, outside = divide(subnets, c.cfg.Ranges)
	if len(c.wanted) > 0 {
		c.pass("annotation: pod subnets %s", join(c.wanted))
	} else {
		c.fail("annotation: %s is not inside CLUSTER_CIDR %s: check CLUSTER_CIDR", join(outside), join(c.cfg.Ranges))
		return
	}
	if len(outside) > 0 {
		c.note("annotation: %s is not inside CLUSTER_CIDR %s and is skipped", join(outside), join(c.cfg.Ranges))
	}
}

func (c *checker) findInstance(ctx context.Context) {
	if !c.loggedIn || c.facts == nil {
		return
	}
	server, err := findInstance(ctx, c.cloud, *c.facts)
	if err != nil {
		c.fail("instance: %v", err)
		return
	}
	c.instance = server
	c.pass("instance: %s (%s) with %v", server.ID, server.Name, server.Fixed)
	for _, view := range c.tables {
		if server.VPCID != "" && view.VPCID != "" && server.VPCID != view.VPCID {
			c.fail("instance: it is in VPC %s, route table %s in %s: check ROUTE_TABLE_ID", server.VPCID, view.ID, view.VPCID)
		}
	}
}

// network looks at the instance's ports: whether a table serves their subnets,
// and whether they may forward.
func (c *checker) network(ctx context.Context) {
	if c.instance.ID == "" {
		return
	}
	ports, err := c.cloud.Ports(ctx, c.instance.ID)
	if err != nil || len(ports) == 0 {
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
			if slices.Contains(networks, subnet.ID) {
				c.pass("subnet: route table %s serves the Node's own subnet", view.ID)
				return
			}
		}
	}
	c.note("subnet: no configured route table serves the Node's own subnet %s; right only if the clients are in others", strings.Join(networks, ", "))
}

// changes says what would be written.
func (c *checker) changes() {
	if c.instance.ID == "" || len(c.wanted) == 0 || !c.facts.Worker {
		return
	}
	for _, view := range c.tables {
		plan := MakePlan(Question{Wanted: c.wanted, Self: c.instance.ID, NodeName: c.cfg.NodeName, Ranges: c.cfg.Ranges, Table: view.Routes})
		for _, r := range plan.Conflicts {
			c.fail("change: route table %s has a %s route %s of somebody else: remove it or choose another subnet", view.ID, r.Type, r)
		}
		for _, r := range plan.Shadows {
			c.note("change: in route table %s the %s route %s takes traffic of this Node", view.ID, r.Type, r)
		}
		if plan.Settled() {
			c.pass("change: none, route table %s has the route", view.ID)
		} else if !plan.Changes.Empty() {
			c.pass("change: route table %s would get: %s", view.ID, plan.Changes)
		}
	}
}
