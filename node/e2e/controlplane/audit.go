package controlplane

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"time"
)

// A Request is one entry of the API server's audit log.
type Request struct {
	Verb      string // "get", "list", "watch", "create" …
	URL       *url.URL
	User      string // such as "system:serviceaccount:otc-route-manager:otc-route-manager"
	As        string // the user that it was asked as, if not that one
	UserAgent string
	Code      int    // HTTP status
	Stage     string // "ResponseComplete"; a watch has a "ResponseStarted" before it
	Resource  string // "nodes"; empty for paths such as /readyz
	Time      time.Time
}

// String returns the request as one line: code, verb and URL.
func (r Request) String() string { return fmt.Sprintf("%d %s %s", r.Code, r.Verb, r.URL) }

// Requests reads the whole audit log, oldest first. The API server writes an entry before it
// sends the answer, so what was answered is there.
func (c *ControlPlane) Requests() ([]Request, error) {
	text, err := os.ReadFile(c.file("audit.log"))
	if err != nil {
		return nil, err
	}
	var all []Request
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // half written
		}
		r, err := parseRequest(line)
		if err != nil {
			return nil, fmt.Errorf("audit log, entry %d: %w", len(all)+1, err)
		}
		all = append(all, r)
	}
	return all, nil
}

func parseRequest(line []byte) (Request, error) {
	var e struct {
		Stage, Verb, RequestURI, UserAgent string
		User, ImpersonatedUser             struct{ Username string }
		ObjectRef                          struct{ Resource string }
		ResponseStatus                     struct{ Code int }
		StageTimestamp                     time.Time
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return Request{}, err
	}
	u, err := url.Parse(e.RequestURI)
	if err != nil {
		return Request{}, err
	}
	return Request{
		Verb: e.Verb, URL: u, User: e.User.Username, As: e.ImpersonatedUser.Username, UserAgent: e.UserAgent, Code: e.ResponseStatus.Code,
		Stage: e.Stage, Resource: e.ObjectRef.Resource, Time: e.StageTimestamp,
	}, nil
}
