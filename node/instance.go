package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"otc-route-manager/otc"
)

// errNoInstance means that no ECS instance could be proven to be the Node's.
var errNoInstance = errors.New("no ECS instance found for this Node")

// A locator is when the Node's instance is looked for, and the one that was found.
type locator struct {
	schedule
	server otc.Server // as last found; it outlives a Node whose routes are still to be removed
	found  bool       // it is this Node's
}

// findInstance returns the ECS instance behind a Node: by spec.providerID, else
// by systemUUID, else by InternalIP. Every candidate is verified: one of its fixed
// addresses must be the Node's InternalIP. A candidate that is gone or has another
// address gives way to the next; two hits are an error.
func findInstance(ctx context.Context, cloud Cloud, f Facts) (otc.Server, error) {
	if len(f.Addresses) == 0 {
		return otc.Server{}, fmt.Errorf("%w: the Node has no InternalIP yet: kubelet or the cloud provider sets it, see kubectl describe node", errNoInstance)
	}
	var s lookup
	if f.ProviderID != "" && f.providerInstance() == "" {
		s.note("providerID %q names no OTC instance", f.ProviderID)
	}
	server, found, err := s.byID(ctx, cloud, f)
	if found || err != nil {
		return server, err
	}
	hits, err := s.byAddress(ctx, cloud, f.Addresses)
	switch {
	case err != nil:
		return otc.Server{}, err
	case len(hits) == 0:
		return otc.Server{}, s.failed()
	case len(hits) > 1:
		return otc.Server{}, fmt.Errorf("%w: %d servers have its address: %s: only spec.providerID or the systemUUID can tell which", errNoInstance, len(hits), ids(hits))
	}
	return hits[0], nil
}

// A lookup is what looking for an instance has shown so far.
type lookup struct {
	notes    []string
	read     bool // a server that the Node names was read by its id
	deleting bool // a server that may be the Node's is being deleted
}

func (s *lookup) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// failed is the error of a lookup without a hit. What has succeeded is no cause: a
// server that was read proves the project, the region and the permission (R12).
func (s *lookup) failed() error {
	hint := "check OS_PROJECT_NAME and OS_REGION_NAME, and that the user may list servers (ecs:cloudServers:list)"
	switch {
	case s.deleting:
		hint = "wait: the Node goes with its server, or names a new one"
	case s.read:
		hint = "the Node's InternalIP is none of that server's addresses: check kubelet's --node-ip, and whether spec.providerID names this Node's server"
	}
	return fmt.Errorf("%w: %s: %s", errNoInstance, strings.Join(s.notes, "; "), hint)
}

// byID tries the ids that the Node names, each once. Without the permission to
// read a server by id it finds nothing.
func (s *lookup) byID(ctx context.Context, cloud Cloud, f Facts) (otc.Server, bool, error) {
	for _, id := range slices.Compact([]string{f.providerInstance(), f.systemInstance()}) {
		if id == "" {
			continue
		}
		server, err := cloud.Server(ctx, id)
		switch {
		case otc.IsNotFound(err):
			s.note("there is no server %s", id)
		case otc.IsForbidden(err):
			return otc.Server{}, false, nil
		case err != nil:
			return otc.Server{}, false, err
		case server.Deleting:
			s.deleting = true
			s.note("server %s is being deleted", id)
		case !server.HasAny(f.Addresses):
			s.read = true
			s.note("server %s has the addresses %v, the Node %v", id, server.Fixed, f.Addresses)
		default:
			return server, true, nil
		}
	}
	return otc.Server{}, false, nil
}

// byAddress lists the servers with one of the Node's IPv4 addresses; the API
// filters by IPv4 only.
func (s *lookup) byAddress(ctx context.Context, cloud Cloud, addresses []netip.Addr) ([]otc.Server, error) {
	var all []otc.Server
	for _, a := range addresses {
		if !a.Is4() {
			s.note("ECS finds no server by the IPv6 address %v", a)
			continue
		}
		hits, err := cloud.ServersByIP(ctx, a)
		if err != nil {
			return nil, err
		}
		if len(hits) == 0 {
			s.note("ECS lists no server with the address %v", a)
		}
		for _, hit := range hits {
			switch {
			case hit.Deleting:
				s.deleting = true
				s.note("server %s, which has the address %v, is being deleted", hit.ID, a)
			case !slices.ContainsFunc(all, func(known otc.Server) bool { return known.ID == hit.ID }):
				all = append(all, hit)
			}
		}
	}
	return all, nil
}

func ids(servers []otc.Server) string {
	var out []string
	for _, s := range servers {
		out = append(out, s.ID)
	}
	return strings.Join(out, ", ")
}
