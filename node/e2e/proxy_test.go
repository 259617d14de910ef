package e2e

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A proxy stands between the program and the API server and forwards bytes, unless told not to.
type proxy struct {
	listener net.Listener
	target   string

	mu     sync.Mutex
	open   []*link
	refuse bool
	turned int // connections that came to nothing
}

// A link is one forwarded connection.
type link struct {
	client, server *net.TCPConn
	stalled        chan struct{} // closed: what arrives is swallowed
	stall          sync.Once
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target}
	go p.serve()
	t.Cleanup(func() {
		l.Close()
		p.cut()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.forward(client.(*net.TCPConn))
	}
}

func (p *proxy) forward(client *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	server, err := net.Dial("tcp", p.target)
	if err != nil || p.refuse {
		p.turned++
		reset(client)
		return
	}
	l := &link{client: client, server: server.(*net.TCPConn), stalled: make(chan struct{})}
	p.open = append(p.open, l)
	go l.copy(l.server, l.client)
	go l.copy(l.client, l.server)
}

// copy forwards one direction. A stalled link goes on reading, so that the sender sees nothing
// unusual: as behind a firewall that has forgotten the connection.
func (l *link) copy(to, from *net.TCPConn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-l.stalled:
			if err != nil {
				return
			}
			continue
		default:
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err == io.EOF {
				_ = to.CloseWrite() // the peer may be gone
			} else {
				reset(to)
			}
			return
		}
	}
}

// cut resets all connections and returns how many there were.
func (p *proxy) cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.open)
	for _, l := range p.open {
		reset(l.client)
		reset(l.server)
	}
	p.open = nil
	return n
}

// down cuts all connections and resets new ones, until up.
func (p *proxy) down() {
	p.mu.Lock()
	p.refuse = true
	p.mu.Unlock()
	p.cut()
}

// turnedAway returns how many connections came to nothing so far.
func (p *proxy) turnedAway() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.turned
}

func (p *proxy) up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = false
}

// stall lets no more bytes through the present connections, and tells neither side. New ones
// work.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.open {
		l.stall.Do(func() { close(l.stalled) })
	}
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // may be closed already
	c.Close()
}
