package metrics

import (
	"net"
	"net/netip"
	"slices"
)

// Address returns where this pod answers on a port: its own address in one of the
// subnets that are routed to the Node, or the zero AddrPort.
func Address(subnets []netip.Prefix, port int) netip.AddrPort {
	addrs, _ := net.InterfaceAddrs() // none is as good as an error
	for _, a := range addrs {
		own, err := netip.ParsePrefix(a.String())
		if err == nil && slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.Contains(own.Addr()) }) {
			return netip.AddrPortFrom(own.Addr(), uint16(port))
		}
	}
	return netip.AddrPort{}
}
