package otctest

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// UserData is in every server's body, as a secret might be.
const UserData = "#cloud-config: not-a-real-secret"

// CheckOff as one of an Instance's AllowedPairs switches its NICs'
// source/destination check off.
const CheckOff = "1.1.1.1/0"

// An Instance is a server. Empty fields get values that fit.
type Instance struct {
	ID        string
	Name      string
	VPCID     string   // "": [VPCID]
	NetworkID string   // of the first NIC; "": the subnet that holds its address
	Status    string   // "": ACTIVE
	TaskState string   // "": null
	Fixed     []string // addresses of the first NIC, the primary one first
	Floating  []string // public addresses of the first NIC
	NICs      []NIC    // further ones

	AllowedPairs   []string // of every NIC; [CheckOff] for one that forwards
	NoPortSecurity bool     // of every NIC
}

// A NIC is a further network interface of an [Instance].
type NIC struct {
	VPCID     string // "": the VPC of the Instance
	NetworkID string // "": the subnet that holds its address
	Addresses []string

	AllowedPairs []string // nil: those of the Instance
}

// port is a NIC with all it has.
type port struct {
	NIC
	id, mac  string
	floating []string
}

// AddServer adds a server, or replaces the one with that id.
func (s *Server) AddServer(i Instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i.ID = cmp.Or(i.ID, uuid("server "+i.Name))
	i.VPCID = cmp.Or(i.VPCID, VPCID)
	i.Status = cmp.Or(i.Status, "ACTIVE")
	if at := s.server(i.ID); at >= 0 {
		s.servers[at] = i
		return
	}
	s.servers = append(s.servers, i)
}

// DeleteServer removes a server, if it exists. Routes to it stay unless the
// knob RoutesVanish is set.
func (s *Server) DeleteServer(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers = slices.DeleteFunc(s.servers, func(i Instance) bool { return i.ID == id })
	if !s.knobs.RoutesVanish {
		return
	}
	toIt := func(r Route) bool { return r.Type == "ecs" && r.NextHop == id }
	for _, t := range s.tables {
		if slices.ContainsFunc(t.routes, toIt) {
			t.store(slices.DeleteFunc(slices.Clone(t.routes), toIt), s.knobs.StaleReads)
		}
	}
}

func (s *Server) server(id string) int {
	return slices.IndexFunc(s.servers, func(i Instance) bool { return i.ID == id })
}

// ports returns the NICs of a server, the primary one first.
func (s *Server) ports(i Instance) []port {
	nics := append([]NIC{{VPCID: i.VPCID, NetworkID: i.NetworkID, Addresses: i.Fixed}}, i.NICs...)
	var list []port
	for n, nic := range nics {
		nic.VPCID = cmp.Or(nic.VPCID, i.VPCID)
		if nic.NetworkID == "" {
			nic.NetworkID = s.network(nic)
		}
		id := uuid(fmt.Sprint("port ", i.ID, n))
		p := port{NIC: nic, id: id, mac: "fa:16:3e:" + id[:2] + ":" + id[2:4] + ":" + id[4:6]}
		if n == 0 {
			p.floating = i.Floating
		}
		list = append(list, p)
	}
	return list
}

// network returns the subnet of a NIC by its addresses.
func (s *Server) network(nic NIC) string {
	for _, a := range nic.Addresses {
		addr, err := netip.ParseAddr(a)
		for _, n := range s.subnets {
			p, ok := prefix(n.CIDR)
			if err == nil && ok && n.VPCID == nic.VPCID && p.Contains(addr) {
				return n.ID
			}
		}
	}
	return ""
}

// family is 4 or 6.
func family(addr string) int {
	if strings.Contains(addr, ":") {
		return 6
	}
	return 4
}

// showServer returns a server. Only the answer for a single one says which
// address is the primary one.
func (s *Server) showServer(c *call, i Instance, single bool) object {
	var task any
	if i.TaskState != "" {
		task = i.TaskState
	}
	metadata := object{"charging_mode": "0", "os_type": "Linux"}
	if i.Status != "BUILD" {
		metadata["vpc_id"] = i.VPCID
	}
	stamp := time.Date(2026, 5, 4, 7, 40, 0, 0, time.UTC).Format(time.RFC3339)
	o := object{
		"id": i.ID, "name": i.Name, "status": i.Status, "tenant_id": ProjectID, "hostId": compactID("host " + i.ID),
		"addresses": s.addresses(c, i, single), "metadata": metadata, "created": stamp, "updated": stamp,
		"flavor": object{"id": "s3.large.4", "name": "s3.large.4", "vcpus": "2", "ram": "8192", "disk": "0"},
		"image":  object{"id": uuid("image")}, "fault": nil, "tags": []string{}, "progress": 0,
		"OS-EXT-STS:vm_state": strings.ToLower(i.Status), "OS-EXT-STS:task_state": task, "OS-EXT-STS:power_state": 1,
		"OS-EXT-AZ:availability_zone":          "eu-de-01",
		"OS-EXT-SRV-ATTR:user_data":            base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%-*s", c.knobs.UserDataSize, UserData)),
		"os-extended-volumes:volumes_attached": []object{{"id": uuid("volume " + i.ID), "delete_on_termination": "false"}},
	}
	return o
}

// addresses returns a server's addresses by VPC id.
func (s *Server) addresses(c *call, i Instance, single bool) map[string][]object {
	all := map[string][]object{}
	for n, p := range s.ports(i) {
		add := func(addr, kind string, primary bool) {
			o := object{"addr": addr, "version": strconv.Itoa(family(addr)), "OS-EXT-IPS:type": kind,
				"OS-EXT-IPS:port_id": p.id, "OS-EXT-IPS-MAC:mac_addr": p.mac}
			if c.knobs.NumericVersion {
				o["version"] = family(addr)
			}
			if primary && single {
				o["primary"] = true
			}
			all[p.VPCID] = append(all[p.VPCID], o)
		}
		for j, a := range p.Addresses {
			add(a, "fixed", n == 0 && j == 0)
		}
		for _, a := range p.floating {
			add(a, "floating", false)
		}
	}
	return all
}

// getServer is GET /v1/{project}/cloudservers/{id}.
func (s *Server) getServer(c *call) answer {
	i := s.server(c.id)
	if i < 0 || c.knobs.Amnesia {
		return c.noServer()
	}
	return c.reply(http.StatusOK, object{"server": s.showServer(c, s.servers[i], true)})
}

func (c *call) noServer() answer {
	return c.fail(0, http.StatusNotFound, "", "Instance["+c.id+"] could not be found.")
}

// listServers is GET /v1/{project}/cloudservers/detail; offset counts pages.
func (s *Server) listServers(c *call) answer {
	limit, ok := c.number("limit", 25, 1000)
	page, ok2 := c.number("offset", 1, 1<<30)
	if !ok || !ok2 {
		return c.fail(0, http.StatusBadRequest, "Ecs.0005", "limit or offset is invalid.")
	}
	list := s.searched(c)
	from := min((max(page, 1)-1)*limit, len(list))
	shown := []object{}
	for _, i := range list[from:min(from+limit, len(list))] {
		shown = append(shown, s.showServer(c, i, false))
	}
	return c.reply(http.StatusOK, object{"count": len(list), "servers": shown})
}

// number returns a number of the query, from 0 to limit.
func (c *call) number(name string, missing, limit int) (int, bool) {
	v := c.Query.Get(name)
	if v == "" {
		return missing, true
	}
	n, err := strconv.Atoi(v)
	return n, err == nil && n >= 0 && n <= limit
}

// searched returns the servers that the query selects. Name and ip find parts,
// and a dot in them is any character.
func (s *Server) searched(c *call) []Instance {
	name, ip, status := fuzzy(c.Query.Get("name")), fuzzy(c.Query.Get("ip")), c.Query.Get("status")
	var list []Instance
	for _, i := range s.servers {
		if !c.knobs.Amnesia && name.MatchString(i.Name) && (status == "" || status == i.Status) && s.anyAddress(i, ip) {
			list = append(list, i)
		}
	}
	return list
}

func (s *Server) anyAddress(i Instance, ip *regexp.Regexp) bool {
	if ip.String() == "" {
		return true
	}
	for _, p := range s.ports(i) {
		if slices.ContainsFunc(p.Addresses, func(a string) bool { return family(a) == 4 && ip.MatchString(a) }) {
			return true
		}
	}
	return false
}

func fuzzy(pattern string) *regexp.Regexp {
	return regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(pattern), `\.`, "."))
}

// fixedIPs returns the addresses of a NIC; its subnet id is not its network id.
func (p port) fixedIPs() []object {
	list := []object{}
	for _, a := range p.Addresses {
		list = append(list, object{"subnet_id": uuid("subnet " + p.NetworkID), "ip_address": a})
	}
	return list
}

// listInterfaces is GET /v1/{project}/cloudservers/{id}/os-interface.
func (s *Server) listInterfaces(c *call) answer {
	i := s.server(c.id)
	if i < 0 || c.knobs.Amnesia {
		return c.noServer()
	}
	list := []object{}
	for _, p := range s.ports(s.servers[i]) {
		list = append(list, object{"port_id": p.id, "net_id": p.NetworkID, "mac_addr": p.mac, "port_state": "ACTIVE",
			"fixed_ips": p.fixedIPs(), "delete_on_termination": false,
			"driver_mode": nil, "min_rate": nil, "multiqueue_num": nil, "pci_address": nil})
	}
	return c.reply(http.StatusOK, object{"interfaceAttachments": list,
		"attachableQuantity": object{"free_nic": 12 - len(list), "free_efi_nic": 0}})
}

// listPorts is GET /v2.0/ports.
func (s *Server) listPorts(c *call) answer {
	list := []object{}
	for _, i := range s.servers {
		if id := c.Query.Get("device_id"); id != "" && id != i.ID {
			continue
		}
		for _, p := range s.ports(i) {
			pairs := []object{}
			allowed := p.AllowedPairs
			if allowed == nil {
				allowed = i.AllowedPairs
			}
			for _, ip := range allowed {
				pairs = append(pairs, object{"ip_address": ip, "mac_address": p.mac})
			}
			list = append(list, object{"id": p.id, "device_id": i.ID, "device_owner": "compute:eu-de-01", "name": "",
				"network_id": p.NetworkID, "status": "ACTIVE", "mac_address": p.mac, "fixed_ips": p.fixedIPs(),
				"allowed_address_pairs": pairs, "port_security_enabled": !i.NoPortSecurity, "tenant_id": ProjectID})
		}
	}
	return c.reply(http.StatusOK, object{"ports": list})
}
