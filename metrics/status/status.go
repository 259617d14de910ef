// Package status says how a Node and its routes stand, for people and probes.
//
// It holds plain values and knows neither the cloud nor Kubernetes nor HTTP:
// package node fills a [Status] at the end of each pass, main adds what only it
// knows, and package metrics shows it.
package status

import (
	"net/netip"
	"strings"
	"time"
)

// A Status is how a Node stands. It is made once and never changed afterwards.
// All texts are one line. The zero value is that of a Node nothing is known of.
type Status struct {
	Ready   bool
	InSync  bool     // every table is known to hold all wanted routes
	DryRun  bool     // nothing is written
	Reasons []Reason // why it is so; all that is wrong, the cause of the rest first

	// LoginRefused is the error by which IAM refused user and password, while they are
	// not sent again; "" otherwise. Each further refusal would count towards a lockout.
	LoginRefused string

	Node         string
	Instance     string // ECS id, "" if not found yet
	InstanceName string
	Subnets      []netip.Prefix // what the Node wants routes for
	Tables       []Table        // in the order of ROUTE_TABLE_ID

	Conflicts int // wanted destinations that are taken by a route which must not be changed
	Drift     int // confirmed routes that the last read found missing or changed
	Orphans   int // routes with this program's mark whose instance is gone

	LastRead time.Time // end of the last pass over instance and tables; zero: none yet
	NextRead time.Time // when the next is due; zero: none planned
	Changes  []Change  // of state, newest first

	Program Program
}

// A Program is what main knows: the process that tells all this.
type Program struct {
	Started  time.Time
	Address  netip.AddrPort // where it answers, in one of the Node's subnets; zero: not known
	Settings []Setting      // in the order in which they are shown; no secrets
}

// A Reason is one fact that makes a Node ready and in sync, or not.
type Reason struct {
	Table string // the name of the route table that it is about, its id if that is unknown; "" if about none
	Text  string // what is so
	Hint  string // what to do about it; "" if nothing is to be done, or the text says it
}

// A Table is one route table as it was last read.
type Table struct {
	ID       string
	Name     string    // "" if not known yet
	State    string    // one line
	LastRead time.Time // zero: never
	Used     int       // routes that count towards the table's limit, foreign ones included
	Routes   []Route
	Planned  []string // dry run: the changes that are not made
}

// A Route is one destination that the Node has, wants or had in a table.
type Route struct {
	Destination netip.Prefix
	Wanted      string // next hop; "" if the route is not wanted
	Seen        string // next hop in the table, behind its type if that is not ecs; "" if the route is missing
	Note        string
}

// A Change is one change of state.
type Change struct {
	Time  time.Time
	Level string // "success", "info", "warning" or "error"
	Text  string
}

// A Setting is one environment variable and its value, as it was given.
type Setting struct{ Name, Value string }

// Line returns all reasons in one line: the answer to a readiness probe.
func (s Status) Line() string {
	lines := make([]string, 0, len(s.Reasons))
	for _, r := range s.Reasons {
		lines = append(lines, r.String())
	}
	return strings.Join(lines, "; ")
}

// String returns "route table NAME: TEXT; HINT", without what is empty.
func (r Reason) String() string {
	s := r.Text
	if r.Table != "" {
		s = "route table " + r.Table + ": " + s
	}
	if r.Hint != "" {
		s += "; " + r.Hint
	}
	return s
}

// A Summary is a Status in one line of JSON: the answer to /health?status=1. .make/nodes
// reads it by the order of its members.
type Summary struct {
	Ready        bool   `json:"ready"`
	InSync       bool   `json:"in_sync"`
	LoginRefused string `json:"login_refused"`
	Reason       string `json:"reason"`
}
