package otctest

import (
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

const vpcStamp = "2006-01-02T15:04:05" // UTC, without saying so

// A Route is an entry of a route table in the spelling of the wire, kept byte for byte.
type Route struct {
	Type        string `json:"type"`
	Destination string `json:"destination"`
	NextHop     string `json:"nexthop"`
	Description string `json:"description"`
}

// A Subnet is a network of a VPC. Every route table of the VPC has a local route for it.
type Subnet struct {
	ID      string // network id, as in a route table's subnets[] and a NIC's net_id
	CIDR    string
	VPCID   string // set by AddSubnet
	TableID string // the route table that serves it; "": the default table of its VPC
}

type table struct {
	id, name, description, vpcID string
	main                         bool // the default table of its VPC
	routes                       []Route
	created, updated             time.Time
	past                         []version
}

// A version is what a table held until a time.
type version struct {
	routes []Route
	until  time.Time
}

// AddTable adds a route table, or replaces the one with that id. The first of
// a VPC is its default table. Local routes are not to be given: a table shows
// those of its VPC.
func (s *Server) AddTable(id, name, vpcID string, routes ...Route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &table{id: id, name: name, vpcID: vpcID, routes: slices.Clone(routes),
		created: time.Date(2026, 5, 4, 7, 31, 9, 0, time.UTC)}
	t.updated = t.created
	for i, old := range s.tables {
		if old.id == id {
			t.main = old.main
			s.tables[i] = t
			return
		}
	}
	t.main = !slices.ContainsFunc(s.tables, func(o *table) bool { return o.vpcID == vpcID })
	s.tables = append(s.tables, t)
}

// DeleteTable removes a route table, if it exists.
func (s *Server) DeleteTable(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables = slices.DeleteFunc(s.tables, func(t *table) bool { return t.id == id })
}

// AddSubnet adds a subnet to a VPC, or replaces the one with that id.
func (s *Server) AddSubnet(vpcID string, n Subnet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.VPCID = vpcID
	s.subnets = slices.DeleteFunc(s.subnets, func(o *Subnet) bool { return o.ID == n.ID })
	s.subnets = append(s.subnets, &n)
}

// Routes returns the routes of a table as they are now, without the local
// ones, in the order of the table; nil if there is no such table.
func (s *Server) Routes(tableID string) []Route {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.table(tableID); t != nil {
		return slices.Clone(t.routes)
	}
	return nil
}

// SetRoutes replaces the routes of a table, as another client might. Like
// PutRoute and DeleteRoute it checks nothing and panics if there is no such table.
func (s *Server) SetRoutes(tableID string, routes ...Route) {
	s.edit(tableID, func([]Route) []Route { return slices.Clone(routes) })
}

// PutRoute adds a route, or replaces the one to the same destination.
func (s *Server) PutRoute(tableID string, r Route) {
	s.edit(tableID, func(routes []Route) []Route {
		if i := find(routes, r.Destination, false); i >= 0 {
			routes[i] = r
			return routes
		}
		return append(routes, r)
	})
}

// DeleteRoute removes the route to a destination, if there is one.
func (s *Server) DeleteRoute(tableID, destination string) {
	s.edit(tableID, func(routes []Route) []Route {
		if i := find(routes, destination, false); i >= 0 {
			return slices.Delete(routes, i, i+1)
		}
		return routes
	})
}

func (s *Server) edit(tableID string, f func([]Route) []Route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table(tableID)
	if t == nil {
		panic("otctest: no route table " + tableID)
	}
	t.store(f(slices.Clone(t.routes)), s.knobs.StaleReads)
}

func (s *Server) table(id string) *table {
	for _, t := range s.tables {
		if t.id == id {
			return t
		}
	}
	return nil
}

// store changes the routes; reads show the old ones for a while.
func (t *table) store(routes []Route, stale time.Duration) {
	now := time.Now()
	if stale > 0 {
		t.past = append(t.past, version{t.routes, now.Add(stale)})
	}
	t.routes, t.updated = routes, now
}

// seen returns the routes that a read finds.
func (t *table) seen() []Route {
	now := time.Now()
	t.past = slices.DeleteFunc(t.past, func(v version) bool { return !now.Before(v.until) })
	if len(t.past) > 0 {
		return t.past[0].routes
	}
	return t.routes
}

// find returns the index of the route to a destination, or -1. Unless exact,
// different spellings of one prefix are the same.
func find(routes []Route, destination string, exact bool) int {
	want, ok := prefix(destination)
	return slices.IndexFunc(routes, func(r Route) bool {
		if exact || !ok {
			return r.Destination == destination
		}
		got, ok := prefix(r.Destination)
		return ok && got == want
	})
}

func prefix(destination string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(destination)
	return p.Masked(), err == nil
}

// locals returns the destinations of the system routes of a VPC.
func (s *Server) locals(vpcID string) []string {
	var list []string
	for _, n := range s.subnets {
		if n.VPCID == vpcID {
			list = append(list, n.CIDR)
		}
	}
	return append(list, "198.19.128.0/20", "127.0.0.0/8", "100.64.0.0/10")
}

// served returns the subnets[] of a table.
func (s *Server) served(t *table) []object {
	list := []object{}
	for _, n := range s.subnets {
		if n.TableID == t.id || n.TableID == "" && t.main && n.VPCID == t.vpcID {
			list = append(list, object{"id": n.ID})
		}
	}
	return list
}

// show returns a table as a GET shows it.
func (s *Server) show(c *call, t *table, routes []Route) object {
	o := object{
		"id": t.id, "name": t.name, "description": t.description, "default": t.main,
		"vpc_id": t.vpcID, "tenant_id": ProjectID, "routes": s.showRoutes(c, t, routes), "subnets": s.served(t),
		"created_at": t.created.UTC().Format(vpcStamp), "updated_at": t.updated.UTC().Format(vpcStamp),
	}
	if c.knobs.NoDefault {
		delete(o, "default")
	}
	if c.knobs.ExtraMembers {
		o["extend_info"] = object{"zone": "center"}
	}
	return o
}

func (s *Server) showRoutes(c *call, t *table, routes []Route) []any {
	list := make([]any, 0, len(routes)+8)
	for _, l := range s.locals(t.vpcID) {
		o := object{"type": "local", "destination": l, "nexthop": "-"}
		if c.knobs.NullNextHop {
			o = object{"type": "local", "destination": l, "nexthop": nil, "description": nil,
				"extra_info": object{}, "nexthop_mac": nil}
		}
		list = append(list, o)
	}
	for _, r := range routes {
		if c.knobs.ExtraMembers {
			list = append(list, struct {
				Route
				Metric int      `json:"metric"`
				Tags   []string `json:"tags"`
			}{r, 100, []string{}})
			continue
		}
		list = append(list, r)
	}
	if c.knobs.Shuffle {
		rand.New(rand.NewPCG(uint64(c.serial), 0)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return list
}

// getTable is GET /v1/{project}/routetables/{id}.
func (s *Server) getTable(c *call) answer {
	t := s.table(c.id)
	if t == nil {
		return c.noTable()
	}
	return c.reply(http.StatusOK, object{"routetable": s.show(c, t, t.seen())})
}

func (c *call) noTable() answer {
	return c.fail(0, http.StatusNotFound, "VPC.2808", "Route table "+c.id+" could not be found.")
}

// listTables is GET /v1/{project}/routetables.
func (s *Server) listTables(c *call) answer {
	limit := 2000
	if l := c.Query.Get("limit"); l != "" {
		n, err := strconv.Atoi(l)
		if err != nil || n < 0 || n > 2000 {
			return c.fail(0, http.StatusBadRequest, "", "limit must be a number from 0 to 2000.")
		}
		limit = n
	}
	list, marker := []object{}, c.Query.Get("marker")
	for _, t := range s.tables {
		if marker != "" {
			if t.id == marker {
				marker = ""
			}
			continue
		}
		if len(list) < limit && s.selected(c, t) {
			list = append(list, s.show(c, t, t.seen()))
		}
	}
	return c.reply(http.StatusOK, object{"routetables": list})
}

func (s *Server) selected(c *call, t *table) bool {
	q := c.Query
	if id := q.Get("id"); id != "" && id != t.id {
		return false
	}
	if id := q.Get("vpc_id"); id != "" && id != t.vpcID {
		return false
	}
	id := q.Get("subnet_id")
	return id == "" || slices.ContainsFunc(s.served(t), func(o object) bool { return o["id"] == id })
}

// listQuotas is GET /v1/{project}/quotas.
func (s *Server) listQuotas(c *call) answer {
	all := []object{
		{"type": "vpc", "used": 1, "quota": 150, "min": 0},
		{"type": "vpcContainRoutetable", "used": 0, "quota": 1, "min": 0},
		{"type": "routetableContainRoutes", "used": 0, "quota": max(c.knobs.TableLimit, -1), "min": 0},
	}
	if kind := c.Query.Get("type"); kind != "" {
		all = slices.DeleteFunc(all, func(o object) bool { return o["type"] != kind })
	}
	if len(all) == 0 {
		return c.fail(0, http.StatusBadRequest, "VPC.1207", "The resource type is invalid.")
	}
	return c.reply(http.StatusOK, object{"quotas": object{"resources": all}})
}

// LongForm is a [Knobs].Respell: it writes IPv6 destinations in full length.
func LongForm(destination string) string {
	p, err := netip.ParsePrefix(destination)
	if err != nil || p.Addr().Is4() {
		return destination
	}
	return p.Addr().StringExpanded() + "/" + strconv.Itoa(p.Bits())
}
