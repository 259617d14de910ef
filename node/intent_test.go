package node

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// phases are the names of the constants, in their order.
var phases = strings.Fields("waiting deleted skipped invalid routed")

// nodeNamed reads a Node: "gone", or its annotation and what else is unusual about it.
// A and B are subnets in CLUSTER_CIDR, X lies outside; "unset" is no annotation.
func nodeNamed(s string) *Facts {
	if s == "gone" {
		return nil
	}
	f := Facts{UID: "uid-1", Worker: true, Annotated: true}
	var subnets []string
	for word := range strings.FieldsSeq(s) {
		switch word {
		case "A", "B", "X":
			subnets = append(subnets, map[string]string{"A": "10.128.2.0/23", "B": "10.129.0.0/23", "X": "172.16.0.0/24"}[word])
			f.Annotation = annotation(subnets...)
		case "unset":
			f.Annotated = false
		case "master":
			f.Worker = false
		case "new":
			f.UID = "uid-2"
		default:
			f.Annotation = word
		}
	}
	return &f
}

// TestIntent walks the table of phases: the Nodes seen before, in order, and the
// one seen now make the phase, what is wanted, whether that runs, and what is said:
// severity, reason of the Event, how it counts as a pass, text.
func TestIntent(t *testing.T) {
	const (
		hasA      = "info - - node worker-1 has the pod subnets 10.128.2.0/23"
		noNode    = "warning - - there is no Node worker-1: check NODE_NAME"
		goes      = "warning - - node worker-1 was deleted; its routes go in 10s unless it comes back"
		noWorker  = "warning NodeSkipped skipped skipping node worker-1, it is not a worker"
		outside   = "warning SubnetSkipped skipped skipping node worker-1, subnet 172.16.0.0/24 is not cluster traffic (CLUSTER_CIDR 10.128.0.0/14)"
		stay      = "; routes are unchanged"
		bad       = "warning AnnotationInvalid error "
		value     = "annotation k8s.ovn.org/node-subnets "
		unset     = value + "is not there yet"
		noEntry   = value + `has no "default" network yet`
		malformed = bad + value + `is malformed: "{" is not a JSON object` + stay
		nothing   = "success - - "
		wantedA   = " 10.128.2.0/23"
		runsA     = wantedA + " runs"
	)
	for _, tt := range []struct{ before, now, want, say string }{
		{"", "gone", "waiting", noNode},
		{"gone", "gone", "waiting", noNode},
		{"gone", "A", "routed" + runsA, hasA},

		{"A", "gone", "deleted" + wantedA, goes},
		{"master", "gone", "deleted", goes},
		{"A, gone", "gone", "deleted" + wantedA, goes},
		{"A, gone", "A", "routed" + runsA, hasA},
		{"A, gone", "A new", "routed" + runsA, hasA},
		{"A, gone", "unset new", "waiting", "info - - waiting: " + unset},

		{"", "A master", "skipped", noWorker},
		{"A", "A master", "skipped" + wantedA, noWorker},
		{"A master", "A", "routed" + runsA, hasA},
		{"", "X", "skipped", outside},
		{"A", "X", "skipped" + wantedA, outside},
		{"X", "A", "routed" + runsA, hasA},

		{"", "unset", "waiting", "info - - waiting: " + unset},
		{"", "{}", "waiting", "info - - waiting: " + noEntry},
		{"{", "unset", "waiting", "info - - waiting: " + unset},
		{"A", "unset new", "waiting", "info - - waiting: " + unset},
		{"unset", "A", "routed" + runsA, hasA},

		{"", "{", "invalid", malformed},
		{"A", "{ new", "invalid", malformed},
		{"A", "{", "invalid" + runsA, malformed},
		{"A", "unset", "invalid" + runsA, bad + unset + stay},
		{"A", "{}", "invalid" + runsA, bad + noEntry + stay},
		{"A master", `{"default":[]}`, "invalid", bad + value + "lists no subnet" + stay},
		{"A, {", "A", "routed" + runsA, hasA},
		{"A, {", "B", "routed 10.129.0.0/23 runs", "info - - node worker-1 has the pod subnets 10.129.0.0/23"},

		{"", "A", "routed" + runsA, hasA},
		{"A", "A", "routed" + runsA, nothing},
		{"A B", "B A B", "routed 10.128.2.0/23, 10.129.0.0/23 runs", nothing},
		{"A", "B", "routed 10.129.0.0/23 runs", nothing},
		{"A", "A B", "routed 10.128.2.0/23, 10.129.0.0/23 runs", nothing},
		{"A", "A X", "routed" + runsA, nothing + "outside 172.16.0.0/24"},
		{"", "X A", "routed" + runsA, hasA + "outside 172.16.0.0/24"},
		{"A", "B new", "routed 10.129.0.0/23 runs", "info - - node worker-1 has the pod subnets 10.129.0.0/23"},
	} {
		t.Run(tt.before+" | "+tt.now, func(t *testing.T) {
			cfg := Config{NodeName: "worker-1", Ranges: []netip.Prefix{clusterRange()}}
			var in intent
			for s := range strings.SplitSeq(tt.before, ", ") {
				if s != "" {
					in, _ = in.next(nodeNamed(s), &cfg)
				}
			}
			in, n := in.next(nodeNamed(tt.now), &cfg)
			got := strings.TrimSpace(phases[in.phase] + " " + join(in.wanted))
			if in.routes() {
				got += " runs"
			}
			say := fmt.Sprint(n.severity, " ", cmp.Or(n.event, "-"), " ", cmp.Or(n.pass, "-"), " ", n.text)
			if n.outside != "" {
				say += "outside " + n.outside
			}
			if got != tt.want || say != tt.say {
				t.Errorf("got %q, %q; want %q, %q", got, say, tt.want, tt.say)
			}
			if (in.reason == "") != (in.phase == routed) || (in.facts == nil) != (tt.now == "gone") {
				t.Errorf("reason %q, facts %v", in.reason, in.facts)
			}
		})
	}
}

// TestMovedFrom: only another instance than the known one, newly named, is a move.
func TestMovedFrom(t *testing.T) {
	known, other := ecsID(1), ecsID(2)
	at := func(providerID, systemUUID string) *Facts {
		return &Facts{UID: "uid-1", ProviderID: providerID, SystemUUID: systemUUID}
	}
	for _, tt := range []struct {
		name     string
		old, now *Facts
		want     bool
	}{
		{"providerID of another", at(known, known), at(other, known), true},
		{"systemUUID of another", at("", known), at("", other), true},
		{"another, where nothing was named", at("", ""), at("", other), true},
		{"another, after the Node was away", nil, at(other, ""), true},
		{"providerID goes first", at(known, known), at(known, other), false},
		{"named as before, though it was found elsewhere", at(other, ""), at(other, ""), false},
		{"the known one, where nothing was named", at("", ""), at("", known), false},
		{"the known one, in upper case", at("", ""), at(strings.ToUpper(known), ""), false},
		{"named no longer", at(known, known), at("", ""), false},
		{"no instance's name", at(known, ""), at("aws:///i-1", ""), false},
	} {
		if got := tt.now.movedFrom(tt.old, known); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
		if same := fmt.Sprint(tt.old) == fmt.Sprint(tt.now); tt.now.sameMachine(tt.old) != same || tt.now.equal(tt.old) != same {
			t.Errorf("%s: an event that changes something: %v", tt.name, !same)
		}
	}
}
