package live

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Recording is what a run asked and was answered, with nothing in it by which the
// account could be known.
type Recording struct {
	Cloud     string     `json:"cloud"` // realCloud, or that it is none
	Region    string     `json:"region"`
	Date      string     `json:"date"`
	Rows      []Row      `json:"rows"`
	Exchanges []Exchange `json:"exchanges"`
}

// What a Recording comes from.
const (
	realCloud      = "Open Telekom Cloud"
	simulatedCloud = "none: this is an example made from the simulator"
)

// An Exchange is a request and its answer. Of a list of routes it has the first 8.
type Exchange struct {
	Question string            `json:"question"`
	Method   string            `json:"method"`
	Path     string            `json:"path"`
	Sent     json.RawMessage   `json:"sent,omitempty"` // never that of a login
	Status   int               `json:"status"`
	Header   map[string]string `json:"header"` // what the program reads, and request ids
	Body     json.RawMessage   `json:"body"`
}

// record replaces what is private, and fails rather than let any of it through.
func (r *run) record() (*Recording, error) {
	rec := &Recording{Cloud: realCloud, Region: r.OTC.Region, Date: time.Now().UTC().Format(time.DateOnly), Rows: r.rows}
	if r.simulated {
		rec.Cloud = simulatedCloud
	}
	s := newScrubber(r)
	for _, e := range r.gate.exchanges {
		rec.Exchanges = append(rec.Exchanges, s.exchange(e))
	}
	if err := s.check(rec); err != nil {
		return nil, fmt.Errorf("no recording is written: %w", err)
	}
	return rec, nil
}

func (s *scrubber) exchange(e exchange) Exchange {
	x := Exchange{Question: e.question, Method: e.method, Path: s.shaped(e.path), Status: e.status, Header: map[string]string{}, Body: s.json(e.body)}
	if e.method == http.MethodPut {
		x.Sent = s.json(e.sent)
	}
	for _, name := range slices.Sorted(maps.Keys(e.header)) {
		values := e.header[name]
		switch lower := strings.ToLower(name); {
		case lower == "content-type" || lower == "retry-after":
			x.Header[name] = values[0]
		case lower == "x-subject-token":
			x.Header[name] = s.name(values[0])
		case strings.Contains(lower, "request-id"):
			x.Header[name] = s.value("", values[0]).(string)
		}
	}
	return x
}

// Name is that of the file in otc/otctest/answers.
func (rec *Recording) Name() string {
	if rec.Cloud != realCloud {
		return "simulator-" + rec.Date + ".json"
	}
	return rec.Region + "-" + rec.Date + ".json"
}

// Encode writes a row, or an exchange, to a line.
func (rec *Recording) Encode() []byte {
	return fmt.Appendf(nil, "{\"cloud\":%q,\"region\":%q,\"date\":%q,\n\"rows\":[%s],\n\"exchanges\":[%s]}\n",
		rec.Cloud, rec.Region, rec.Date, lines(rec.Rows), lines(rec.Exchanges))
}

func lines[T any](list []T) string {
	var b strings.Builder
	for i, v := range list {
		line, _ := json.Marshal(v) // of strings, and JSON that was valid
		fmt.Fprintf(&b, "%s\n%s", ","[:min(i, 1)], line)
	}
	return b.String()
}
