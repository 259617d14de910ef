package otctest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The services, as far as their errors differ.
const (
	serviceIAM = "iam"
	serviceVPC = "vpc"
	serviceECS = "ecs"
)

// object is a JSON object.
type object = map[string]any

// An endpoint is one API: a method and a path whose {project} and {id} vary.
type endpoint struct {
	method  string
	pattern string
	op      string
	service string
	action  string // the permission it needs; "": none
	empty   object // what a list answers to those who may not see it
	do      func(*Server, *call) answer
}

func endpoints() []endpoint {
	const get = http.MethodGet
	return []endpoint{
		{http.MethodPost, "/v3/auth/tokens", OpLogin, serviceIAM, "", nil, (*Server).login},
		{http.MethodPost, "/v3.0/OS-AUTH/id-token/tokens", OpLogin, serviceIAM, "", nil, (*Server).loginIDToken},
		{get, "/v3/auth/projects", OpProjects, serviceIAM, "", nil, (*Server).listProjects},
		{get, "/v3/projects", OpProjects, serviceIAM, "iam:projects:listProjects", nil, (*Server).listProjects},
		{get, "/v3/auth/catalog", OpCatalog, serviceIAM, "", nil, (*Server).showCatalog},

		{get, "/v1/{project}/routetables", OpTableList, serviceVPC, "vpc:routeTables:list",
			object{"routetables": []any{}}, (*Server).listTables},
		{get, "/v1/{project}/routetables/{id}", OpTableGet, serviceVPC, "vpc:routeTables:get", nil, (*Server).getTable},
		{http.MethodPut, "/v1/{project}/routetables/{id}", OpTableUpdate, serviceVPC, "vpc:routeTables:update",
			nil, (*Server).updateTable},
		{get, "/v1/{project}/quotas", OpQuotas, serviceVPC, "vpc:quotas:list", nil, (*Server).listQuotas},
		{get, "/v2.0/ports", OpPortList, serviceVPC, "vpc:ports:get", object{"ports": []any{}}, (*Server).listPorts},

		{get, "/v1/{project}/cloudservers/detail", OpServerList, serviceECS, "ecs:cloudServers:list",
			object{"count": 0, "servers": []any{}}, (*Server).listServers},
		{get, "/v1/{project}/cloudservers/{id}", OpServerGet, serviceECS, "ecs:cloudServers:showServer",
			nil, (*Server).getServer},
		{get, "/v1/{project}/cloudservers/{id}/os-interface", OpInterfaceList, serviceECS,
			"ecs:cloudServers:listServerInterfaces", object{"interfaceAttachments": []any{}}, (*Server).listInterfaces},
	}
}

// locate finds the endpoint of a call. Paths are literal: one more slash is another path.
func (c *call) locate(all []endpoint) {
	for _, e := range all {
		if e.method != c.Method {
			continue
		}
		if project, id, ok := match(e.pattern, c.Path); ok {
			c.endpoint, c.Op, c.project, c.id = e, e.op, project, id
			return
		}
	}
}

func match(pattern, path string) (project, id string, ok bool) {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return "", "", false
	}
	for i, w := range want {
		switch {
		case w == "{project}" && got[i] != "":
			project = got[i]
		case w == "{id}" && got[i] != "":
			id = got[i]
		case w != got[i]:
			return "", "", false
		}
	}
	return project, id, true
}

// traffic is when a user's recent calls and writes were let through.
type traffic struct{ calls, writes []time.Time }

// refuse answers calls to VPC and ECS that do not get as far as the service.
func (s *Server) refuse(c *call) (answer, bool) {
	if c.knobs.NoTableAPI && strings.Contains(c.Path, "/routetables") {
		return c.fail(ShapeAPIGW, http.StatusNotFound, "APIGW.0101", ""), true
	}
	t, ok := s.token(c)
	switch here := region(c.Host); {
	case !ok:
		return c.badToken(), true
	case t.region != "" && here != "" && t.region != here:
		return c.fail(ShapeAPIGW, http.StatusUnauthorized, "APIGW.0307", ""), true
	}
	c.user = t.user
	if a, throttled := s.throttle(c); throttled {
		return a, true
	}
	if c.service == serviceVPC && c.knobs.Restricted {
		return c.fail(0, http.StatusUnauthorized, "VPC.0005", "The account is restricted."), true
	}
	if strings.Contains(c.pattern, "{project}") && c.project != t.projectID {
		return c.wrongProject(), true
	}
	return c.denied()
}

func (c *call) badToken() answer {
	const status = http.StatusUnauthorized
	switch c.knobs.BadToken {
	case BadToken0301:
		return c.fail(0, status, "APIGW.0301", "")
	case BadToken0307:
		return c.fail(0, status, "APIGW.0307", "")
	}
	return c.fail(0, status, "", "")
}

func (c *call) wrongProject() answer {
	code := "Ecs.0023"
	if c.service == serviceVPC {
		code = "VPC.0007"
	}
	return c.fail(0, http.StatusBadRequest, code, "The project in the URL is not the project of the token.")
}

// denied answers a call whose permission is missing.
func (c *call) denied() (answer, bool) {
	how, ok := c.knobs.Deny[c.action]
	if !ok || c.action == "" {
		return answer{}, false
	}
	message := "Policy doesn't allow " + c.action + " to be performed."
	switch {
	case how == DenyEmpty && c.empty != nil:
		return c.reply(http.StatusOK, c.empty), true
	case how == DenyNova:
		return c.fail(ShapeNova, http.StatusForbidden, "", message), true
	case c.service == serviceIAM:
		return c.fail(0, http.StatusForbidden, "IAM.0003", message), true
	}
	return c.fail(0, http.StatusForbidden, "", message), true
}

// throttle counts the call, or answers it if its user has used up a limit.
func (s *Server) throttle(c *call) (answer, bool) {
	t := s.sent[c.user]
	if t == nil {
		t = &traffic{}
		s.sent[c.user] = t
	}
	now := time.Now()
	if left := c.knobs.Requests.wait(&t.calls, now); left > 0 {
		return c.throttled(c.knobs.Requests, left), true
	}
	if c.Method != http.MethodGet {
		if left := c.knobs.Writes.wait(&t.writes, now); left > 0 {
			return c.throttled(c.knobs.Writes, left), true
		}
		t.writes = append(t.writes, now)
	}
	t.calls = append(t.calls, now)
	return answer{}, false
}

// wait returns how long the next call must wait, and forgets old calls.
func (l Limit) wait(log *[]time.Time, now time.Time) time.Duration {
	*log = slices.DeleteFunc(*log, func(at time.Time) bool { return now.Sub(at) >= l.Per })
	if l.N == 0 || len(*log) < l.N {
		return 0
	}
	return (*log)[0].Add(l.Per).Sub(now)
}

func (c *call) throttled(l Limit, left time.Duration) answer {
	if c.knobs.FlowLimit && c.service == serviceECS {
		return c.fail(0, http.StatusAccepted, "Common.0024", "")
	}
	unit, name := time.Second, "second"
	if l.Per%time.Minute == 0 {
		unit, name = time.Minute, "minute"
	}
	a := c.fail(0, http.StatusTooManyRequests, "APIGW.0308", fmt.Sprintf(
		"The throttling threshold has been reached: policy user over ratelimit,limit:%d,time:%d %s", l.N, l.Per/unit, name))
	seconds := (left + time.Second - 1) / time.Second
	switch c.knobs.RetryAfter {
	case RetryAfterSeconds:
		a.header.Set("Retry-After", fmt.Sprint(int(seconds)))
	case RetryAfterDate:
		a.header.Set("Retry-After", time.Now().Add(seconds*time.Second).UTC().Format(http.TimeFormat))
	}
	return a
}
