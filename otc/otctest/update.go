package otctest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// The kinds of operations of a PUT.
const (
	opAdd = "add"
	opMod = "mod"
	opDel = "del"
)

type operation struct {
	kind string
	Route
}

type updateBody struct {
	Table *struct {
		Name        *string `json:"name"`
		Description *string `json:"description"`
		Routes      struct {
			Add []Route `json:"add"`
			Mod []Route `json:"mod"`
			Del []Route `json:"del"`
		} `json:"routes"`
	} `json:"routetable"`
}

// operations returns what to do, in the order in which the cloud does it.
func (b updateBody) operations(addFirst bool) []operation {
	var ops []operation
	add := func(kind string, routes []Route) {
		for _, r := range routes {
			ops = append(ops, operation{kind, r})
		}
	}
	r := b.Table.Routes
	if addFirst {
		add(opAdd, r.Add)
		add(opMod, r.Mod)
		add(opDel, r.Del)
		return ops
	}
	add(opDel, r.Del)
	add(opMod, r.Mod)
	add(opAdd, r.Add)
	return ops
}

// A refusal is why a PUT fails.
type refusal struct {
	status        int
	code, message string
}

func refuse(format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, "VPC.2809", fmt.Sprintf(format, args...)}
}

// updateTable is PUT /v1/{project}/routetables/{id}: a delta, applied whole or
// not at all.
func (s *Server) updateTable(c *call) answer {
	t := s.table(c.id)
	if t == nil {
		return c.noTable()
	}
	var body updateBody
	if err := json.Unmarshal(c.Body, &body); err != nil || body.Table == nil {
		return c.fail(0, http.StatusBadRequest, "VPC.0002", "The request body is no route table.")
	}
	if c.contended && c.knobs.Contended != 0 {
		return c.fail(0, c.knobs.Contended, "VPC.0105", "The route table is being changed.")
	}
	before, ops := t.seen(), body.operations(c.knobs.AddFirst)
	r := cmp.Or(c.checkOperations(ops), checkNames(body))
	if r == nil {
		r = s.apply(c, t, ops)
	}
	if r != nil {
		return c.fail(0, r.status, r.code, r.message)
	}
	if body.Table.Name != nil {
		t.name = *body.Table.Name
	}
	if body.Table.Description != nil {
		t.description = *body.Table.Description
	}
	return s.updated(c, t, body.Table.Routes.Add, before)
}

// updated answers a PUT that succeeded.
func (s *Server) updated(c *call, t *table, added, before []Route) answer {
	o := s.show(c, t, t.routes)
	switch c.knobs.PutAnswer {
	case PutAnswerStale:
		o = s.show(c, t, before)
	case PutAnswerPartial:
		delete(o, "name")
		o["routes"] = append([]Route{}, added...)
	}
	return c.reply(http.StatusOK, object{"routetable": o})
}

// apply changes the table by the operations, all of them or none, unless a
// knob or a fault wants it otherwise.
func (s *Server) apply(c *call, t *table, ops []operation) *refusal {
	routes, done := slices.Clone(t.routes), 0
	var bad *refusal
	for _, op := range ops {
		if n := c.fault.ApplyFirst; n > 0 && done == n {
			break
		}
		if bad = s.step(c, t, &routes, op); bad != nil {
			break
		}
		done++
	}
	if done > 0 && (bad == nil || c.knobs.KeepPart) {
		t.store(routes, c.knobs.StaleReads)
	}
	return bad
}

// step does one operation to routes.
func (s *Server) step(c *call, t *table, routes *[]Route, op operation) *refusal {
	i := find(*routes, op.Destination, c.knobs.ExactSpelling && op.kind != opAdd)
	if i >= 0 && op.kind != opAdd && t.delivered((*routes)[i].Type) {
		return refuse("The route to %s cannot be changed.", op.Destination)
	}
	if op.kind == opDel {
		switch {
		case i >= 0:
			*routes = slices.Delete(*routes, i, i+1)
		case !c.knobs.DelMissingOK || slices.Contains(s.locals(t.vpcID), op.Destination):
			return refuse("There is no route to %s.", op.Destination)
		}
		return nil
	}
	if r := s.checkRoute(c, t, op.Route); r != nil {
		return r
	}
	switch {
	case op.kind == opMod && i >= 0:
		op.Destination = (*routes)[i].Destination
		(*routes)[i] = op.Route
		return nil
	case op.kind == opMod && c.knobs.ModMissing == ModMissingFails:
		return refuse("There is no route to %s.", op.Destination)
	case op.kind == opMod && c.knobs.ModMissing == ModMissingIgnored:
		return nil
	case i >= 0:
		return &refusal{c.knobs.DuplicateStatus, "VPC.2812", "The route to " + op.Destination + " already exists."}
	}
	return s.add(c, t, routes, op.Route)
}

func (s *Server) add(c *call, t *table, routes *[]Route, r Route) *refusal {
	n := len(*routes)
	if c.knobs.CountLocal {
		n += len(s.locals(t.vpcID))
	}
	if limit := c.knobs.TableLimit; limit >= 0 && n >= limit {
		return &refusal{c.knobs.FullStatus, "VPC.0114", "Quota exceeded for resources: ['route']."}
	}
	if c.knobs.Respell != nil {
		r.Destination = c.knobs.Respell(r.Destination)
	}
	*routes = append(*routes, r)
	return nil
}

// checkOperations refuses what is wrong whatever the table holds.
func (c *call) checkOperations(ops []operation) *refusal {
	if limit := c.knobs.MaxRoutesPerRequest; limit > 0 && len(ops) > limit {
		return &refusal{http.StatusBadRequest, "VPC.2800", fmt.Sprintf("The num of routes to update is more than %d.", limit)}
	}
	type key struct {
		kind string
		netip.Prefix
	}
	seen := map[key]bool{}
	for _, op := range ops {
		p, ok := prefix(op.Destination)
		switch {
		case !ok:
			return refuse("%q is no CIDR.", op.Destination)
		case seen[key{op.kind, p}]:
			return refuse("The destination %s is given twice.", op.Destination)
		}
		seen[key{op.kind, p}] = true
	}
	return nil
}

func checkNames(b updateBody) *refusal {
	if n := b.Table.Name; n != nil && !regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`).MatchString(*n) {
		return refuse("The name is invalid.")
	}
	if d := b.Table.Description; d != nil && !validDescription(*d) {
		return refuse("The description is invalid.")
	}
	return nil
}

func validDescription(d string) bool { return len([]rune(d)) <= 255 && !strings.ContainsAny(d, "<>") }

// delivered reports whether the cloud itself puts routes of that type into the
// table, so that users can neither write nor delete them.
func (t *table) delivered(kind string) bool {
	switch kind {
	case "vpn", "dc":
		return t.main
	case "local", "egw", "subeni":
		return true
	}
	return false
}

// checkRoute refuses a route that must not be added or written.
func (s *Server) checkRoute(c *call, t *table, r Route) *refusal {
	p, _ := prefix(r.Destination)
	switch {
	case r.NextHop == "" || t.delivered(r.Type) || !slices.Contains(routeTypes(), r.Type):
		return refuse("A route of type %q to %q cannot be written.", r.Type, r.NextHop)
	case !validDescription(r.Description):
		return refuse("The description is invalid.")
	case c.knobs.RefuseIPv6[t.id] && p.Addr().Is6():
		return refuse("IPv6 destination %s is not supported.", r.Destination)
	case r.Type == "ecs" && c.knobs.CheckNextHop && !s.reaches(r.NextHop, t.vpcID):
		return refuse("The next hop %s could not be found.", r.NextHop)
	}
	for _, l := range s.locals(t.vpcID) {
		local, _ := prefix(l)
		if local.Bits() <= p.Bits() && local.Contains(p.Addr()) {
			return refuse("The destination %s overlaps the local route to %s.", r.Destination, l)
		}
	}
	return nil
}

func routeTypes() []string {
	return []string{"ecs", "eni", "vip", "nat", "peering", "er", "vpn", "dc"}
}

// reaches reports whether there is such a server in the VPC.
func (s *Server) reaches(serverID, vpcID string) bool {
	i := s.server(serverID)
	return i >= 0 && s.servers[i].VPCID == vpcID
}
