package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"otc-route-manager/node"
	"otc-route-manager/node/nodetest"
	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// A wording is a text of the program in its constant parts.
type wording []string

// wordings returns every text in the program's source: string literals, and what
// is put together with +, each format verb and each variable a gap.
func wordings(t *testing.T) (all []wording) {
	verb := regexp.MustCompile(`%[+#]?[a-z]`)
	var text func(e ast.Expr) string
	text = func(e ast.Expr) string {
		switch e := e.(type) {
		case *ast.BinaryExpr:
			if e.Op == token.ADD {
				return text(e.X) + text(e.Y)
			}
		case *ast.BasicLit:
			return verb.ReplaceAllString(literal(e), "…")
		}
		return "…"
	}
	for _, f := range sources(t, "", "node", "node/config", "node/logging", "otc", "metrics") {
		ast.Inspect(f, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if w := gaps(text(e)); len(w) > 0 {
					all = append(all, w)
				}
			}
			return true
		})
	}
	return all
}

// gaps splits a text at its gaps.
func gaps(s string) wording {
	var w wording
	for part := range strings.SplitSeq(s, "…") {
		if strings.TrimSpace(part) != "" {
			w = append(w, strings.TrimSpace(part))
		}
	}
	return w
}

// within reports whether the parts occur in s, in their order.
func (w wording) within(s string) bool {
	for _, part := range w {
		_, rest, found := strings.Cut(s, part)
		if !found {
			return false
		}
		s = rest
	}
	return true
}

// says reports whether a quote is a part of the text, or an example of it.
func (w wording) says(quote string) bool {
	s := strings.Join(w, " … ")
	return gaps(quote).within(s) || 3*len(s) >= 2*len(quote) && w.within(quote)
}

// example is what stands for something else in a text: ids, CIDRs, addresses,
// names, and what is between quotation marks.
var example = regexp.MustCompile(`k8s\.ovn\.org/[a-z-]+|[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{32}\b|\d+\.\d+\.\d+\.\d+(/\d+)?|worker-\d|"[^"]*"`)

// TestReadmeQuotes: what the README says that the program says, it says: log
// lines, reasons and states.
func TestReadmeQuotes(t *testing.T) {
	all := wordings(t)
	logged := regexp.MustCompile(`^\S+ (Success|Info|Warning|Error):`)
	foreign := regexp.MustCompile(`^([A-Z_]+=\S+ )?(make|kubectl|oc|vpc) |HTTP|^no matches for kind |^certificate signed by |^no such host`)
	lines := slices.DeleteFunc(code(t, "text"), func(line string) bool { return !logged.MatchString(line) })
	for _, line := range code(t, "") { // three words or a gap: not a name
		if !foreign.MatchString(line) && (strings.Contains(line, "…") || len(strings.Fields(line)) > 2) {
			lines = append(lines, line)
		}
	}
	for _, line := range lines {
		said := example.ReplaceAllString(logged.ReplaceAllString(line, ""), "…")
		for part := range strings.SplitSeq(said, ": ") {
			if !slices.ContainsFunc(all, func(w wording) bool { return w.says(part) }) {
				t.Errorf("README.md quotes %q, but no source file says %q", line, part)
			}
		}
	}
	if len(lines) < 30 {
		t.Errorf("%d quotes found, want those of the tables too", len(lines))
	}
}

// An answer is one of the cloud, as the README's table of OTC answers quotes it.
type answer struct {
	operation string
	status    int
	code      string
	message   string
}

// answers returns what a cell quotes: `HTTP 401 VPC.0005` `VPC.0009` are two.
func answers(t *testing.T, cell string) (all []answer) {
	whole := regexp.MustCompile(`^(?:\w+ ([a-z ]+): )?HTTP (\d+)(?: ([A-Z][A-Za-z]+\.\d+))?(?: "(.*)…")?$`)
	for _, s := range spans(cell) {
		var a answer
		switch m := whole.FindStringSubmatch(s); {
		case m != nil:
			a = answer{m[1], 0, m[3], m[4]}
			fmt.Sscan(m[2], &a.status)
		case len(all) > 0:
			a = all[len(all)-1]
			a.code = s
		default:
			t.Logf("not an answer: %s", s)
			continue
		}
		all = append(all, a)
	}
	return all
}

// get has the cloud give the answer to the call that it belongs to.
func (a answer) get(t *testing.T) error {
	op := a.operation
	if op == "" {
		op = map[string]string{"IAM": "login", "Ecs": "get server", "Common": "get server", "Pdp": "get server"}[strings.Split(a.code, ".")[0]]
	}
	cloud := otctest.New()
	fault := otctest.Fault{Op: map[string]string{"login": otctest.OpLogin, "get server": otctest.OpServerGet, "update route table": otctest.OpTableUpdate}[op],
		Status: a.status, Code: a.code, Message: a.message, Times: -1}
	if fault.Op == "" {
		fault.Op = otctest.OpTableGet
	}
	if a.code == "itemNotFound" {
		fault.Code, fault.Shape = "", otctest.ShapeNova
	}
	cloud.Fail(fault)
	client := client(cloud)
	const id = "a4c7e915-2b6d-4f80-93ae-5d1c8b7f0e26"
	var err error
	switch op {
	case "get server":
		_, err = client.Server(t.Context(), id)
	case "update route table":
		err = client.UpdateRoutes(t.Context(), otctest.TableID, otc.Ops(otc.Add, otc.Route{Type: "ecs", Destination: netip.MustParsePrefix("10.128.4.0/23"), NextHop: id}))
	default:
		_, err = client.RouteTable(t.Context(), otctest.TableID)
	}
	return err
}

func client(transport http.RoundTripper) *otc.Client {
	return otc.New(otc.Config{
		AuthURL: "https://iam.eu-de.otc.t-systems.com/v3", DomainName: otctest.Account, ProjectName: otctest.Project, Region: "eu-de",
		Credentials: func() (string, otc.Secret, error) { return otctest.User, otc.NewSecret(otctest.Password), nil },
		Allowed:     []netip.Prefix{netip.MustParsePrefix("10.128.0.0/14")}, Transport: transport,
	}, nil)
}

// TestReadmeAnswers: for each answer in the README's table the program does what
// the column Then says, and no code that it knows is left out.
func TestReadmeAnswers(t *testing.T) {
	then := map[string][]otc.Reaction{"pause": {otc.LoginRefused}, "slow": {otc.Permanent, otc.Quota}, "retry": {otc.Transient},
		"wait": {otc.Throttled}, "login": {otc.Relogin}, "reread": {otc.Rejected, otc.Conflict}, "split": {otc.Split}}
	part := section(t, "### OTC answers")
	for _, row := range rows(part) {
		if len(row) != 4 || then[row[2]] == nil {
			t.Errorf("row %q: want four cells, the third one of %v", row, then)
			continue
		}
		for _, a := range answers(t, row[0]) {
			synctest.Test(t, func(t *testing.T) {
				err := a.get(t)
				e, ok := errors.AsType[*otc.Error](err)
				if !ok || e.Status != a.status || a.code != "" && e.Code != a.code {
					t.Errorf("%+v: the client says %v", a, err)
				} else if !slices.Contains(then[row[2]], e.Reaction) {
					t.Errorf("%+v: README.md says %s, the reaction is %s", a, row[2], e.Reaction)
				}
			})
		}
	}
	for _, m := range regexp.MustCompile(`code: "([^"]+)"`).FindAllStringSubmatch(read(t, "otc/policy.go"), -1) {
		known := m[1]
		if strings.HasPrefix(known, ".") {
			known = "APIGW" + known
		}
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(known) + `\b`).MatchString(part) {
			t.Errorf("README.md says nothing of %s", known)
		}
	}
}

// An apiServer is a pretend API server without a socket.
type apiServer struct{ *nodetest.Server }

func (s apiServer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result(), nil
}

// TestReadmeCheck: -check says what the README shows, but for the token's end.
func TestReadmeCheck(t *testing.T) {
	end := regexp.MustCompile(`token until \S+`)
	_, want, _ := strings.Cut(section(t, "## -check"), "```text\n")
	want, _, _ = strings.Cut(want, "```")
	synctest.Test(t, func(t *testing.T) {
		const name, id = "worker-1", "a4c7e915-2b6d-4f80-93ae-5d1c8b7f0e26"
		cloud := otctest.New()
		cloud.AddServer(otctest.Instance{ID: id, Name: name, Fixed: []string{"10.20.0.11"}, AllowedPairs: []string{otctest.CheckOff}})
		api := apiServer{nodetest.New()}
		n := &corev1.Node{}
		n.Name, n.Annotations = name, map[string]string{node.SubnetsAnnotation: `{"default":["10.128.4.0/23"]}`}
		n.Spec.ProviderID = "openstack:///" + id
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.20.0.11"}}
		api.Put(n)
		kube, err := node.NewKube(&rest.Config{Host: "https://kube.test", Transport: api}, name, nil)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		cfg := node.Config{NodeName: name, Tables: []string{otctest.TableID}, Ranges: []netip.Prefix{netip.MustParsePrefix("10.128.0.0/14")}}
		ok := node.Check(t.Context(), &out, client(cloud), kube.Get, cfg)
		if got := out.String(); !ok || end.ReplaceAllString(got, "") != end.ReplaceAllString(want, "") {
			t.Errorf("README.md shows\n%s\nwant\n%s", want, got)
		}
	})
}
