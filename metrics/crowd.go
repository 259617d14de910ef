package metrics

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
)

// maxConnections is how many connections may be open at a time: many more than
// kubelet, Prometheus and a few people need, and little memory.
const maxConnections = 32

// A crowd keeps the number of open connections small. Whoever comes gets in, or a
// flood would fail the kubelet's probe and have the pod restarted. Whoever holds
// most connections gives way with the one that has been at rest longest; if none of
// them is, with the one whose request began first.
type crowd struct {
	mu   sync.Mutex
	open []visitor // in their present state since longest first
}

type visitor struct {
	net.Conn
	from netip.Addr
	busy int // 1 in the middle of a request
}

// changed is the ConnState hook of a server, which tells it of a new connection
// before it accepts the next.
func (c *crowd) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.leave(conn)
	v := visitor{Conn: conn}
	switch {
	case state == http.StateNew:
		c.makeRoom()
	case !known || state == http.StateClosed || state == http.StateHijacked:
		return
	case state == http.StateActive:
		v.busy = 1
	}
	if peer, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		v.from = peer.AddrPort().Addr()
	}
	c.open = append(c.open, v)
}

// leave takes a connection out and reports whether it was there.
func (c *crowd) leave(conn net.Conn) bool {
	before := len(c.open)
	c.open = slices.DeleteFunc(c.open, func(v visitor) bool { return v.Conn == conn })
	return len(c.open) < before
}

// makeRoom closes a connection if there is no room for another one.
func (c *crowd) makeRoom() {
	if len(c.open) < maxConnections {
		return
	}
	held := map[netip.Addr]int{}
	for _, v := range c.open {
		held[v.from]++
	}
	victim := slices.MinFunc(c.open, func(a, b visitor) int {
		return cmp.Or(held[b.from]-held[a.from], a.busy-b.busy)
	})
	c.leave(victim.Conn)
	_ = victim.Close() // its goroutine ends with its next read or write
}
