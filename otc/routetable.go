package otc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// TypeECS is the type of a route whose next hop is a server.
const TypeECS = "ecs"

// TypeLocal is the type of the system's routes to the VPC's own subnets.
const TypeLocal = "local"

// A Route is one entry of a route table. It is a value: == and map keys work.
type Route struct {
	Type        string       // "ecs", "nat", "peering", "local", …; unknown ones occur
	Destination netip.Prefix // masked; the zero Prefix if the table's spelling is no CIDR
	NextHop     string       // ECS id in lower case for type ecs; "" or "-" for local
	Description string
	Raw         string // the destination as the table writes it; "" in a route not read from a table
}

// Equal reports whether two routes send the same traffic to the same place.
func (r Route) Equal(o Route) bool {
	return r.Type == o.Type && r.Destination == o.Destination && r.NextHop == o.NextHop
}

// String returns "destination → next hop" for logs.
func (r Route) String() string { return r.rawDestination() + " → " + r.NextHop }

// rawDestination is the destination as it goes to the cloud: canonical in what we add,
// the table's own spelling of what is already there.
func (r Route) rawDestination() string {
	if r.Raw != "" {
		return r.Raw
	}
	return r.Destination.String()
}

// A RouteTable is one route table of a VPC. Ids are in lower case, however the table
// spells them: they are compared by ==.
type RouteTable struct {
	ID      string
	Name    string
	VPCID   string
	Default bool
	Routes  []Route   // in no particular order, the system's local routes included
	Subnets []string  // network ids
	AsOf    time.Time // when the request that this answers was sent
}

// Used returns how many entries count towards the table's limit: all but the
// system's own (VPC quotas).
func (t RouteTable) Used() (n int) {
	for _, r := range t.Routes {
		if r.Type != TypeLocal {
			n++
		}
	}
	return n
}

// wireRoute is a route as the API writes it. Any member may be null; one that is
// not text counts as empty.
type wireRoute struct {
	Type        any `json:"type"`
	Destination any `json:"destination"`
	NextHop     any `json:"nexthop"`
	Description any `json:"description"`
}

func (w wireRoute) route() Route {
	r := Route{Type: word(w.Type), NextHop: word(w.NextHop), Description: word(w.Description), Raw: word(w.Destination)}
	r.Destination = ParseDestination(r.Raw)
	if r.Type == TypeECS {
		r.NextHop = strings.ToLower(r.NextHop)
	}
	return r
}

// decode reads {"routetable":{…}} as it arrives. Only a list of routes that is none is
// an error: an empty table would mean that all routes are missing.
func (t *RouteTable) decode(d stream) error {
	*t = RouteTable{} // an attempt before may have come half of the way
	return d.members(func(name string) (bool, error) {
		if name != "routetable" {
			return false, nil
		}
		return true, d.members(func(name string) (bool, error) { return t.member(d, name) })
	})
}

func (t *RouteTable) member(d stream, name string) (bool, error) {
	var v any
	switch name {
	case "routes":
		return true, d.each('[', func() error { return t.addRoute(d) })
	case "subnets":
		return true, d.each('[', func() error { return t.addSubnet(d) })
	case "id", "name", "vpc_id", "default":
		if err := d.Decode(&v); err != nil {
			return true, err
		}
	default:
		return false, nil
	}
	switch name {
	case "id":
		t.ID = strings.ToLower(word(v))
	case "name":
		t.Name = word(v)
	case "vpc_id":
		t.VPCID = strings.ToLower(word(v))
	case "default":
		t.Default = truth(v)
	}
	return true, nil
}

func (t *RouteTable) addRoute(d stream) error {
	if len(t.Routes) == maxRoutes {
		return fmt.Errorf("%w %d routes", errTooMany, maxRoutes)
	}
	var w wireRoute
	err := d.odd(&w)
	t.Routes = append(t.Routes, w.route())
	return err
}

func (t *RouteTable) addSubnet(d stream) error {
	if len(t.Subnets) == maxRoutes {
		return fmt.Errorf("%w %d subnets", errTooMany, maxRoutes)
	}
	var w struct {
		ID any `json:"id"`
	}
	err := d.odd(&w)
	t.Subnets = append(t.Subnets, strings.ToLower(word(w.ID)))
	return err
}

// RouteTable reads one route table (VPC API, "Querying a Route Table"). An id that the cloud does not know is an
// *Error with status 404.
func (c *Client) RouteTable(ctx context.Context, id string) (RouteTable, error) {
	if !IsUUID(id) {
		return RouteTable{}, fmt.Errorf("route table id %q is not a UUID", id)
	}
	var t RouteTable
	k := &call{service: "vpc", operation: opTable, method: http.MethodGet, decodeStream: t.decode}
	if err := c.do(ctx, k, "/routetables/"+strings.ToLower(id), nil); err != nil {
		return RouteTable{}, err
	}
	if !strings.EqualFold(t.ID, id) {
		return RouteTable{}, k.malformed(errors.New("it holds no route table " + id))
	}
	t.AsOf = k.last.began
	return t, nil
}

// RouteQuota reads how many routes a route table may hold, -1 for any number (VPC API,
// "Querying Quotas"). It is for information: a user may lack the permission (IsForbidden).
func (c *Client) RouteQuota(ctx context.Context) (limit int, err error) {
	const kind = "routetableContainRoutes"
	var wire struct {
		Quotas struct {
			Resources []struct {
				Type  string `json:"type"`
				Quota *int   `json:"quota"`
			} `json:"resources"`
		} `json:"quotas"`
	}
	k := &call{service: "vpc", operation: opQuotas, method: http.MethodGet}
	if err := c.do(ctx, k, "/quotas?type="+kind, &wire); err != nil {
		return 0, err
	}
	for _, r := range wire.Quotas.Resources {
		if r.Type == kind && r.Quota != nil {
			return *r.Quota, nil
		}
	}
	return 0, k.malformed(errors.New("it holds no quota of " + kind))
}
