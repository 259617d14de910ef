package otc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	pageSize = 200 // servers a page; the ECS API's advice, its default is 25
	maxPages = maxServers / pageSize
)

// A Server is what we need of an ECS instance. Its other members may hold
// secrets (user data) and are never decoded.
type Server struct {
	ID       string // in lower case, as all ids
	Name     string
	VPCID    string       // "" while the server is being built
	Fixed    []netip.Addr // addresses of its NICs, floating ones left out
	Deleting bool         // it is on its way out
}

// UnmarshalJSON takes a server of the ECS API (v1) or the compute API (v2.1). A member
// of another kind than documented counts as not there: the others are good.
func (s *Server) UnmarshalJSON(b []byte) error {
	var w struct {
		ID        any             `json:"id"`
		Name      any             `json:"name"`
		Status    any             `json:"status"`
		TaskState any             `json:"OS-EXT-STS:task_state"`
		Metadata  json.RawMessage `json:"metadata"`
		Addresses json.RawMessage `json:"addresses"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	var metadata struct {
		VPCID any `json:"vpc_id"`
	}
	_ = json.Unmarshal(w.Metadata, &metadata)
	*s = Server{ID: strings.ToLower(word(w.ID)), Name: word(w.Name), VPCID: strings.ToLower(word(metadata.VPCID)),
		Fixed: fixed(w.Addresses), Deleting: w.Status == "DELETED" || w.TaskState == "deleting"}
	return nil
}

// fixed returns the fixed addresses of a server, by network and address.
func fixed(b json.RawMessage) (out []netip.Addr) {
	var networks map[string]json.RawMessage
	_ = json.Unmarshal(b, &networks)
	for _, network := range networks {
		var addresses []struct {
			Addr any `json:"addr"`
			Type any `json:"OS-EXT-IPS:type"`
		}
		_ = json.Unmarshal(network, &addresses)
		for _, a := range addresses {
			if addr, err := netip.ParseAddr(word(a.Addr)); err == nil && (a.Type == "fixed" || a.Type == "" || a.Type == nil) {
				out = append(out, addr)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// HasAny reports whether one of the addresses is a fixed address of the server.
func (s Server) HasAny(addresses []netip.Addr) bool {
	return slices.ContainsFunc(addresses, func(a netip.Addr) bool { return slices.Contains(s.Fixed, a) })
}

// Server reads one server (ECS API, "Querying Details About an ECS"). IsNotFound
// reports that it is gone.
func (c *Client) Server(ctx context.Context, id string) (Server, error) {
	if !IsUUID(id) {
		return Server{}, fmt.Errorf("server id %q is not a UUID", id)
	}
	var answer struct {
		Server *Server `json:"server"`
	}
	k := &call{service: "ecs", operation: opServer, method: http.MethodGet}
	if err := c.do(ctx, k, "/cloudservers/"+strings.ToLower(id), &answer); err != nil {
		return Server{}, err
	}
	if answer.Server == nil || !strings.EqualFold(answer.Server.ID, id) {
		return Server{}, k.malformed(errors.New("it holds no server " + id))
	}
	return *answer.Server, nil
}

// ServersByIP returns the servers that have exactly this fixed address. The
// API's own filter is fuzzy, and knows IPv4 only.
func (c *Client) ServersByIP(ctx context.Context, ip netip.Addr) ([]Server, error) {
	servers, err := c.servers(ctx, ip.String())
	return slices.DeleteFunc(servers, func(s Server) bool { return !slices.Contains(s.Fixed, ip) }), err
}

// Servers returns all servers of the project that the user may see. An empty
// list may be a missing permission.
func (c *Client) Servers(ctx context.Context) ([]Server, error) { return c.servers(ctx, "") }

// servers reads all pages of a server list, filtered by address unless ip is "" (ECS
// API, "Querying Details About ECSs").
// The API's offset is a page number from 1, and rows may move between pages while
// we read.
func (c *Client) servers(ctx context.Context, ip string) ([]Server, error) {
	var all []Server
	known, rows := map[string]bool{}, 0
	for page := 1; page <= maxPages; page++ {
		p := serverPage{rowsBefore: rows}
		query := url.Values{"limit": {strconv.Itoa(pageSize)}, "offset": {strconv.Itoa(page)}}
		if ip != "" {
			query.Set("ip", ip)
		}
		k := &call{service: "ecs", operation: opServers, method: http.MethodGet, decodeStream: p.decode}
		if err := c.do(ctx, k, "/cloudservers/detail?"+query.Encode(), nil); err != nil {
			return nil, err
		}
		for _, s := range p.servers {
			if !known[s.ID] {
				known[s.ID] = true
				all = append(all, s)
			}
		}
		rows += p.rows
		if p.rows == 0 || p.count > 0 && rows >= p.count || p.count == 0 && p.rows < pageSize {
			return all, nil
		}
	}
	return nil, fmt.Errorf("the list of servers has more than %d pages", maxPages)
}

// A serverPage is one answer of a server list.
type serverPage struct {
	rowsBefore int  // in the pages before
	count      int  // of all pages; 0: not said
	listed     bool // there is a list: without one, an answer says nothing of servers
	rows       int  // in the list, of any kind
	servers    []Server
}

// decode keeps one server at a time: with user data, a page is as large as 9 MB. A row
// without an id is passed over.
func (p *serverPage) decode(d stream) error {
	*p = serverPage{rowsBefore: p.rowsBefore} // an attempt before may have come half of the way
	err := d.members(func(name string) (bool, error) {
		switch name {
		case "count":
			return true, d.odd(&p.count)
		case "servers":
			p.listed = true
			return true, d.each('[', func() error { return p.row(d) })
		}
		return false, nil
	})
	if err == nil && !p.listed {
		err = errors.New("it holds no list of servers")
	}
	return err
}

func (p *serverPage) row(d stream) error {
	if p.rows++; p.rowsBefore+p.rows > maxServers {
		return fmt.Errorf("%w %d servers", errTooMany, maxServers)
	}
	var s Server
	err := d.odd(&s)
	if err == nil && s.ID != "" {
		p.servers = append(p.servers, s)
	}
	return err
}

// A Port is a NIC of a server as Neutron shows it.
type Port struct {
	NetworkID string       // what a route table lists as subnet
	Addresses []netip.Addr // fixed ones
	Pairs     []string     // addresses and prefixes that may pass besides

	NoSecurity bool // port security is off
}

// wirePort is a port as the API writes it. What is of another type than documented counts as absent.
type wirePort struct {
	NetworkID text          `json:"network_id"`
	FixedIPs  wireAddresses `json:"fixed_ips"`
	Pairs     wireAddresses `json:"allowed_address_pairs"`
	Security  any           `json:"port_security_enabled"`
}

type wireAddresses []struct {
	IP text `json:"ip_address"`
}

func (a *wireAddresses) UnmarshalJSON(b []byte) error {
	type list wireAddresses // without this method
	_ = json.Unmarshal(b, (*list)(a))
	return nil
}

func (w *wirePort) port() Port {
	p := Port{NetworkID: strings.ToLower(string(w.NetworkID)), NoSecurity: w.Security == false}
	for _, a := range w.FixedIPs {
		if addr, err := netip.ParseAddr(string(a.IP)); err == nil {
			p.Addresses = append(p.Addresses, addr)
		}
	}
	for _, a := range w.Pairs {
		p.Pairs = append(p.Pairs, string(a.IP))
	}
	return p
}

// A SourceCheck says what is known of a port's source/destination check.
type SourceCheck string

// The states of a source/destination check. Only the address pair 1.1.1.1/0 is documented as off (VPC API,
// querying a port); what else may let foreign addresses through proves neither.
const (
	CheckOff       SourceCheck = "off"
	CheckOn        SourceCheck = "on"
	checkNoPortSec SourceCheck = "port security is off, which is not documented as enough"
	checkPairs     SourceCheck = "address pairs cover pod addresses, which is not documented as enough"
)

// SourceCheck judges the port's check for traffic from and to pods in these subnets.
func (p Port) SourceCheck(pods []netip.Prefix) SourceCheck {
	check := CheckOn
	for _, pair := range p.Pairs {
		if pair == "1.1.1.1/0" {
			return CheckOff
		}
		if slices.ContainsFunc(pods, ParseDestination(pair).Overlaps) {
			check = checkPairs
		}
	}
	if p.NoSecurity {
		return checkNoPortSec
	}
	return check
}

// Ports returns the NICs of a server (VPC API, native OpenStack Neutron, "Querying
// Ports"). Without the permission vpc:ports:get the
// cloud answers an empty list, so no ports means nothing is known.
func (c *Client) Ports(ctx context.Context, serverID string) ([]Port, error) {
	if !IsUUID(serverID) {
		return nil, fmt.Errorf("server id %q is not a UUID", serverID)
	}
	var answer struct {
		Ports *[]wirePort `json:"ports"`
	}
	k := &call{service: "vpc", operation: opPorts, method: http.MethodGet}
	if err := c.do(ctx, k, "/v2.0/ports?"+url.Values{"device_id": {serverID}}.Encode(), &answer); err != nil {
		return nil, err
	}
	if answer.Ports == nil {
		return nil, k.malformed(errors.New("it holds no list of ports"))
	}
	ports := make([]Port, 0, len(*answer.Ports))
	for _, w := range *answer.Ports {
		ports = append(ports, w.port())
	}
	return ports, nil
}
