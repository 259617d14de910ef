package node

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"otc-route-manager/node/nodetest"
	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if got, err := ParseSubnets(`{"default":["10.132.4.0/23","fd01:0:0:7::/64"],"team-a_net1":["10.61.0.0/20"]}`); err != nil || len(got) != 2 {
			b.Fatalf("got %v, %v, want two subnets", got, err)
		}
	}
}

// BenchmarkPlan plans a moved subnet against a table that is full.
func BenchmarkPlan(b *testing.B) {
	q := Question{Wanted: []netip.Prefix{subnetOf(300)}, Self: ecsID(7), NodeName: "worker-7", Ranges: []netip.Prefix{clusterRange()}}
	for i := range TableLimit {
		q.Table = append(q.Table, otc.Route{Type: otc.TypeECS, Destination: subnetOf(i), NextHop: ecsID(i), Description: description(fmt.Sprintf("worker-%d", i))})
	}
	b.ReportAllocs()
	for b.Loop() {
		if p := MakePlan(q); len(p.Changes) != 2 {
			b.Fatalf("got %v, want one route added and one deleted", p.Changes)
		}
	}
}

// BenchmarkDecodeNode decodes a Node of 25 kB as a watch does: the part of an
// event that is the Kubernetes client's.
func BenchmarkDecodeNode(b *testing.B) {
	for name, media := range map[string]string{"protobuf": runtime.ContentTypeProtobuf, "JSON": runtime.ContentTypeJSON} {
		b.Run(name, func(b *testing.B) {
			codecs, err := coreV1()
			if err != nil {
				b.Fatal(err)
			}
			info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), media)
			data, err := runtime.Encode(info.Serializer, largeNode())
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := info.Serializer.Decode(data, nil, &corev1.Node{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkNodeEvent takes a heartbeat from where it is decoded to where it is
// found to be no news.
func BenchmarkNodeEvent(b *testing.B) {
	data, err := largeNode().Marshal()
	if err != nil {
		b.Fatal(err)
	}
	var decoded corev1.Node
	if err := decoded.Unmarshal(data); err != nil {
		b.Fatal(err)
	}
	r := New(nil, nil, newCounts(), nil, Config{NodeName: decoded.Name})
	observe := func() {
		n := decoded // trimming changes it in place
		object, _ := trim(&n)
		facts := factsOf(object.(*corev1.Node))
		r.Observe(&facts)
	}
	observe()
	<-r.woken
	b.ReportAllocs()
	for b.Loop() {
		observe()
	}
	if len(r.woken) != 0 {
		b.Error("a heartbeat woke the worker")
	}
}

// BenchmarkReconcile moves the Node's subnet: GET, plan, PUT, and the GET that
// confirms it, with the simulator as transport and 200 routes in the table.
func BenchmarkReconcile(b *testing.B) {
	cloud := otctest.New()
	cloud.Set(func(k *otctest.Knobs) { k.TableLimit = TableLimit + 1 })
	cloud.AddServer(otctest.Instance{ID: ecsID(1), Name: "worker-1", Fixed: []string{addrOf(1).String()}})
	var routes []otctest.Route
	for i := range TableLimit - 1 {
		routes = append(routes, otctest.Route{Type: otc.TypeECS, Destination: subnetOf(10 + i).String(), NextHop: ecsID(10 + i), Description: Mark})
	}
	cloud.SetRoutes(otctest.TableID, routes...)
	obs := &finished{Observer: newCounts(), done: make(chan struct{}, 1)}
	client := otc.New(cloudConfig(otctest.User, func() any { return otctest.Password }, cloud), nil)
	r := New(client, &kubeAPI{exists: true}, obs, nil, Config{NodeName: "worker-1", Ranges: []netip.Prefix{clusterRange()}, Tables: []string{mainTable}})
	go r.Run(b.Context())
	facts := make([]Facts, 4096) // a value that comes back within a minute would have to wait
	for i := range facts {
		facts[i] = Facts{UID: "u", Worker: true, Annotated: true, Annotation: annotation(fmt.Sprintf("10.%d.%d.%d/26", 128+i>>10, i>>2&255, i&3<<6)),
			ProviderID: "openstack:///" + ecsID(1), Addresses: []netip.Addr{addrOf(1)}}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.Observe(&facts[i%len(facts)])
		<-obs.done
	}
}

// finished tells when routes are confirmed.
type finished struct {
	Observer
	done chan struct{}
}

func (f *finished) AnnotationToRoute(time.Duration) { f.done <- struct{}{} }

// largeNode is a Node as a cluster has it.
func largeNode() *corev1.Node {
	n := &corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: "worker-1", UID: "u", ResourceVersion: "1", Labels: map[string]string{labelWorker: ""},
			Annotations: map[string]string{SubnetsAnnotation: annotation(subnetOf(1).String())}},
		Spec:   corev1.NodeSpec{ProviderID: "openstack:///" + ecsID(1)},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addrOf(1).String()}, {Type: corev1.NodeHostName, Address: "worker-1"}}},
	}
	nodetest.Fill(n)
	return n
}
