package live

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"otc-route-manager/otc"
)

// An update is the body of a PUT (VPC API, updating a route table).
type update struct {
	Table struct {
		Routes map[string][]op `json:"routes"` // by "add", "mod" and "del"
	} `json:"routetable"`
}

type op struct {
	Type        string `json:"type,omitempty"`
	Destination string `json:"destination"`
	NextHop     string `json:"nexthop,omitempty"`
	Description string `json:"description,omitempty"`
}

// write sends operations in words, such as "del 0 add 0 1": a number is a part of
// LIVE_CIDR, anything else is a destination as it is.
func (r *run) write(ctx context.Context, words string) answer {
	ops, kind := map[string][]op{}, ""
	for word := range strings.FieldsSeq(words) {
		i, err := strconv.Atoi(word)
		switch {
		case word == "add" || word == "mod" || word == "del":
			kind = word
			continue
		case err == nil:
			word = r.dest(i)
		}
		o := op{Destination: word}
		if kind != "del" {
			o = op{otc.TypeECS, word, r.Instance, mark}
		}
		ops[kind] = append(ops[kind], o)
	}
	return r.put(ctx, ops)
}

// String lists the operations.
func (u update) String() string {
	var parts []string
	for _, kind := range []string{"del", "mod", "add"} {
		ops := u.Table.Routes[kind]
		for i, o := range ops {
			text := kind + " " + o.Destination
			if o.NextHop != "" {
				text += " → " + o.NextHop
			}
			if n := len([]rune(o.Description)); o.NextHop != "" && n != len(mark) {
				text += fmt.Sprintf(" with a description of %d characters", n)
			}
			if len(ops) > 3 && i == 0 {
				text = fmt.Sprintf("%s and %d more, up to %s", text, len(ops)-1, ops[len(ops)-1].Destination)
			}
			if len(ops) <= 3 || i == 0 {
				parts = append(parts, text)
			}
		}
	}
	return strings.Join(parts, ", ")
}

// A table is a route table as a GET shows it.
type table struct {
	ID      string  `json:"id"`
	VPC     string  `json:"vpc_id"`
	Default *bool   `json:"default"`
	Routes  []route `json:"routes"`
	Subnets *[]any  `json:"subnets"`
}

type route struct {
	Type        string          `json:"type"`
	Destination string          `json:"destination"`
	NextHop     json.RawMessage `json:"nexthop"`
	Description string          `json:"description"`
}

// find returns the route to a destination, however it is spelled.
func (t table) find(destination string) *route {
	for i, o := range t.Routes {
		if otc.ParseDestination(o.Destination) == otc.ParseDestination(destination) {
			return &t.Routes[i]
		}
	}
	return nil
}

// own returns the routes that are not the system's.
func (t table) own() (own []route) {
	for _, o := range t.Routes {
		if o.Type != "local" {
			own = append(own, o)
		}
	}
	return own
}

// String counts the local routes and lists the others.
func (t table) String() string {
	own := t.own()
	text := fmt.Sprintf("%d local routes", len(t.Routes)-len(own))
	for _, o := range own[:min(len(own), 3)] {
		text += ", " + o.Type + " " + o.Destination
	}
	if len(own) > 3 {
		text += fmt.Sprintf(" and %d more", len(own)-3)
	}
	if own == nil {
		return text + " and no other"
	}
	return text
}

// An answer is a response of the cloud.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// String is the status and, of an error, its code.
func (a answer) String() string {
	code := regexp.MustCompile(`"([A-Za-z]+\.\d{3,5})"`).FindSubmatch(a.body)
	if a.status/100 == 2 || code == nil {
		return strconv.Itoa(a.status)
	}
	return fmt.Sprintf("%d %s", a.status, code[1])
}

// at returns what a path of members, and indexes of lists, leads to; nil if nothing.
func (a answer) at(path string) (v any) {
	_ = json.Unmarshal(a.body, &v) // no JSON: nothing
	for step := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[step]
		case []any:
			i, _ := strconv.Atoi(step)
			if v = nil; i < len(in) {
				v = in[i]
			}
		default:
			return nil
		}
	}
	return v
}

// table decodes the answer to a GET of a table.
func (a answer) table() (t table, err error) {
	var body struct {
		Table *table `json:"routetable"`
	}
	err = json.Unmarshal(a.body, &body)
	if a.status != http.StatusOK || err != nil || body.Table == nil {
		return t, fmt.Errorf("the route table cannot be read: HTTP %s", a)
	}
	return *body.Table, nil
}
