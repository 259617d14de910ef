package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"otc-route-manager/node"
	"otc-route-manager/node/cmd/internal/stage"
	"otc-route-manager/otc/otctest"
)

// Invented names and numbers of the story.
const (
	otherInstanceID = "c81f3b60-7d25-49ea-b6f4-0a9e2d5c7138"
	firstSubnet     = "10.128.4.0/23"
	secondSubnet    = "10.129.6.0/23"
	heartbeats      = 1000
	inSync          = "route_manager_in_sync"
	passes          = `route_manager_nodes_processed_total{status="success"}`
)

// foreign is what others have in the route table.
func foreign() []otctest.Route {
	return []otctest.Route{
		{Type: "nat", Destination: "0.0.0.0/0", NextHop: "e27d5c80-9f1b-4a36-8d4e-61b3f0c9a752", Description: "way out"},
		{Type: "peering", Destination: "192.168.0.0/16", NextHop: "7b3f0c9a-e27d-4c80-9f1b-6d4e61a75236", Description: "office"},
		{Type: "ecs", Destination: "10.131.0.0/23", NextHop: otherInstanceID, Description: "worker-2"},
	}
}

// tell runs the story as far as it goes.
func (d *demo) tell(ctx context.Context) error {
	for _, part := range []func(context.Context) error{d.wait, d.route, d.storm, d.malformed, d.look} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) wait(ctx context.Context) error {
	d.step("A Node appears, without pod subnets", "OVN-Kubernetes has not given it one yet: the program waits.")
	d.Kube.Put(stage.Worker())
	var why string
	err := d.program.Until(ctx, "the program to see the Node", func() (seen bool) {
		_, why = d.Fetch("/health?ready=1")
		return strings.Contains(why, node.SubnetsAnnotation)
	})
	if err != nil {
		return err
	}
	d.check(true, "not ready, and it says why: %s", why)
	for _, r := range d.Kube.Requests() {
		if r.Resource == "nodes" {
			d.check(r.Query.Get("fieldSelector") == "metadata.name="+stage.NodeName, "%s of its own Node only", r.Verb)
		}
	}
	d.checkRoutes()
	return nil
}

func (d *demo) route(ctx context.Context) error {
	d.step("The Node gets the pod subnet "+firstSubnet, "The route table must say: this subnet, to the Node's ECS instance.")
	if err := d.annotate(ctx, firstSubnet); err != nil {
		return err
	}
	d.checkRoutes(firstSubnet)
	d.checkCalls(0, otctest.OpLogin, otctest.OpServerGet, otctest.OpTableGet, otctest.OpTableUpdate, otctest.OpTableGet)
	if d.byIDToken {
		r := d.Cloud.Requests()[0]
		d.check(r.Header.Get("X-Idp-Id") == stage.IdentityProvider && !strings.Contains(string(r.Body), "password"),
			"the login was %s %s with the token of %s, without user and password", r.Method, r.Path, stage.Account)
	}
	return nil
}

// storm counts until the subnet has moved: that change comes after the heartbeats
// in the same watch, so none of them can still be on its way then.
func (d *demo) storm(ctx context.Context) error {
	before := d.Cloud.Count("")
	d.step(fmt.Sprintf("%d heartbeats of the Node, then its subnet moves to %s", heartbeats, secondSubnet),
		"No heartbeat may reach the cloud. The move is one request, so that there is always a route.")
	for range heartbeats {
		d.Kube.Touch(stage.NodeName)
	}
	d.check(d.Cloud.Count("") == before, "no call to the cloud after the heartbeats")
	if err := d.annotate(ctx, secondSubnet); err != nil {
		return err
	}
	d.checkCalls(before, otctest.OpTableGet, otctest.OpTableUpdate, otctest.OpTableGet)
	changes := d.lastPut()
	d.check(slices.Equal(changes, []string{"add " + secondSubnet, "del " + firstSubnet}), "the one PUT: %q", changes)
	d.checkRoutes(secondSubnet)
	return nil
}

func (d *demo) malformed(ctx context.Context) error {
	d.step("The annotation turns to nonsense", "An error is never a change: what works is left as it is.")
	before := d.Cloud.Count("")
	d.Kube.Annotate(stage.NodeName, node.SubnetsAnnotation, `{"default":["10.129.6.0`)
	if err := d.program.Until(ctx, "the program to notice", func() bool { return d.Metric(inSync) == "0" }); err != nil {
		return err
	}
	d.checkCalls(before)
	d.checkRoutes(secondSubnet)
	d.World.Annotate(secondSubnet)
	return d.program.Until(ctx, "the program to be content again", func() bool { return d.Metric(inSync) == "1" })
}

func (d *demo) look(context.Context) error {
	d.step("What an operator sees", "The program's own pages.")
	for _, path := range []string{"/health", "/health?ready=1", "/metrics", "/"} {
		status, body := d.Fetch(path)
		if strings.Contains(body, "\n") {
			body = fmt.Sprintf("%d bytes", len(body))
		}
		d.check(status == http.StatusOK, "%s%s: %d, %s", d.Pages, path, status, body)
	}
	d.check(d.Metric(inSync) == "1", "route_manager_in_sync %s", d.Metric(inSync))
	return nil
}

// end stops the program as Kubernetes would.
func (d *demo) end() error {
	d.step("The program is asked to stop (SIGTERM)", "Routes stay: an update must not cut the pods off.")
	own, _ := d.routes()
	took, err := d.program.Stop()
	if err != nil {
		return err
	}
	d.check(took < stage.StopLimit, "it ended after %v with exit status 0", took)
	d.checkRoutes(own...)
	if d.failed > 0 {
		return d.program.Trouble("%d checks failed", d.failed)
	}
	return nil
}

// annotate gives the Node a pod subnet, as OVN-Kubernetes does, and waits until
// the program has dealt with it and calls its route confirmed.
func (d *demo) annotate(ctx context.Context, subnet string) error {
	before := d.Metric(passes)
	d.World.Annotate(subnet)
	return d.program.Until(ctx, "the route of "+subnet+" to be confirmed", func() bool {
		status, _ := d.Fetch("/health?ready=1")
		return status == http.StatusOK && d.Metric(inSync) == "1" && d.Metric(passes) != before
	})
}

func (d *demo) checkRoutes(want ...string) {
	own, others := d.routes()
	d.check(slices.Equal(own, want), "routed to this Node's instance: %v", own)
	d.check(slices.Equal(others, foreign()), "the %d foreign routes are unchanged, byte for byte", len(others))
}

func (d *demo) checkCalls(before int, want ...string) {
	var got []string
	for _, r := range d.Cloud.Requests()[before:] {
		got = append(got, r.Op)
	}
	d.check(slices.Equal(got, want), "calls to the cloud: %d %v", len(got), got)
}

// lastPut returns what the latest PUT changes, as "add 10.128.4.0/23".
func (d *demo) lastPut() (changes []string) {
	var body struct {
		RouteTable struct{ Routes map[string][]otctest.Route }
	}
	for _, r := range d.Cloud.Requests() {
		if r.Op == otctest.OpTableUpdate {
			body.RouteTable.Routes = nil
			_ = json.Unmarshal(r.Body, &body) // nonsense changes nothing, and fails the check
		}
	}
	for _, op := range []string{"add", "mod", "del"} {
		for _, route := range body.RouteTable.Routes[op] {
			changes = append(changes, op+" "+route.Destination)
		}
	}
	return changes
}

// routes parts the route table: where the program's own go, and all others.
func (d *demo) routes() (own []string, others []otctest.Route) {
	for _, r := range d.Cloud.Routes(otctest.TableID) {
		if r.NextHop == stage.InstanceID {
			own = append(own, r.Destination)
		} else {
			others = append(others, r)
		}
	}
	return own, others
}
