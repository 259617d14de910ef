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

// A connLimiter keeps the number of open connections small. A new connection is always
// accepted, so that a flood cannot fail the kubelet's probe and have the pod restarted.
// It evicts a connection of the peer that holds the most: the one that has been idle
// longest; if none is idle, the one whose request began first.
type connLimiter struct {
	mu   sync.Mutex
	open []conn // longest in their present state first
}

type conn struct {
	net.Conn
	peer netip.Addr
	busy int // 1 in the middle of a request
}

// changed is the ConnState hook of a server, which reports a new connection before it
// accepts the next.
func (c *connLimiter) changed(nc net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.remove(nc)
	added := conn{Conn: nc}
	switch {
	case state == http.StateNew:
		c.evict()
	case !known || state == http.StateClosed || state == http.StateHijacked:
		return
	case state == http.StateActive:
		added.busy = 1
	}
	if peer, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		added.peer = peer.AddrPort().Addr()
	}
	c.open = append(c.open, added)
}

// remove reports whether the connection was open.
func (c *connLimiter) remove(nc net.Conn) bool {
	before := len(c.open)
	c.open = slices.DeleteFunc(c.open, func(open conn) bool { return open.Conn == nc })
	return len(c.open) < before
}

// evict closes a connection if no other may be opened.
func (c *connLimiter) evict() {
	if len(c.open) < maxConnections {
		return
	}
	connections := map[netip.Addr]int{}
	for _, open := range c.open {
		connections[open.peer]++
	}
	evicted := slices.MinFunc(c.open, func(a, b conn) int {
		return cmp.Or(connections[b.peer]-connections[a.peer], a.busy-b.busy)
	})
	c.remove(evicted.Conn)
	_ = evicted.Close() // its goroutine ends with its next read or write
}
