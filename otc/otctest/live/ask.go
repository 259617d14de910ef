package live

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Questions that only read.

func login(_ context.Context, r *run) string {
	a := r.kept["login"]
	life := func(member string) time.Time {
		text, _ := a.at("token." + member).(string)
		at, _ := time.Parse(time.RFC3339, text)
		return at
	}
	return fmt.Sprintf("%s, token in X-Subject-Token, valid for %v", a, life("expires_at").Sub(life("issued_at")))
}

// catalog names the entries that the program can use.
func catalog(_ context.Context, r *run) string {
	var types []string
	shape := "flat"
	list, _ := r.kept["login"].at("token.catalog").([]any)
	for _, e := range list {
		entry, _ := e.(map[string]any)
		kind, _ := entry["type"].(string)
		if slices.Contains([]string{"vpc", "network", "ecs", "compute", "identity"}, kind) {
			types = append(types, kind)
		}
		if entry["endpoints"] != nil {
			shape = "nested"
		}
	}
	if len(list) == 0 {
		return "there is none"
	}
	slices.Sort(types)
	return shape + ": " + strings.Join(slices.Compact(types), ", ")
}

func noTable(ctx context.Context, r *run) string {
	r.kept["no table"] = r.get(ctx, "vpc", "/routetables/"+noServer)
	return r.kept["no table"].String()
}

func noInstance(ctx context.Context, r *run) string {
	return r.get(ctx, "ecs", "/cloudservers/"+noServer).String()
}

func badToken(ctx context.Context, r *run) string {
	const token = "never-issued"
	vpc := r.send(ctx, http.MethodGet, r.base["vpc"]+"/routetables/"+r.Table, token, nil)
	ecs := r.send(ctx, http.MethodGet, r.base["ecs"]+"/cloudservers/"+r.Instance, token, nil)
	return vpc.String() + ", " + ecs.String()
}

func forbidden(ctx context.Context, r *run) string {
	a := r.get(ctx, "ecs", "/cloudservers/"+r.Instance+"/os-interface")
	if a.status == http.StatusOK {
		return notAsked + "this user has the permission"
	}
	return a.String()
}

func requestID(_ context.Context, r *run) string {
	names := func(a answer) string {
		isOther := func(name string) bool { return !strings.Contains(strings.ToLower(name), "request-id") }
		return cmp.Or(strings.Join(slices.DeleteFunc(slices.Sorted(maps.Keys(a.header)), isOther), " "), "none")
	}
	return names(r.kept["table"]) + ", of an error " + names(r.kept["no table"])
}

func quota(ctx context.Context, r *run) string {
	const kind = "routetableContainRoutes"
	a := r.get(ctx, "vpc", "/quotas?type="+kind)
	list, _ := a.at("quotas.resources").([]any)
	for _, e := range list {
		resource, _ := e.(map[string]any)
		if n, ok := resource["quota"].(float64); ok && resource["type"] == kind {
			r.limit = int(n)
			return fmt.Sprint(n)
		}
	}
	return a.String()
}

func members(kept, path string) func(context.Context, *run) string {
	return func(_ context.Context, r *run) string {
		a := r.kept[kept]
		object, ok := a.at(path).(map[string]any)
		if !ok {
			return notAsked + "it could not be read: HTTP " + a.String()
		}
		return strings.Join(slices.Sorted(maps.Keys(object)), " ")
	}
}

func localHop(_ context.Context, r *run) string {
	return cmp.Or(string(r.checked.Routes[0].NextHop), "there is none")
}

func inCH2(_ context.Context, r *run) string {
	if r.OTC.Region != "eu-ch2" {
		return notAsked + "it takes a run there"
	}
	return "as in the other regions" // or the first read had ended the run
}
