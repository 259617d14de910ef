package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"otc-route-manager/otc"
)

// pattern reads a value that is an expression's match as a whole, in small letters.
func pattern(expression string, field *string) func(string) error {
	return func(v string) error {
		if !regexp.MustCompile("^(" + expression + ")$").MatchString(v) {
			return fmt.Errorf("%q is malformed", v)
		}
		*field = strings.ToLower(v)
		return nil
	}
}

func text(field *string) func(string) error {
	return func(v string) error { *field = v; return nil }
}

func boolean(field *bool) func(string) error {
	return func(v string) (err error) {
		if *field, err = strconv.ParseBool(v); err != nil {
			return fmt.Errorf("%q is neither true nor false", v)
		}
		return nil
	}
}

// duration reads 0, or a duration from least to a day.
func duration(least time.Duration, field *time.Duration) func(string) error {
	return func(v string) error {
		d, err := time.ParseDuration(v)
		switch {
		case err != nil || d < 0:
			return fmt.Errorf("%q is no duration", v)
		case d > 24*time.Hour:
			return fmt.Errorf("%q is more than a day", v)
		case d != 0 && d < least:
			return fmt.Errorf("%q is less than %v", v, least)
		}
		*field = d
		return nil
	}
}

func port(field *int) func(string) error {
	return func(v string) (err error) {
		if *field, err = strconv.Atoi(v); err != nil || *field < 1 || *field > 65535 {
			return fmt.Errorf("%q is no port", v)
		}
		return nil
	}
}

func (c *Config) logLevel(v string) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(v)) {
		return fmt.Errorf("%q is no level", v)
	}
	return c.LogLevel.UnmarshalText([]byte(v))
}

// account reads OS_DOMAIN_NAME and its alias, which must not differ.
func (c *Config) account(v string) error {
	if c.login.Account != "" && c.login.Account != v {
		return fmt.Errorf("%q is not what OS_DOMAIN_NAME says (%q)", v, c.login.Account)
	}
	c.login.Account = v
	return nil
}

func (c *Config) secret(v string) error { c.login.Secret = otc.NewSecret(v); return nil }

// tokenFile takes the path. The file may be written later.
func (c *Config) tokenFile(path string) error {
	c.idTokenFile = path
	if err := regular(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (c *Config) nodeName(v string) error {
	if len(validation.IsDNS1123Subdomain(v)) > 0 {
		return fmt.Errorf("%q is no name of a Node", v)
	}
	c.Node.NodeName = v
	return nil
}

// parseURL is otc.ParseURL for what people write: nothing but scheme, host, port
// and path. A value that may hold a password is not repeated.
func parseURL(v string) (*url.URL, error) {
	if strings.Contains(v, "@") {
		return nil, errors.New("the URL holds credentials, or an @; leave them out")
	}
	u, err := otc.ParseURL(v)
	switch {
	case err != nil:
		return nil, err
	case strings.ContainsAny(v, "?#"):
		return nil, fmt.Errorf("%q has a query or a fragment; leave it out", v)
	case strings.ContainsAny(v, "\"'`<> "):
		return nil, fmt.Errorf("%q has a character that no URL has", v)
	case strings.HasSuffix(u.Host, ":"), u.Port() != "" && port(new(int))(u.Port()) != nil:
		return nil, fmt.Errorf("%q has a port outside 1-65535", v)
	}
	return u, nil
}

// endpoint reads a URL that goes before the catalog's. Its path may be that of a
// gateway; a version in it is replaced by package otc.
func endpoint(field *string) func(string) error {
	return func(v string) error {
		_, err := parseURL(v)
		*field = strings.TrimRight(v, "/")
		return err
	}
}

// authURL reads OS_AUTH_URL, with or without /v3.
func (c *Config) authURL(v string) error {
	u, err := parseURL(v)
	if err != nil {
		return err
	}
	if p := strings.Trim(u.Path, "/"); p != "" && p != "v3" {
		return fmt.Errorf("%q has another path than /v3", v)
	}
	c.OTC.AuthURL = u.Scheme + "://" + u.Host + "/v3"
	return nil
}

// rootCAs checks the file of OS_CACERT, which is read again when a certificate is not
// trusted.
func (c *Config) rootCAs(path string) error {
	c.OTC.RootCAs = func() (*x509.CertPool, error) { return withAuthorities(path) }
	_, err := c.OTC.RootCAs()
	return err
}

// withAuthorities returns the system's roots and those of a PEM file.
func withAuthorities(path string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pem, err := readFile(path)
	if err == nil && !pool.AppendCertsFromPEM(pem) {
		err = fmt.Errorf("%q holds no PEM certificate", path)
	}
	return pool, err
}

func (c *Config) routeTable(v string) error {
	id := strings.ToLower(v)
	switch {
	case !otc.IsUUID(id):
		return fmt.Errorf("%q is not a UUID", v)
	case slices.Contains(c.Node.Tables, id):
		return fmt.Errorf("%q is named twice", v)
	}
	c.Node.Tables = append(c.Node.Tables, id)
	return nil
}

// reserved are ranges that no pod subnet can lie in: OTC's and OVN-Kubernetes'
// own, loopback, link-local, multicast, and what is no address of a host.
func reserved() []string {
	return []string{"0.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "198.19.128.0/20", "224.0.0.0/3", "::/8", "fe80::/10", "ff00::/8"}
}

func (c *Config) clusterCIDR(v string) error {
	p, err := netip.ParsePrefix(v)
	switch {
	case err != nil || p.Addr().Is4In6():
		return fmt.Errorf("%q is not a CIDR", v)
	case p.Bits() == 0:
		return fmt.Errorf("%q is the default route, which is never touched", v)
	case p != p.Masked():
		return fmt.Errorf("%q has host bits set, perhaps %s is meant", v, p.Masked())
	case p.IsSingleIP():
		return fmt.Errorf("%q is a single address", v)
	}
	for _, r := range reserved() {
		if p.Overlaps(netip.MustParsePrefix(r)) {
			return fmt.Errorf("%q overlaps %s, which is reserved", v, r)
		}
	}
	for _, r := range c.Node.Ranges {
		if p == r {
			return fmt.Errorf("%q is named twice", v)
		}
		if p.Overlaps(r) {
			return fmt.Errorf("%q overlaps %s, which is named as well", v, r)
		}
	}
	c.Node.Ranges = append(c.Node.Ranges, p)
	return nil
}

// kubeConfig finds out how to reach the API server: by the kubeconfig file, else
// by the pod's ServiceAccount.
func (r *reader) kubeConfig() {
	var err error
	what := "KUBECONFIG is not set and this is no pod with a ServiceAccount"
	if path := r.cfg.kubeconfig; path == "" {
		r.cfg.Kube, err = rest.InClusterConfig()
	} else {
		what = fmt.Sprintf("KUBECONFIG=%q", path)
		r.cfg.Kube, err = clientcmd.BuildConfigFromFlags("", path)
	}
	switch {
	case err != nil:
		r.problem(what + ": " + err.Error())
	case r.cfg.ownNode:
		r.cfg.Kube.Impersonate.UserName = "system:node:" + r.cfg.Node.NodeName // the name of its kubelet
	}
}
