package metrics

import "time"

// A Status is what the page and /health?ready=1 show: a plain value, made anew
// for each request. A zero time means never, or none planned.
type Status struct {
	Ready  bool
	InSync bool
	DryRun bool
	Reason string // one line: why it is ready and in sync, or why not

	Node         string
	Instance     string // ECS ID, "" if not found yet
	InstanceName string
	Version      string
	Subnets      []string // CIDRs of the Node's annotation
	Tables       []Table

	LastAttempt time.Time
	LastError   string // of the last attempt, "" if it succeeded
	NextAttempt time.Time
	NextWhy     string
	TokenExpiry time.Time // zero: no token held

	Changes []Change // newest first; the page shows at most 20
}

// A Table is one route table as it was last read.
type Table struct {
	ID, Name string
	State    string // one line
	Used     int    // routes in it, foreign ones included
	Limit    int    // routes it may hold; zero: not read yet
	Routes   []Route
	Planned  []string // dry run: the exact changes that are not made
}

// A Route is one destination that the Node has, wants or had in a table.
type Route struct {
	Destination string // CIDR
	Wanted      string // next hop, "" if the route is not wanted
	Seen        string // next hop in the table, "" if the route is missing
	Note        string
}

// A Change is one change of state.
type Change struct {
	Time  time.Time
	Level string // "info", "warning", "error" or "success"
	Text  string
}
