package otc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Bounds of a PUT.
const (
	MaxOps = 5                // operations (VPC API, creating a route table; for a PUT VPC.2800 says so)
	maxAge = 10 * time.Second // of the read behind it: executed up to 60 s later, it comes before the new owner's last check, 75 s after its confirmation
)

// MaxDescription is the longest description of a route, in bytes (VPC API,
// updating a route table: at most 255 characters, no angle brackets).
const MaxDescription = 255

// An OpKind says what an [Op] does with a route.
type OpKind string

// The operations of a PUT. Modify and Delete address an entry by its destination
// alone (VPC API, updating a route table).
const (
	Add    OpKind = "add"
	Modify OpKind = "modify" // type, next hop and description are replaced
	Delete OpKind = "delete"
)

// An Op is one operation on a route table. It is a value: == and map keys work.
type Op struct {
	Kind OpKind
	Route
}

// String returns "add 10.128.4.0/23 → a4c7…" or "delete 10.128.8.0/23".
func (op Op) String() string {
	if op.Kind == Delete {
		return string(op.Kind) + " " + op.rawDestination()
	}
	return string(op.Kind) + " " + op.Route.String()
}

// Changes is one delta of a route table, in the order in which it is cut into
// several PUTs; routes it does not name stay as they are. It is the body of the
// PUT.
type Changes []Op

// Ops returns one operation of that kind for each route.
func Ops(kind OpKind, routes ...Route) Changes {
	ch := make(Changes, 0, len(routes))
	for _, r := range routes {
		ch = append(ch, Op{kind, r})
	}
	return ch
}

// Routes returns the routes of the operations of that kind.
func (ch Changes) Routes(kind OpKind) (routes []Route) {
	for _, op := range ch {
		if op.Kind == kind {
			routes = append(routes, op.Route)
		}
	}
	return routes
}

// String returns the changes in one line, for example
// "add 10.128.4.0/23 → a4c7…, delete 10.128.8.0/23".
func (ch Changes) String() string {
	if len(ch) == 0 {
		return "no change"
	}
	s := make([]string, 0, len(ch))
	for _, op := range ch {
		s = append(s, op.String())
	}
	return strings.Join(s, ", ")
}

// MarshalJSON writes {"routetable":{"routes":{"add":[…],"mod":[…],"del":[…]}}}
// without empty lists; a delete names only the destination (VPC API, updating a
// route table).
func (ch Changes) MarshalJSON() ([]byte, error) {
	type route struct {
		Type        string `json:"type,omitempty"`
		Destination string `json:"destination"`
		NextHop     string `json:"nexthop,omitempty"`
		Description string `json:"description,omitempty"`
	}
	var body struct {
		RouteTable struct {
			Routes struct {
				Add []route `json:"add,omitempty"`
				Mod []route `json:"mod,omitempty"`
				Del []route `json:"del,omitempty"`
			} `json:"routes"`
		} `json:"routetable"`
	}
	into := &body.RouteTable.Routes
	for _, op := range ch {
		full := route{op.Type, op.rawDestination(), op.NextHop, op.Description}
		switch op.Kind {
		case Add:
			into.Add = append(into.Add, full)
		case Modify:
			into.Mod = append(into.Mod, full)
		case Delete:
			into.Del = append(into.Del, route{Destination: op.rawDestination()})
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(body)
	return b.Bytes(), err
}

// Why a PUT was not sent.
var (
	ErrGuard  = errors.New("refused to send")                                                            // it would have touched what this client must never touch
	ErrTooOld = errors.New("not sent: the route table was read more than 10 s ago and may have changed") // read again
)

// UpdateRoutes sends changes in one PUT (VPC API, "Updating a Route Table"), which
// rests on the table as it was read. Last thing before the request is encoded it
// refuses: with ErrGuard more than 5 operations and what Config.Allowed does not
// permit, with ErrTooOld a read that was asked for more than 10 s ago. The answer is
// not looked at: the API's own sample of it is incomplete. Read the table again.
func (c *Client) UpdateRoutes(ctx context.Context, read RouteTable, changes Changes) error {
	if !IsUUID(read.ID) {
		return fmt.Errorf("route table id %q is not a UUID", read.ID)
	}
	encode := func() ([]byte, error) {
		if err := changes.guard(c.cfg.Allowed); err != nil {
			return nil, err
		}
		if time.Since(read.AsOf) > maxAge {
			return nil, ErrTooOld
		}
		return changes.MarshalJSON()
	}
	k := &call{service: "vpc", operation: opUpdateTable, method: http.MethodPut, encode: encode, notAfter: read.AsOf.Add(maxAge)}
	return c.do(ctx, k, "/routetables/"+strings.ToLower(read.ID), nil)
}

// guard is the last look at what goes to the cloud: at most 5 operations, every
// destination lies strictly inside an allowed range and is named once, what is added
// is spelled canonically, and what is written is an ecs route to a server.
func (ch Changes) guard(allowed []netip.Prefix) error {
	switch {
	case len(ch) == 0:
		return fmt.Errorf("%w: no change", ErrGuard)
	case len(ch) > MaxOps:
		return fmt.Errorf("%w: %d operations in one request", ErrGuard, len(ch))
	}
	seen := map[netip.Prefix]bool{}
	for _, op := range ch {
		p := ParseDestination(op.rawDestination()) // what the cloud will read
		switch {
		case p != op.Destination, op.Kind == Add && op.rawDestination() != p.String():
			return fmt.Errorf("%w: %s is spelled %q", ErrGuard, op.Destination, op.rawDestination())
		case !Inside(p, allowed):
			return fmt.Errorf("%w: %s is not strictly inside a permitted range", ErrGuard, op.rawDestination())
		case seen[p]:
			return fmt.Errorf("%w: two operations on %s", ErrGuard, p)
		case op.Kind != Delete && !op.writable():
			return fmt.Errorf("%w: %s is not a well-formed ecs route (type %q, description %q)", ErrGuard, op.Route, op.Type, op.Description)
		}
		seen[p] = true
	}
	return nil
}

// writable reports whether a route is one that this program may write.
func (r Route) writable() bool {
	return r.Type == TypeECS && IsUUID(r.NextHop) && len(r.Description) <= MaxDescription && !strings.ContainsAny(r.Description, "<>")
}

// Inside reports whether p lies strictly inside one of the ranges and is the whole
// of none. The default route never does, and permits nothing as a range.
func Inside(p netip.Prefix, ranges []netip.Prefix) bool {
	return p.IsValid() && !slices.Contains(ranges, p) && slices.ContainsFunc(ranges, func(r netip.Prefix) bool {
		return 0 < r.Bits() && r.Bits() < p.Bits() && r.Contains(p.Addr())
	})
}
