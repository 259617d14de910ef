package metrics

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"otc-route-manager/metrics/status"
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

// RunningPodStatus returns what the program that runs in the same pod answers on
// /health?status=1, within 2 s; the zero Summary if it does not.
func RunningPodStatus(port int) (s status.Summary) {
	client := http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/health?status=1", port))
	if err != nil {
		return s
	}
	defer resp.Body.Close()
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&s) != nil {
		return status.Summary{}
	}
	return s
}
