package node

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"otc-route-manager/node/nodetest"
	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// A trial is one run of -check: both pretend worlds, with one worker whose route
// is missing and nothing else wrong, and the configuration for them.
type trial struct {
	*otctest.Server
	kube    *nodetest.Server
	kubeErr error // what asking the API server comes to; nil: an answer
	node    *corev1.Node
	server  otctest.Instance
	cfg     Config
	otc     otc.Config
}

func newTrial() *trial {
	c := &trial{Server: otctest.New(), kube: nodetest.New()}
	c.server = otctest.Instance{ID: ecsID(1), Name: "worker-1", Fixed: []string{addrOf(1).String()}, AllowedPairs: []string{otctest.CheckOff}}
	c.node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker-1", Annotations: map[string]string{SubnetsAnnotation: annotation("10.128.2.0/23")}}}
	c.node.Spec.ProviderID = "openstack:///" + ecsID(1)
	c.node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addrOf(1).String()}}
	c.cfg = Config{NodeName: "worker-1", Ranges: []netip.Prefix{clusterRange()}, Tables: []string{mainTable}}
	c.otc = otc.Config{
		AuthURL: "https://iam.eu-de.otc.test/v3", DomainName: otctest.Account, ProjectName: otctest.Project, Region: "eu-de",
		Credentials: func() (string, otc.Secret, error) { return otctest.User, otc.NewSecret(otctest.Password), nil },
		Allowed:     c.cfg.Ranges, Transport: c.Server, OneLogin: true,
	}
	return c
}

// kubeWire is the API server without a socket, which would stop the bubble's clock.
type kubeWire struct{ *trial }

func (k kubeWire) RoundTrip(r *http.Request) (*http.Response, error) {
	if k.kubeErr != nil {
		return nil, k.kubeErr
	}
	w := httptest.NewRecorder()
	k.kube.ServeHTTP(w, r)
	return w.Result(), nil
}

// run runs -check in fake time on what edit makes of the trial, and returns what
// it printed. It fails the test if the run wrote anything anywhere, logged in
// twice, took long, told the password or returned another result than its lines say.
func run(t *testing.T, edit func(*trial)) (out string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newTrial()
		edit(c)
		c.AddServer(c.server)
		if c.node != nil {
			c.kube.Put(c.node)
		}
		kube, err := NewKube(&rest.Config{Host: "https://kube.test", Transport: kubeWire{c}}, c.cfg.NodeName, nil)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		began := time.Now()
		ok := Check(t.Context(), &b, otc.New(c.otc, nil), kube.Get, c.cfg)
		out = b.String()
		if want := !strings.Contains(out, "❌"); ok != want {
			t.Errorf("got %v, want %v", ok, want)
		}
		if took := time.Since(began); took > 16*time.Second {
			t.Errorf("it took %v", took)
		}
		if n := c.Count(otctest.OpLogin); n > 1 {
			t.Errorf("%d logins", n)
		}
		for _, r := range c.Requests() {
			if r.Method != http.MethodGet && !strings.HasSuffix(r.Path, "/auth/tokens") {
				t.Errorf("wrote to the cloud: %s %s", r.Method, r.Path)
			}
		}
		for _, r := range c.kube.Requests() {
			if r.Verb != "get" {
				t.Errorf("asked the API server to %s %s", r.Verb, r.Resource)
			}
		}
		if strings.Contains(out, otctest.Password) {
			t.Error("told the password")
		}
	})
	return out
}

// inOrder is what -check prints if nothing is wrong.
func inOrder() []string {
	return []string{
		"✅ configuration: Node worker-1, CLUSTER_CIDR 10.128.0.0/14, 1 route table",
		"✅ login: project 5b0c9a7e2f4d4c1e9d8a6b3f7c2e1d04, token until 2000-01-02T00:00:00Z",
		"✅ endpoint: ecs is https://ecs.eu-de.otc.test/v1/5b0c9a7e2f4d4c1e9d8a6b3f7c2e1d04",
		"✅ endpoint: vpc is https://vpc.eu-de.otc.test/v1/5b0c9a7e2f4d4c1e9d8a6b3f7c2e1d04",
		`✅ route table 8e1b5a3c-4f72-4d90-9c6e-b2a7d0f3e518: "rtb-netops" of VPC 2d9c4f7a-61b8-4e3f-8a25-7c0e9b14d6f1, 4 of 200 routes used`,
		"✅ node: worker-1 is there, InternalIP 10.20.0.11",
		"✅ role: a worker",
		"✅ annotation: pod subnets 10.128.2.0/23",
		"✅ instance: a4c70001-2b6d-4f80-93ae-5d1c00000001 (worker-1) with 10.20.0.11",
		"✅ subnet: route table 8e1b5a3c-4f72-4d90-9c6e-b2a7d0f3e518 serves the Node's own subnet",
		"✅ source/destination check: off",
		"✅ change: route table 8e1b5a3c-4f72-4d90-9c6e-b2a7d0f3e518 would get: add 10.128.2.0/23 → a4c70001-2b6d-4f80-93ae-5d1c00000001",
	}
}

func TestCheckInOrder(t *testing.T) {
	want := strings.Join(inOrder(), "\n") + "\n"
	if got := run(t, func(*trial) {}); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A checkCase is one thing that may be wrong, and the exact lines that come of it.
// The lines that are as in inOrder are named by their first word, many in a line;
// TABLE, SERVER and VPC stand for the ids in it, ID for a request's.
type checkCase struct {
	name string
	edit func(*trial)
	want []string
}

// What comes before, between and after the lines of interest.
const (
	toLogin      = "configuration"
	toEndpoints  = "configuration login endpoint endpoint"
	toTable      = toEndpoints + " route"
	toRole       = toTable + " node role"
	toAnnotation = toRole + " annotation"
	toInstance   = toAnnotation + " instance"
	theNode      = "node role annotation"
	theNetwork   = "subnet source/destination"
	noLogin      = "ℹ️ route tables and instance: not tried without a login"
	noPorts      = "ℹ️ subnet and source/destination check: unknown: needs vpc:ports:get"
)

func testCheck(t *testing.T, cases []checkCase) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			if got := shortened(run(t, tt.edit)); !slices.Equal(got, tt.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
		})
	}
}

// shortened returns the lines as a checkCase writes them. How long an outage made
// it wait depends on chance, so that line is left out; TestCheckIsSlow wants it.
func shortened(out string) (lines []string) {
	short := strings.NewReplacer(mainTable, "TABLE", ecsID(1), "SERVER", otctest.VPCID, "VPC")
	id := regexp.MustCompile(`request id [0-9a-f]{32}`)
	joined := false
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.Contains(line, "still waiting"):
		case slices.Contains(inOrder(), line):
			word := strings.TrimSuffix(strings.Fields(line)[1], ":")
			if joined {
				lines[len(lines)-1] += " " + word
			} else {
				lines = append(lines, word)
			}
			joined = true
		default:
			lines = append(lines, id.ReplaceAllString(short.Replace(line), "request id ID"))
			joined = false
		}
	}
	return lines
}

// faulty spoils an operation for good.
func faulty(op string, f otctest.Fault) func(*trial) {
	return func(c *trial) {
		f.Op, f.Times = op, -1
		c.Fail(f)
	}
}

func denied(how otctest.Denial, actions ...string) func(*trial) {
	return func(c *trial) {
		c.Set(func(k *otctest.Knobs) {
			k.Deny = map[string]otctest.Denial{}
			for _, a := range actions {
				k.Deny[a] = how
			}
		})
	}
}

func annotated(value string) func(*trial) {
	return func(c *trial) { c.node.Annotations[SubnetsAnnotation] = value }
}

func nobodyListens() error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 443}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

func noSuchHost() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "iam.eu-de.otc.test", Server: "192.0.2.53:53", IsNotFound: true}}
}

// TestCheckIsSlow: whoever has to wait is told what for, and then what came of it.
func TestCheckIsSlow(t *testing.T) {
	for name, op := range map[string]string{"login": otctest.OpLogin, "route table " + mainTable: otctest.OpTableGet, "instance": otctest.OpServerGet} {
		out := run(t, faulty(op, otctest.Fault{Hang: true}))
		if !strings.Contains(out, "ℹ️ "+name+": still waiting, 15s at most\n❌ "+name+": ") {
			t.Errorf("%s: got\n%s", name, out)
		}
	}
}
