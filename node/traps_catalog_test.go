package node

import (
	"net/http"
	"strings"
	"time"

	"otc-route-manager/otc"
	"otc-route-manager/otc/otctest"
)

// realHosts makes the client use the public names of a region.
func realHosts(authURL, region string) func(*world, *agent) {
	return func(w *world, a *agent) {
		w.Set(func(k *otctest.Knobs) { k.Region = region })
		a.tune = func(c *otc.Config) { c.AuthURL, c.Region = authURL, region }
	}
}

// cleanPaths fails the test if a request went to another host, or had a path
// that the cloud does not take for what was meant.
func cleanPaths(hosts ...string) func(*world, *agent) {
	return func(w *world, _ *agent) {
		w.pass(time.Hour)
		for _, r := range w.Requests() {
			if strings.HasSuffix(r.Path, "/") || strings.Contains(r.Path, "//") || r.Op == otctest.OpOther {
				w.t.Errorf("path %q", r.Path)
			}
			if len(hosts) > 0 && !strings.Contains(strings.Join(hosts, " "), r.Host) {
				w.t.Errorf("host %q", r.Host)
			}
		}
	}
}

const germany = "https://iam.eu-de.otc.t-systems.com/v3"

// fine is a trap that must not be noticed.
func fine(name string, set func(*world, *agent), hosts ...string) trap {
	return trap{name: name, set: set, run: cleanPaths(hosts...), table: []string{home}, calls: first, state: "ready, in sync",
		told: []string{"log success", "event Normal RouteConfirmed"}}
}

// catalogTraps are about finding the services.
func catalogTraps() []trap {
	edit := func(f func(s otctest.Service) []otctest.Service) func(*world, *agent) {
		return knob(func(k *otctest.Knobs) {
			k.Catalog = func(all []otctest.Service) (out []otctest.Service) {
				for _, s := range all {
					out = append(out, f(s)...)
				}
				return out
			}
		})
	}
	without := func(types ...string) func(*world, *agent) {
		return edit(func(s otctest.Service) []otctest.Service {
			if strings.Contains(strings.Join(types, " "), s.Type) {
				return nil
			}
			s.URL = strings.Replace(s.URL, "/v2.1/", "/v2/", 1)
			return []otctest.Service{s}
		})
	}
	in := func(region string) func(*world, *agent) {
		return edit(func(s otctest.Service) []otctest.Service { s.Region = region; return []otctest.Service{s} })
	}
	return []trap{
		fine("trap 7: no catalog comes with the token", both(realHosts(germany, "eu-de"), func(w *world, _ *agent) {
			w.Set(func(k *otctest.Knobs) { k.NoCatalog = true })
		}), "iam.eu-de.otc.t-systems.com", "vpc.eu-de.otc.t-systems.com", "ecs.eu-de.otc.t-systems.com"),
		fine("trap 7: the catalog knows only network without version and compute as v2", without("vpc vpc2.0 ecs")),
		fine("trap 7: the catalog's region is a star", in("*")),
		fine("trap 7: the catalog's region is null", in("")),
		fine("trap 7: catalog URLs end in a slash and come twice", edit(func(s otctest.Service) []otctest.Service {
			s.URL += "/"
			return []otctest.Service{s, s}
		})),
		fine("trap 7: the first entry is another region's", edit(func(s otctest.Service) []otctest.Service {
			other := s
			other.Region, other.URL = "eu-nl", strings.Replace(s.URL, "eu-de", "eu-nl", 1)
			return []otctest.Service{other, s}
		})),
		{
			name:  "trap 7: the catalog lacks the region",
			set:   func(w *world, a *agent) { a.tune = func(c *otc.Config) { c.Region = "eu-xx" } },
			calls: "login( login){2,4}", state: "not ready",
			told: []string{"log error … no … endpoint for region \"eu-xx\" … OS_REGION_NAME", "event Warning RouteFailed", "status OS_REGION_NAME"},
		},
	}
}

// regionTraps are about other regions and other paths.
func regionTraps() []trap {
	return []trap{
		fine("trap 8: eu-ch2 has host names of its own", realHosts("https://iam-pub.eu-ch2.sc.otc.t-systems.com/v3", "eu-ch2"),
			"iam-pub.eu-ch2.sc.otc.t-systems.com", "vpc.eu-ch2.sc.otc.t-systems.com", "ecs.eu-ch2.sc.otc.t-systems.com"),
		{
			name: "trap 8: a token is used in another region",
			set: both(realHosts(germany, "eu-de"), func(_ *world, a *agent) {
				a.tune = func(c *otc.Config) {
					c.AuthURL, c.VPCEndpoint = germany, "https://vpc.eu-nl.otc.t-systems.com"
				}
			}),
			run:   hours(0.23),
			calls: "login server get:401 login get:401 get:401 login get:401( get:401){1,5}", state: "not ready",
			told: []string{"log error … APIGW.0307 … another region … OS_REGION_NAME", "status APIGW.0307", "count call iam login 201 = 3"},
		},
		fine("trap 9: endpoint overrides end in a slash or lack the project", func(_ *world, a *agent) {
			a.tune = func(c *otc.Config) {
				c.VPCEndpoint, c.ECSEndpoint = "https://vpc.eu-de.otc.test/v1/", "https://ecs.eu-de.otc.test/"
			}
		}),
		{
			name: "trap 9: the gateway's 404 for a server does not mean that it is gone",
			set: func(w *world, a *agent) {
				a.cfg.DriftInterval = 15 * time.Minute
			},
			run: func(w *world, a *agent) {
				w.pass(80 * time.Second)
				w.AddServer(otctest.Instance{ID: otherID, Name: "appliance", Fixed: []string{"10.20.0.200"}})
				w.PutRoute(mainTable, otctest.Route{Type: "ecs", Destination: "10.128.2.0/23", NextHop: otherID})
				w.Fail(otctest.Fault{Op: otctest.OpServerGet, Status: http.StatusNotFound, Code: "APIGW.0101", Times: -1})
				w.pass(50 * time.Minute) // found after 12 to 18 minutes, then read every 12 to 15
			},
			table: []string{"10.128.2.0/23 → " + otherID}, calls: first + "( get server:404){3,4}", state: "not ready",
			told: []string{"log error … a foreign route … 10.128.2.0/23 leads to instance " + otherID, "event Warning RouteConflict", "status conflict"},
		}}
}

// projectTraps are about configuration and permissions that do not fit.
func projectTraps() []trap {
	return []trap{
		{
			name:  "trap 10: the project in the URL is not the token's (VPC.0007)",
			set:   fail(otctest.Fault{Op: otctest.OpTableGet, Status: http.StatusBadRequest, Code: "VPC.0007", Times: -1}),
			calls: "login server( get:400){7,13}", state: "not ready",
			told: []string{"log error could not … route table … VPC.0007 … different projects", "event Warning RouteFailed", "status VPC.0007"},
		}, {
			name:  "trap 10: the project in the URL is not the token's (Ecs.0023)",
			set:   fail(otctest.Fault{Op: otctest.OpServerGet, Status: http.StatusBadRequest, Code: "Ecs.0023", Times: -1}),
			calls: "login( server:400){7,13}", state: "not ready",
			told: []string{"log error could not find … Ecs.0023 … different projects", "event Warning RouteFailed", "status Ecs.0023"},
		}, {
			name: "trap 11: a missing permission looks like an empty list",
			set: func(w *world, a *agent) {
				a.facts.ProviderID, a.facts.SystemUUID = "", ""
				w.Set(func(k *otctest.Knobs) { k.Deny = map[string]otctest.Denial{"ecs:cloudServers:list": otctest.DenyEmpty} })
				w.PutRoute(mainTable, otctest.Route{Type: "ecs", Destination: "10.128.2.0/23", NextHop: a.id, Description: description(a.name)})
			},
			table: []string{home}, calls: "login( servers){7,13}", state: "not ready",
			told: []string{"log error … no ECS instance found … no server with the address", "event Warning RouteFailed", "count pass success = 0"},
		}}
}
