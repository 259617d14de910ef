package otc

import (
	"fmt"
	"strings"
	"testing"

	"otc-route-manager/otc/otctest"
)

// endpointOf decodes a catalog of one entry and returns what becomes of its URL.
func endpointOf(kind, region, url string) []catalogEntry {
	var e catalogEntry
	e.Type = kind
	e.Endpoints = append(e.Endpoints, struct {
		Interface string `json:"interface"`
		Region    string `json:"region"`
		URL       string `json:"url"`
	}{"public", region, url})
	return []catalogEntry{e}
}

// behind makes the entries internal ones.
func behind(catalog []catalogEntry) []catalogEntry {
	for i := range catalog {
		catalog[i].Endpoints[0].Interface = "internal"
	}
	return catalog
}

func TestEndpoint(t *testing.T) {
	const id = otctest.ProjectID
	for _, tt := range []struct {
		name, service, override, region string
		catalog                         []catalogEntry
		want                            string // "" for an error
	}{
		{"eu-de by name", "vpc", "", "eu-de", nil, "https://vpc.eu-de.otc.t-systems.com/v1/" + id},
		{"eu-nl by name", "ecs", "", "eu-nl", nil, "https://ecs.eu-nl.otc.t-systems.com/v1/" + id},
		{"eu-ch2 has another domain", "vpc", "", "eu-ch2", nil, "https://vpc.eu-ch2.sc.otc.t-systems.com/v1/" + id},
		{"eu-ch2 servers", "ecs", "", "eu-ch2", nil, "https://ecs.eu-ch2.sc.otc.t-systems.com/v1/" + id},
		{"no such region", "vpc", "", "eu-xx", nil, ""},
		{"only another region's entry", "vpc", "", "eu-xx", endpointOf("vpc", "eu-de", "https://vpc.test/v1/x"), ""},
		{"unknown region with a catalog", "vpc", "", "eu-xx", endpointOf("vpc", "eu-xx", "https://vpc.test/v1/x"), "https://vpc.test/v1/" + id},
		{"an entry for any region", "vpc", "", "eu-xx", endpointOf("vpc", "*", "https://vpc.test/v1/x"), "https://vpc.test/v1/" + id},
		{"an entry without a region", "ecs", "", "eu-xx", endpointOf("compute", "", "https://ecs.test/v2.1/x"), "https://ecs.test/v1/" + id},
		{"its own region's before any", "vpc", "", "eu-xx", append(endpointOf("vpc", "*", "https://any.test"), endpointOf("vpc", "eu-xx", "https://own.test")...), "https://own.test/v1/" + id},
		{"vpc before network", "vpc", "", "eu-xx", append(endpointOf("network", "eu-xx", "https://neutron.test"), endpointOf("vpc", "eu-xx", "https://own.test")...), "https://own.test/v1/" + id},
		{"public before internal", "vpc", "", "eu-xx", append(behind(endpointOf("vpc", "eu-xx", "https://inner.test")), endpointOf("vpc", "eu-xx", "https://own.test")...), "https://own.test/v1/" + id},
		{"internal only", "vpc", "", "eu-xx", behind(endpointOf("vpc", "eu-xx", "https://inner.test")), ""},
		{"override before catalog", "vpc", "https://proxy.test", "eu-de", endpointOf("vpc", "eu-de", "https://vpc.test/v1/x"), "https://proxy.test/v1/" + id},
		{"override with a version", "vpc", "https://proxy.test/v1", "eu-de", nil, "https://proxy.test/v1/" + id},
		{"override with a path", "ecs", "https://proxy.test/otc/ecs/", "eu-de", nil, "https://proxy.test/otc/ecs/v1/" + id},
		{"override with all", "ecs", "https://proxy.test/v1/" + id + "/", "eu-de", nil, "https://proxy.test/v1/" + id},
		{"query and fragment go", "vpc", "https://proxy.test/v1?x=1#y", "eu-de", nil, "https://proxy.test/v1/" + id},
		{"an empty query goes", "vpc", "https://proxy.test/?", "eu-de", nil, "https://proxy.test/v1/" + id},
		{"odd escapes stay", "vpc", "https://proxy.test/a%2525b", "eu-de", nil, "https://proxy.test/a%2525b/v1/" + id},
		{"loopback for tests", "vpc", "http://127.0.0.1:8080", "eu-de", nil, "http://127.0.0.1:8080/v1/" + id},
		{"plain http in the catalog", "vpc", "", "eu-de", endpointOf("vpc", "eu-de", "http://vpc.eu-de.otc.t-systems.com/v1/x"), ""},
		{"plain http as override", "vpc", "http://10.0.0.1/v1", "eu-de", nil, ""},
		{"neither v1 nor v2 in a name", "vpc", "https://proxy.test/vpc", "eu-de", nil, "https://proxy.test/vpc/v1/" + id},
	} {
		got, err := endpoint(tt.catalog, tt.service, tt.override, tt.region, id)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: got %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

// R9, R13: of what a login answers, an error names some regions, and no URL.
func TestEndpointErrorsShowLittleOfTheCatalog(t *testing.T) {
	catalog := endpointOf("vpc", "eu-xx\x1b[2J geheim", "https://vpc.test")
	for i := range 1000 {
		catalog = append(catalog, endpointOf("vpc", fmt.Sprintf("eu-%d", i), "https://vpc.test")...)
	}
	_, err := endpoint(catalog, "vpc", "", "eu-xx", otctest.ProjectID)
	if s := err.Error(); !strings.Contains(s, "eu-9") || strings.Contains(s, "geheim") || len(s) > 300 {
		t.Errorf("got %s", s)
	}
	_, err = endpoint(endpointOf("vpc", "eu-xx", "http://geheim.test"), "vpc", "", "eu-xx", otctest.ProjectID)
	if s := err.Error(); !strings.Contains(s, "no https URL; set OTC_VPC_ENDPOINT") || strings.Contains(s, "geheim") {
		t.Errorf("got %s", s)
	}
}

func TestEndpointErrorNamesRegionsAndHint(t *testing.T) {
	_, err := endpoint(endpointOf("ecs", "eu-de", "https://ecs.test"), "vpc", "", "eu-xx", otctest.ProjectID)
	for _, want := range []string{"eu-xx", "eu-de", "OS_REGION_NAME", "OTC_VPC_ENDPOINT"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestParseURL(t *testing.T) {
	for _, tt := range []struct {
		url  string
		want string // part of the error, "" for none
	}{
		{"https://iam.eu-de.otc.t-systems.com/v3", ""},
		{"http://127.0.0.1:35357/v3", ""},
		{"http://[::1]:35357/v3", ""},
		{"http://localhost/v3", ""},
		{"http://iam.eu-de.otc.t-systems.com/v3", "not https"},
		{"http://127.0.0.1.example.test/", "not https"},
		{"http://localhost.example.test/", "not https"},
		{"ftp://127.0.0.1/", "not https"},
		{"iam.eu-de.otc.t-systems.com/v3", "no host"},
		{"https:///v3", "no host"},
		{"https://:443/v3", "no host"},
		{"https://a b/", "not a URL"},
		{"", "no host"},
		{"https://svc:not-a-real-password@iam.test/v3", "holds credentials"},
	} {
		_, err := ParseURL(tt.url)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.url, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), otctest.Password) {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// Nothing is sent to an endpoint that is not https.
func TestPlainEndpointsAreRefused(t *testing.T) {
	w := newWorld(t)
	w.Set(func(k *otctest.Knobs) {
		k.Catalog = func(all []otctest.Service) []otctest.Service {
			for i := range all {
				all[i].URL = strings.Replace(all[i].URL, "https:", "http:", 1)
			}
			return all
		}
	})
	if err := w.read(); err == nil || ReactionTo(err) != Permanent || !strings.Contains(err.Error(), "no https URL") {
		t.Errorf("got %v, want a refusal of http", err)
	}
	w.wantCalls("", w.Count(otctest.OpLogin))
}

// In eu-ch2 the IAM host is irregular, and the other regions' tokens are refused.
func TestSwissEndpoints(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.AuthURL, c.Region = "https://iam-pub.eu-ch2.sc.otc.t-systems.com/v3", "eu-ch2" })
	w.Set(func(k *otctest.Knobs) { k.Region = "eu-ch2" })
	w.mustRead()
	if got := w.Requests()[1].Host; got != "vpc.eu-ch2.sc.otc.t-systems.com" {
		t.Errorf("got %s, want vpc.eu-ch2.sc.otc.t-systems.com", got)
	}
	w = newWorld(t, func(c *Config) { c.VPCEndpoint = "https://vpc.eu-nl.otc.t-systems.com" })
	if err := w.read(); err == nil || !strings.Contains(err.Error(), "another region") {
		t.Errorf("got %v, want a hint at the region", err)
	}
	w.wantCalls(otctest.OpLogin, 2)
}
