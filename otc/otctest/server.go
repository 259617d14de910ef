package otctest

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// What a new Server holds. Every value is invented.
const (
	Account    = "OTC00000000001000099999"
	User       = "svc-routes"
	Password   = "not-a-real-password"
	Project    = "eu-de_netops"
	ProjectID  = "5b0c9a7e2f4d4c1e9d8a6b3f7c2e1d04"
	VPCID      = "2d9c4f7a-61b8-4e3f-8a25-7c0e9b14d6f1"
	SubnetID   = "f06a2d81-9c34-47be-a5d7-3e8b1c60f942" // its network id, as in subnets[] and net_id
	SubnetCIDR = "10.20.0.0/24"
	TableID    = "8e1b5a3c-4f72-4d90-9c6e-b2a7d0f3e518"
)

// Names of operations, for [Fault], [Server.Count] and [Request].
const (
	OpLogin         = "login" // by password or ID token
	OpTableGet      = "table.get"
	OpTableList     = "table.list"
	OpTableUpdate   = "table.update"
	OpQuotas        = "quotas"
	OpServerGet     = "server.get"
	OpServerList    = "server.list"
	OpInterfaceList = "interface.list"
	OpPortList      = "port.list"
	OpProjects      = "projects"
	OpCatalog       = "catalog"
	OpOther         = "other" // a path or method that the cloud does not know
)

// maxBody is the largest request body that is read.
const maxBody = 1 << 20

// A Request is one call as it arrived.
type Request struct {
	Time   time.Time
	Op     string
	Method string
	Host   string
	Path   string
	Query  url.Values
	Header http.Header
	Body   []byte
	Status int // what was answered; 0: nothing, or not yet
}

// A Server is one account in one region. Its methods may be called at any
// time from any goroutine. Use [New]; the zero value is not usable.
type Server struct {
	endpoints []endpoint

	mu        sync.Mutex
	knobs     Knobs
	requests  []Request
	resets    int // how often Reset forgot requests
	faults    []*queued
	serial    int // of the next request; ids and tokens are derived from it
	users     map[string]*user
	providers map[string]IdentityProvider // by name
	projects  []project
	tokens    map[string]*token
	sent      map[string]*traffic // by user name
	subnets   []*Subnet
	tables    []*table
	writers   map[string]int // PUTs under way, by route table id
	servers   []Instance
}

// New returns a Server with one user, one project, one VPC of one subnet, that
// VPC's default route table, no routes but the local ones, and no servers.
func New() *Server {
	s := &Server{
		endpoints: endpoints(),
		knobs:     defaults(),
		users:     map[string]*user{User: {password: Password}},
		providers: map[string]IdentityProvider{},
		projects:  []project{{Project, ProjectID}},
		tokens:    map[string]*token{},
		sent:      map[string]*traffic{},
		writers:   map[string]int{},
	}
	s.AddTable(TableID, "rtb-netops", VPCID)
	s.AddSubnet(VPCID, Subnet{ID: SubnetID, CIDR: SubnetCIDR})
	return s
}

// Set changes how the Server behaves: f edits its [Knobs]. f must not call
// methods of the Server.
func (s *Server) Set(f func(*Knobs)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.knobs)
}

// Requests returns everything that arrived since New or [Server.Reset].
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Count returns how many requests of that operation arrived; "" counts all.
func (s *Server) Count(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for i := range s.requests {
		if op == "" || s.requests[i].Op == op {
			n++
		}
	}
	return n
}

// Reset forgets the requests. State, knobs and faults stay.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
	s.resets++
}

// ServeHTTP answers calls to IAM, VPC and ECS, told apart by path, on any host.
// Do not put it behind an http.ServeMux, which redirects the odd paths away.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		abort(w)
		return
	}
	a, err := s.serve(r, body)
	if err != nil {
		abort(w)
		return
	}
	a.write(r.Context(), w)
}

// RoundTrip answers like ServeHTTP, without a socket.
func (s *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		b, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		err = errors.Join(err, r.Body.Close())
		if err != nil {
			return nil, err
		}
		body = b
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	a, err := s.serve(r, body)
	if err != nil {
		return nil, err
	}
	return a.response(r), nil
}
