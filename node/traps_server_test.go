package node

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// nameless takes the instance's id out of the Node, so that it must be searched for.
func nameless(_ *world, a *agent) { a.facts.ProviderID, a.facts.SystemUUID = "", "" }

// crowd adds servers whose addresses and names hold those of worker 1.
func crowd(n int) func(*world, *agent) {
	return func(w *world, a *agent) {
		w.DeleteServer(a.id)
		for i := range n {
			w.AddServer(otctest.Instance{ID: ecsID(1000 + i), Name: fmt.Sprintf("worker-1%d", i), Fixed: []string{fmt.Sprintf("10.20.%d.11", 10+i)}})
			w.AddServer(otctest.Instance{ID: ecsID(3000 + i), Name: "workerX1", Fixed: []string{fmt.Sprintf("10.20.0.11%d", i%10)}})
		}
		w.AddServer(otctest.Instance{ID: a.id, Name: a.name, Fixed: []string{addrOf(1).String()}})
	}
}

// instanceTraps are about finding the Node's server.
func instanceTraps() []trap {
	found := []string{"log info node worker-1 is ECS instance " + ecsID(1), "log success"}
	const second = "10.20.7.9"
	return []trap{{
		name:  "trap 16: searching by address and name is fuzzy",
		set:   both(crowd(5), nameless),
		table: []string{home}, calls: "login servers get put get", told: found, state: "ready, in sync",
	}, {
		name: "trap 17: the server is on the second page",
		set: both(func(w *world, a *agent) {
			w.DeleteServer(a.id)
			for i := range 210 {
				w.AddServer(otctest.Instance{ID: ecsID(1000 + i), Name: "other", Fixed: []string{fmt.Sprintf("10.20.0.11%d", i)}})
			}
			w.AddServer(otctest.Instance{ID: a.id, Name: a.name, Fixed: []string{addrOf(1).String()}})
		}, nameless),
		table: []string{home}, calls: "login servers servers get put get", told: found, state: "ready, in sync",
	}, {
		name: "trap 18: the server slips from page to page and is on neither",
		set: both(func(w *world, a *agent) {
			w.DeleteServer(a.id)
			for i := range 260 {
				if i == 200 {
					w.AddServer(otctest.Instance{ID: a.id, Name: a.name, Fixed: []string{addrOf(1).String()}})
				}
				w.AddServer(otctest.Instance{ID: ecsID(1000 + i), Name: "other", Fixed: []string{fmt.Sprintf("10.20.0.11%d", i)}})
			}
			w.Fail(otctest.Fault{Op: otctest.OpServerList, After: 1, Before: func() { w.DeleteServer(ecsID(1003)) }, Delay: time.Millisecond})
		}, nameless),
		table: []string{home}, calls: "login servers servers servers servers get put get", told: found, state: "ready, in sync",
	}, {
		name: "trap 19: addresses of several NICs, floating ones, numbers for strings",
		set: both(func(w *world, a *agent) {
			w.Set(func(k *otctest.Knobs) { k.NumericVersion = true })
			a.facts.Addresses = []netip.Addr{netip.MustParseAddr(second)}
			w.AddServer(otctest.Instance{ID: otherID, Name: "bastion", Fixed: []string{"10.20.0.240"}, Floating: []string{second}})
			w.AddServer(otctest.Instance{ID: a.id, Name: a.name, Fixed: []string{"10.20.0.11"}, Floating: []string{"80.158.0.77"},
				NICs: []otctest.NIC{{VPCID: "77777777-61b8-4e3f-8a25-7c0e9b14d6f1", Addresses: []string{second}}}})
		}, nameless),
		table: []string{home}, calls: "login servers get put get", told: found, state: "ready, in sync",
	}}
}

// serverTraps are about servers that are not what the Node needs.
func serverTraps() []trap {
	return []trap{{
		name: "trap 20: the server is in another VPC than the table",
		set: func(w *world, a *agent) {
			w.AddServer(otctest.Instance{ID: a.id, Name: a.name, VPCID: "77777777-61b8-4e3f-8a25-7c0e9b14d6f1", Fixed: []string{addrOf(1).String()}})
		},
		calls: "login server( get){7,13}", state: "not ready",
		told: []string{"log error could not … route table … another VPC … ROUTE_TABLE_ID", "event Warning RouteFailed", "status another VPC"},
	}, {
		name: "trap 20: the check on the server drops pod traffic",
		run: func(w *world, a *agent) {
			w.pass(time.Hour)
			w.wantChecked(a, "❌ source/destination check: it is on")
		},
		table: []string{home}, calls: first + " login server server get port.list", told: []string{"log success"}, state: "ready, in sync",
	}, {
		name: "trap 31: the server is replaced by one of the same name and address",
		run: func(w *world, a *agent) {
			a.replace(ecsID(101))
			w.pass(time.Hour)
			a.see(func(f *Facts) { f.ProviderID, f.SystemUUID = "openstack:///"+a.id, a.id })
			w.pass(time.Hour)
		},
		table: []string{"10.128.2.0/23 → worker-1#2 *"}, calls: first + " server get put get", state: "ready, in sync",
		told: []string{"log info node worker-1 is ECS instance " + ecsID(101), "count modify success = 1"},
	}, {
		name: "trap 31: the server is replaced, and the cloud takes its routes along",
		run: func(w *world, a *agent) {
			w.Set(func(k *otctest.Knobs) { k.RoutesVanish = true })
			a.replace(ecsID(101))
			w.wantRoutes()
			a.see(func(f *Facts) { f.ProviderID, f.SystemUUID = "openstack:///"+a.id, a.id })
			w.pass(time.Hour)
		},
		table: []string{"10.128.2.0/23 → worker-1#2 *"}, calls: first + " server get put get", state: "ready, in sync",
		told: []string{"log info node worker-1 is ECS instance " + ecsID(101), "count add success = 2"},
	}, {
		name: "trap 31: the Node still names the server that is gone",
		set: func(w *world, a *agent) {
			a.facts.ProviderID, a.facts.SystemUUID = "openstack:///"+otherID, ""
		},
		table: []string{home}, calls: "login server:404 servers get put get", state: "ready, in sync",
		told: []string{"log info node worker-1 is ECS instance " + ecsID(1), "log success"},
	}}
}

// wantChecked fails the test unless -check prints such a line about worker a.
func (w *world) wantChecked(a *agent, want string) {
	w.t.Helper()
	f := a.facts
	read := func(context.Context, string) (*corev1.Node, error) {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: a.name, Annotations: map[string]string{SubnetsAnnotation: f.Annotation}},
			Spec: corev1.NodeSpec{ProviderID: f.ProviderID}}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: f.Addresses[0].String()}}
		return n, nil
	}
	var out bytes.Buffer
	address := func([]netip.Prefix) string { return "" }
	check := Checker{Out: &out, Cloud: a.client(nil), Node: read, Address: address, Config: a.cfg}
	check.Run(w.t.Context())
	if !strings.Contains(out.String(), want) {
		w.t.Errorf("-check printed\n%s, want %q", out.String(), want)
	}
}

var _ CheckCloud = (*otc.Client)(nil)
