package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"otc-route-manager/otc"
)

// check reads what must be known before the first write, and refuses to go on unless
// nothing can be harmed.
func (r *run) check(ctx context.Context) error {
	r.kept["table"] = r.get(ctx, "vpc", "/routetables/"+r.Table)
	t, err := r.kept["table"].table()
	if err = errors.Join(r.err, err); err == nil {
		err = t.refuse(r.Table)
	}
	if err != nil {
		return fmt.Errorf("LIVE_ROUTE_TABLE: %w", err)
	}
	r.checked = t
	if err := r.overlap(t); err != nil {
		return err
	}
	if err := r.checkOthers(ctx); err != nil {
		return err
	}
	return r.checkInstance(ctx)
}

// refuse returns why a table must not be written. What the answer leaves out counts as
// the worst case.
func (t table) refuse(id string) error {
	switch {
	case !strings.EqualFold(t.ID, id) || t.VPC == "":
		return fmt.Errorf("the answer is about table %q of VPC %q", t.ID, t.VPC)
	case t.Default == nil || t.Subnets == nil || len(t.Routes) == 0:
		return errors.New("the answer does not say whether it is a default table, which subnets use it, or what the VPC's subnets are")
	case *t.Default:
		return errors.New("it is the default table of its VPC; create one for this")
	case len(*t.Subnets) > 0:
		return fmt.Errorf("%d subnets use it; create a table for this", len(*t.Subnets))
	case t.own() != nil:
		return fmt.Errorf("it is not empty, it holds %s; delete in the console what an earlier run has left (description %q), or create another table", t, mark)
	}
	return nil
}

// overlap refuses ranges that a route of the table meets. Local routes are the subnets.
func (r *run) overlap(t table) error {
	for _, o := range t.Routes {
		p := otc.ParseDestination(o.Destination)
		if i := slices.IndexFunc(r.Ranges, p.Overlaps); !p.IsValid() || i >= 0 && p.Bits() > 0 {
			return fmt.Errorf("LIVE_CIDR: it overlaps the %s route to %q in table %s of this VPC", o.Type, o.Destination, t.ID)
		}
	}
	return nil
}

// checkOthers does the same with the other tables of the VPC, if the user may see them.
func (r *run) checkOthers(ctx context.Context) error {
	a := r.get(ctx, "vpc", "/routetables?vpc_id="+r.checked.VPC)
	r.kept["tables"] = a
	var body struct {
		Tables []table `json:"routetables"`
	}
	if a.status != http.StatusOK || json.Unmarshal(a.body, &body) != nil || len(body.Tables) == 0 {
		r.unchecked = " (its other tables could not be read, that needs vpc:routeTables:list)"
		return r.err
	}
	for _, t := range body.Tables {
		if err := r.overlap(t); err != nil {
			return err
		}
	}
	return nil
}

// checkInstance refuses an instance that is not there, or not in the VPC.
func (r *run) checkInstance(ctx context.Context) error {
	a := r.get(ctx, "ecs", "/cloudservers/"+r.Instance)
	var body struct {
		Server otc.Server `json:"server"`
	}
	s := &body.Server
	switch {
	case r.err != nil:
		return r.err
	case a.status != http.StatusOK || json.Unmarshal(a.body, &body) != nil:
		return fmt.Errorf("LIVE_INSTANCE: it cannot be read: HTTP %s", a)
	case s.ID != r.Instance || s.VPCID != strings.ToLower(r.checked.VPC):
		return fmt.Errorf("LIVE_INSTANCE: instance %q is in VPC %q, the route table is in VPC %q", s.ID, s.VPCID, r.checked.VPC)
	}
	for _, addr := range s.Fixed {
		if slices.ContainsFunc(r.Ranges, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return fmt.Errorf("LIVE_CIDR: it holds %s, an address of the instance", addr)
		}
	}
	return nil
}
