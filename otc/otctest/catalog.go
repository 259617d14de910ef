package otctest

import (
	"fmt"
	"net/http"
)

// A Service is one entry of the catalog, with one public endpoint.
type Service struct {
	Type, Name string
	Region     string // "": null
	URL        string
}

// catalog returns the entries that matter, and a few of those that can confuse.
func (c *call) catalog(projectID string) []object {
	url := func(service string) string {
		if rest := region(c.Host); rest != "" {
			return "https://" + service + "." + rest
		}
		return c.base
	}
	here := c.knobs.Region
	list := []Service{
		{"network", "neutron", here, url("vpc")},
		{"volumev3", "cinderv3", here, url("evs") + "/v3/" + projectID},
		{"vpc", "vpc", here, url("vpc") + "/v1/" + projectID},
		{"vpc2.0", "vpc2.0", here, url("vpc") + "/v2.0/" + projectID},
		{"identity", "keystone", here, c.base + "/v3"},
		{"ecs", "ecs", here, url("ecs") + "/v1/" + projectID},
		{"compute", "nova", here, url("ecs") + "/v2.1/" + projectID},
		{"identity", "keystone", "*", c.base + "/v3"},
	}
	if c.knobs.Catalog != nil {
		list = c.knobs.Catalog(list)
	}
	entries := []object{}
	for i, e := range list {
		var where any
		if e.Region != "" {
			where = e.Region
		}
		if c.knobs.FlatCatalog {
			entries = append(entries, object{"id": compactID(e.Type), "interface": "public", "region": where, "region_id": where, "url": e.URL})
			continue
		}
		entries = append(entries, object{"type": e.Type, "name": e.Name, "id": compactID(e.Type), "endpoints": []object{
			{"id": compactID(fmt.Sprint(e.Type, i)), "interface": "public", "region": where, "region_id": where, "url": e.URL}}})
	}
	return entries
}

// iamToken checks the token of a call to IAM.
func (s *Server) iamToken(c *call) (*token, answer, bool) {
	t, ok := s.token(c)
	switch {
	case ok:
		return t, answer{}, true
	case c.knobs.IAMForbids:
		return nil, c.fail(ShapeIAM, http.StatusForbidden, "", staleIAMToken), false
	}
	return nil, c.fail(ShapeIAM, http.StatusUnauthorized, "", "The X-Auth-Token is invalid!"), false
}

// showCatalog is GET /v3/auth/catalog.
func (s *Server) showCatalog(c *call) answer {
	t, a, ok := s.iamToken(c)
	if !ok {
		return a
	}
	return c.reply(http.StatusOK, object{"catalog": c.catalog(t.projectID), "links": object{"self": c.base + c.Path}})
}

// listProjects is GET /v3/auth/projects and GET /v3/projects.
func (s *Server) listProjects(c *call) answer {
	if _, a, ok := s.iamToken(c); !ok {
		return a
	}
	if a, denied := c.denied(); denied {
		return a
	}
	list := []object{}
	for _, p := range s.projects {
		if name := c.Query.Get("name"); name != "" && name != p.name {
			continue
		}
		list = append(list, object{"id": p.id, "name": p.name, "description": "", "enabled": true, "is_domain": false,
			"parent_id": domainID, "domain_id": domainID, "links": object{"self": c.base + "/v3/projects/" + p.id}})
	}
	return c.reply(http.StatusOK, object{"projects": list,
		"links": object{"self": c.base + c.Path, "previous": nil, "next": nil}})
}
