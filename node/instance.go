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

// ErrNoInstance means that no ECS instance could be proven to be the Node's.
var ErrNoInstance = errors.New("no ECS instance found for this Node")

// A locator knows the ECS instance behind the Node, or when it is looked for
// next.
type locator struct {
	clock
	server otc.Server // as last found; it outlives a Node whose routes are still to be removed
	found  bool       // it is this Node's
}

// locate looks for the instance. It reports whether it was found.
func (l *locator) locate(ctx context.Context, e env, f Facts) bool {
	server, err := findInstance(ctx, e.cloud, f)
	switch {
	case err == nil:
		*l = locator{server: server, found: true}
		e.rec.state("instance", info, "", "node "+e.cfg.NodeName+" is ECS instance "+server.ID+" ("+server.Name+")")
	case !errors.Is(ctx.Err(), context.Canceled): // else the pass was ended, which says nothing
		wait := l.backOff(err)
		e.rec.failure("instance", routeFailed, unlessLogin(err, "could not find the ECS instance of "+e.cfg.NodeName), err, wait)
	}
	return l.found
}

// findInstance returns the ECS instance behind a Node: by spec.providerID, else
// by systemUUID, else by InternalIP, else by name. Every candidate is verified:
// one of its fixed addresses must be the Node's InternalIP. A candidate that is
// gone or has another address gives way to the next; two hits are an error.
func findInstance(ctx context.Context, cloud Cloud, f Facts) (otc.Server, error) {
	if len(f.Addresses) == 0 {
		return otc.Server{}, fmt.Errorf("%w: the Node has no InternalIP yet: kubelet or the cloud provider sets it, see kubectl describe node", ErrNoInstance)
	}
	var notes []string
	if f.ProviderID != "" && f.providerInstance() == "" {
		notes = append(notes, fmt.Sprintf("providerID %q names no OTC instance", f.ProviderID))
	}
	server, found, err := byID(ctx, cloud, f, &notes)
	if found || err != nil {
		return server, err
	}
	for _, find := range []func() ([]otc.Server, error){
		func() ([]otc.Server, error) { return byAddress(ctx, cloud, f.Addresses) },
		func() ([]otc.Server, error) { return cloud.ServersByName(ctx, f.Name) },
	} {
		hits, err := find()
		if err != nil {
			return otc.Server{}, err
		}
		hits = slices.DeleteFunc(hits, func(s otc.Server) bool { return s.Deleting || !s.HasAny(f.Addresses) })
		switch len(hits) {
		case 0:
		case 1:
			return hits[0], nil
		default:
			return otc.Server{}, fmt.Errorf("%w: %d servers have its address: %s: only spec.providerID or the systemUUID can tell which", ErrNoInstance, len(hits), ids(hits))
		}
	}
	notes = append(notes, fmt.Sprintf("the project has no server with the address %v", f.Addresses))
	return otc.Server{}, fmt.Errorf("%w: %s: check OS_PROJECT_NAME and OS_REGION_NAME, and that the user may list servers (ecs:cloudServers:list)", ErrNoInstance, strings.Join(notes, "; "))
}

// byID tries the ids that the Node names, each once. Without the permission to
// read a server by id it finds nothing.
func byID(ctx context.Context, cloud Cloud, f Facts, notes *[]string) (otc.Server, bool, error) {
	candidates := []string{f.providerInstance(), f.systemInstance()}
	if id := f.systemInstance(); id != "" {
		candidates = append(candidates, swapped(id))
	}
	var tried []string
	for _, id := range candidates {
		if id == "" || slices.Contains(tried, id) {
			continue
		}
		tried = append(tried, id)
		server, err := cloud.Server(ctx, id)
		switch {
		case otc.IsNotFound(err):
			*notes = append(*notes, "there is no server "+id)
		case otc.IsForbidden(err):
			return otc.Server{}, false, nil
		case err != nil:
			return otc.Server{}, false, err
		case server.Deleting:
			*notes = append(*notes, "server "+id+" is being deleted")
		case !server.HasAny(f.Addresses):
			*notes = append(*notes, fmt.Sprintf("server %s has the addresses %v, the Node %v", id, server.Fixed, f.Addresses))
		default:
			return server, true, nil
		}
	}
	return otc.Server{}, false, nil
}

// byAddress lists the servers with one of the Node's IPv4 addresses; the API
// filters by IPv4 only.
func byAddress(ctx context.Context, cloud Cloud, addresses []netip.Addr) ([]otc.Server, error) {
	var all []otc.Server
	for _, a := range addresses {
		if !a.Is4() {
			continue
		}
		hits, err := cloud.ServersByIP(ctx, a)
		if err != nil {
			return nil, err
		}
		for _, s := range hits {
			if !slices.ContainsFunc(all, func(known otc.Server) bool { return known.ID == s.ID }) {
				all = append(all, s)
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
