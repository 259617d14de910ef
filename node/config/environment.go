package config

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"otc-route-manager/otc"
)

// An environment reads variables and collects what is wrong with them.
type environment struct {
	getenv   func(string) string
	problems []string
}

func (e *environment) problem(format string, args ...any) {
	e.problems = append(e.problems, fmt.Sprintf(format, args...))
}

// lookup returns the value of a variable, given directly or, for OS_* and
// ROUTE_TABLE_ID, as the content of the file that <NAME>_FILE names.
func (e *environment) lookup(name string) string {
	value, path := strings.TrimSpace(e.getenv(name)), ""
	if strings.HasPrefix(name, "OS_") || name == "ROUTE_TABLE_ID" {
		path = e.getenv(name + "_FILE")
	}
	switch {
	case path == "":
		return value
	case value != "":
		e.problem("%s and %s_FILE are both set: leave one out", name, name)
		return value
	}
	content, err := readValue(path)
	if err != nil {
		e.problem("%s_FILE: %v; %s", name, err, source(name))
		return unreadable
	}
	return content
}

// unreadable stands for a value whose file cannot be read: that is one problem,
// not two.
const unreadable = "\x00"

// readValue reads a file without its trailing newline.
func readValue(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimRight(string(b), "\r\n"), err
}

// isPlaceholder reports whether nobody has filled in a value yet.
func isPlaceholder(s string) bool {
	return strings.TrimSpace(s) == "" || strings.Contains(s, "your-") || strings.Contains(s, "REPLACE")
}

// source names the make target that sets a variable.
func source(name string) string {
	if slices.Contains([]string{"OS_USERNAME", "OS_PASSWORD", "OS_DOMAIN_NAME", "OS_PROJECT_NAME"}, name) {
		return "make create-secrets sets it"
	}
	if name == "NODE_NAME" {
		return "manifests.yaml sets it"
	}
	return "make create-configmap sets it"
}

func (e *environment) optional(name string) string {
	if v := e.lookup(name); !isPlaceholder(v) && v != unreadable {
		return v
	}
	return ""
}

func (e *environment) required(name, want string) string {
	v := e.lookup(name)
	if v == unreadable {
		return ""
	}
	if isPlaceholder(v) {
		e.problem("%s is missing: want %s; %s", name, want, source(name))
		return ""
	}
	return v
}

func (e *environment) oneOf(name, fallback string, values ...string) string {
	v := strings.ToLower(e.optional(name))
	if v == "" || slices.Contains(values, v) {
		return cmp.Or(v, fallback)
	}
	e.problem("%s=%q: want one of %s", name, v, strings.Join(values, ", "))
	return fallback
}

func (e *environment) boolean(name string) bool {
	b, err := strconv.ParseBool(cmp.Or(e.optional(name), "false"))
	if err != nil {
		e.problem("%s=%q: want true or false", name, e.optional(name))
	}
	return b
}

func (e *environment) duration(name, fallback string) time.Duration {
	v := cmp.Or(e.optional(name), fallback)
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 || d > 24*time.Hour || d != 0 && d < time.Millisecond {
		e.problem("%s=%q: want a duration up to 24h such as 5s or 15m, or 0", name, v)
	}
	return d
}

func (e *environment) port(name, fallback string) int {
	v := cmp.Or(e.optional(name), fallback)
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 65535 {
		e.problem("%s=%q: want a port from 1 to 65535", name, v)
	}
	return n
}

func (e *environment) url(name string) string {
	v := e.optional(name)
	if v == "" {
		return ""
	}
	if _, err := otc.ParseURL(v); err != nil {
		e.problem("%s: %v", name, err)
	}
	return strings.TrimRight(v, "/")
}

// authURL returns OS_AUTH_URL, ending in /v3.
func (e *environment) authURL() string {
	v := e.required("OS_AUTH_URL", "the IAM URL, for example https://iam.eu-de.otc.t-systems.com/v3")
	if v == "" {
		return ""
	}
	u, err := otc.ParseURL(v)
	if err != nil {
		e.problem("OS_AUTH_URL: %v", err)
		return ""
	}
	return withV3(u)
}

func withV3(u *url.URL) string {
	base := strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/")
	return strings.TrimSuffix(strings.TrimSuffix(base, "/auth/tokens"), "/v3") + "/v3"
}

// domain returns OS_DOMAIN_NAME or its alias.
func (e *environment) domain() string {
	name, alias := e.getenv("OS_DOMAIN_NAME")+e.getenv("OS_DOMAIN_NAME_FILE"), e.optional("OS_USER_DOMAIN_NAME")
	if name == "" && alias != "" {
		return alias
	}
	domain := e.required("OS_DOMAIN_NAME", "the account, for example OTC00000000001000000000")
	if alias != "" && domain != "" && alias != domain {
		e.problem("OS_DOMAIN_NAME=%q and its alias OS_USER_DOMAIN_NAME=%q differ: leave one out", domain, alias)
	}
	return domain
}

// credentials checks user name and password now, and returns what reads them
// again at each login: a rotated Secret needs no restart.
func (e *environment) credentials() func() (string, otc.Secret, error) {
	user := e.required("OS_USERNAME", "the service user's name")
	password := otc.NewSecret(e.required("OS_PASSWORD", "the service user's password"))
	userFile, passwordFile := e.getenv("OS_USERNAME_FILE"), e.getenv("OS_PASSWORD_FILE")
	return func() (string, otc.Secret, error) {
		u, p := user, password
		if userFile != "" {
			content, err := readValue(userFile)
			if err != nil {
				return "", otc.Secret{}, fmt.Errorf("OS_USERNAME_FILE: %w", err)
			}
			u = content
		}
		if passwordFile != "" {
			content, err := readValue(passwordFile)
			if err != nil {
				return "", otc.Secret{}, fmt.Errorf("OS_PASSWORD_FILE: %w", err)
			}
			p = otc.NewSecret(content)
		}
		return u, p, nil
	}
}

// rootCAs returns the system's roots plus OS_CACERT; nil if that is not set.
func (e *environment) rootCAs() *x509.CertPool {
	path := e.optional("OS_CACERT")
	if path == "" {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		e.problem("OS_CACERT: %v", err)
	} else if !pool.AppendCertsFromPEM(pem) {
		e.problem("OS_CACERT=%q: the file holds no PEM certificate", path)
	}
	return pool
}

func (e *environment) routeTables() []string {
	var ids []string
	for _, v := range e.list("ROUTE_TABLE_ID", "the id of the VPC's route table, a UUID (several: comma separated)") {
		id := strings.ToLower(v)
		switch {
		case !otc.IsUUID(id):
			e.problem("ROUTE_TABLE_ID: %q is not a UUID such as 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", v)
		case slices.Contains(ids, id):
			e.problem("ROUTE_TABLE_ID names %q twice", v)
		default:
			ids = append(ids, id)
		}
	}
	return ids
}

// reserved are ranges that no pod subnet can lie in: OTC's and OVN-Kubernetes'
// own, loopback, link-local and multicast.
func reserved() []string {
	return []string{"100.64.0.0/10", "198.19.128.0/20", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::/8", "fe80::/10", "ff00::/8"}
}

func (e *environment) clusterCIDR() []netip.Prefix {
	var ranges []netip.Prefix
	for _, v := range e.list("CLUSTER_CIDR", "the cluster network, for example 10.128.0.0/14 (several: comma separated)") {
		p, err := netip.ParsePrefix(v)
		switch {
		case err != nil || p.Addr().Is4In6():
			e.problem("CLUSTER_CIDR: %q is not a CIDR such as 10.128.0.0/14", v)
		case p != p.Masked():
			e.problem("CLUSTER_CIDR: %q has host bits set; did you mean %s?", v, p.Masked())
		case p.Bits() == 0:
			e.problem("CLUSTER_CIDR: %q is the default route, which is never touched", v)
		case slices.Contains(ranges, p):
			e.problem("CLUSTER_CIDR names %q twice", v)
		default:
			ranges = append(ranges, p)
		}
		for _, r := range reserved() {
			if err == nil && p.Bits() > 0 && p.Overlaps(netip.MustParsePrefix(r)) {
				e.problem("CLUSTER_CIDR: %q overlaps %s, which is reserved", v, r)
			}
		}
	}
	return ranges
}

// list splits a required variable at its commas.
func (e *environment) list(name, want string) []string {
	v := e.required(name, want)
	if v == "" {
		return nil
	}
	parts := strings.Split(v, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// kubeConfig returns how to reach the API server: KUBECONFIG, else the pod's
// ServiceAccount.
func (e *environment) kubeConfig() *rest.Config {
	path := e.optional("KUBECONFIG")
	if path == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			e.problem("KUBECONFIG is not set and this is no pod with a ServiceAccount: %v", err)
		}
		return cfg
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		e.problem("KUBECONFIG=%q: %v", path, err)
	}
	return cfg
}
