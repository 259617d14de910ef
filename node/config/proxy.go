package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// proxyURL checks HTTPS_PROXY as net/http reads it (package httpproxy): a value without
// a scheme gets http, and what is no URL even then means no proxy, without an error.
// As the value may hold a password, no error repeats it.
func proxyURL(v string) error {
	if !strings.Contains(v, "://") {
		v = "http://" + v
	}
	u, err := url.Parse(v)
	switch {
	case err != nil:
		return errors.New("the value is no URL")
	case !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme):
		return errors.New("the proxy's URL has a scheme other than http, https and socks5")
	case strings.Trim(u.Path, "/") != "" || strings.ContainsAny(v, "?#"):
		return errors.New("the proxy's URL has a path, a query or a fragment, or a /, ? or # in the password")
	case strings.HasSuffix(u.Host, ":") || u.Port() != "" && port(new(int))(u.Port()) != nil:
		return errors.New("the proxy's URL has a port outside 1-65535")
	case !isHost(u.Hostname()):
		return errors.New("the proxy's URL has no host that is a name or an address")
	}
	return nil
}

// proxyException checks an entry of NO_PROXY, of which net/http ignores what it cannot
// read: a name (and all below it), *.NAME or .NAME, an address, each with or without a
// port, a CIDR, or * alone.
func proxyException(v string) error {
	if v == "" || v == "*" {
		return nil
	}
	if _, err := netip.ParsePrefix(v); err == nil {
		return nil
	}
	host := v
	if name, number, err := net.SplitHostPort(v); err == nil && port(new(int))(number) == nil {
		host = name
	}
	if !isHost(strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")) {
		return fmt.Errorf("%q is neither a host name nor an address nor a CIDR", v)
	}
	return nil
}

// isHost reports whether v has the form of a host name or an address.
func isHost(v string) bool {
	_, err := netip.ParseAddr(v)
	return err == nil || regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$`).MatchString(v)
}
