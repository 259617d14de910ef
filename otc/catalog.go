package otc

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// A catalogEntry is one service of the catalog that comes with a token (IAM API,
// obtaining a user token). Null members decode to "".
type catalogEntry struct {
	Type      string `json:"type"`
	Endpoints []struct {
		Interface string `json:"interface"`
		Region    string `json:"region"`
		URL       string `json:"url"`
	} `json:"endpoints"`
}

// hosts names the services of the public regions (OTC regions and endpoints).
// In eu-ch2 only the IAM host is irregular.
func hosts(region, service string) string {
	switch region {
	case "eu-de", "eu-nl":
		return "https://" + service + "." + region + ".otc.t-systems.com"
	case "eu-ch2":
		return "https://" + service + ".eu-ch2.sc.otc.t-systems.com"
	}
	return ""
}

// endpoint returns the base URL of a service, "vpc" or "ecs", for one project:
// scheme, host, an optional path, "/v1/" and the project id. It takes the
// override, else the catalog, else the public region's well-known host.
func endpoint(catalog []catalogEntry, service, override, region, projectID string) (string, error) {
	setting := "OTC_" + strings.ToUpper(service) + "_ENDPOINT"
	if override != "" {
		return versioned(override, projectID)
	}
	alternative := map[string]string{"vpc": "network", "ecs": "compute"}[service]
	raw := cmp.Or(find(catalog, service, region), find(catalog, alternative, region), hosts(region, service))
	if raw == "" {
		return "", fmt.Errorf("no %s endpoint for region %q: the catalog has %s; set OS_REGION_NAME or %s", service, region, regions(catalog), setting)
	}
	base, err := versioned(raw, projectID)
	if err != nil { // the answer to a login is not shown
		return "", fmt.Errorf("the catalog's %s endpoint for region %q is no https URL; set %s", service, region, setting)
	}
	return base, nil
}

// find returns the public URL of a catalog type; a URL of the region itself
// goes before one whose region is "*" or empty.
func find(catalog []catalogEntry, kind, region string) string {
	var anywhere string
	for _, entry := range catalog {
		if entry.Type != kind {
			continue
		}
		for _, e := range entry.Endpoints {
			switch {
			case e.URL == "" || e.Interface != "" && e.Interface != "public":
			case e.Region == region:
				return e.URL
			case e.Region == "" || e.Region == "*":
				anywhere = cmp.Or(anywhere, e.URL)
			}
		}
	}
	return anywhere
}

// versioned makes the v1 base URL of a project out of a catalog URL, which may
// have a trailing slash, no version (type network), another version (type
// compute) or another project's id. "%(project_id)s" style tails fall away too.
func versioned(raw, projectID string) (string, error) {
	u, err := ParseURL(raw)
	if err != nil {
		return "", err
	}
	segments := strings.FieldsFunc(u.Path, func(r rune) bool { return r == '/' })
	if i := slices.IndexFunc(segments, isVersion); i >= 0 {
		segments = segments[:i]
	}
	base := url.URL{Scheme: u.Scheme, Host: u.Host, Path: path.Join("/", path.Join(segments...), "v1", projectID)}
	return base.String(), nil
}

// isVersion reports whether a path segment is "v1", "v2.1" and the like.
func isVersion(s string) bool {
	return len(s) > 1 && s[0] == 'v' && strings.Trim(s[1:], "0123456789.") == ""
}

// regions lists some regions of a catalog for an error message, as far as they are
// spelled like one.
func regions(catalog []catalogEntry) string {
	var names []string
	for _, entry := range catalog {
		for _, e := range entry.Endpoints {
			if isRegion(e.Region) && !slices.Contains(names, e.Region) && len(names) < maxRegions {
				names = append(names, e.Region)
			}
		}
	}
	if len(names) == 0 {
		return "no region"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// maxRegions is how many regions an error names.
const maxRegions = 10

func isRegion(s string) bool {
	return s != "" && len(s) <= maxWord && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
