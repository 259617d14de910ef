package live

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"otc-route-manager/otc"
)

const (
	mark        = "make live (otc-route-manager)" // the description of every route
	callTimeout = 30 * time.Second
	unmeasured  = 10 * time.Second // how long reads may be outdated after a write, until this was measured
	lateWrite   = 75 * time.Second // after its end a PUT without an answer is no longer executed
	slack       = 10               // calls that the clean-up may need beside its deletes
)

var errUnsure = errors.New("a write got no answer")

// A run asks the questions once. After the first failure, err, its methods send nothing
// and return zero values.
type run struct {
	Config
	simulated bool
	gate      *gate
	err       error
	rows      []Row

	credentials otc.Credentials // what was sent
	token       string
	base        map[string]string // URL by service, with version and project
	checked     table             // as it was before the first write
	unchecked   string            // what could not be checked
	kept        map[string]answer // for later questions

	known  *table        // what the last read showed; nil after a write
	wrote  time.Time     // when the last write ended
	settle time.Duration // how long reads may be outdated after a write
	chunk  int           // operations that the cloud takes in one write
	dirty  bool          // something was written since the last clear
	limit  int           // routes that the quota allows; 0: not known
	fits   int           // routes that were added until the table was full; 0: it is not
}

func newRun(c Config) *run {
	r := &run{Config: c, simulated: c.OTC.Transport != nil, chunk: 2, settle: unmeasured, kept: map[string]answer{}}
	r.gate = &gate{wire: c.OTC.Transport, instance: c.Instance, ranges: c.Ranges, pace: pace, reserve: slack,
		written: map[netip.Prefix]bool{}, question: "before the first write"}
	if c.DryRun {
		r.gate.pace, r.gate.list = 0, r.lister()
	}
	if r.gate.wire == nil {
		r.gate.wire = network(c.OTC)
	}
	r.OTC.Transport = r.gate
	r.OTC.Credentials = func() (v otc.Credentials, err error) {
		r.credentials, err = c.OTC.Credentials()
		return r.credentials, err
	}
	return r
}

// network is HTTP/1.1 over TLS, as the program speaks it.
func network(c otc.Config) http.RoundTripper {
	var only http.Protocols
	only.SetHTTP1(true)
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, Protocols: &only, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if c.RootCAs != nil {
		t.TLSClientConfig.RootCAs, _ = c.RootCAs() // it was read when the settings were
	}
	return t
}

// logIn logs in as the program does.
func (r *run) logIn(ctx context.Context) error {
	_, _, base, err := otc.New(r.OTC, nil).Login(ctx)
	if err != nil {
		return err
	}
	r.kept["login"] = r.gate.exchanges[len(r.gate.exchanges)-1].answer
	r.token, r.base = r.kept["login"].header.Get("X-Subject-Token"), base
	vpc, err := url.Parse(base["vpc"])
	if err == nil {
		r.gate.table = vpc.Path + "/routetables/" + r.Table
	}
	return err
}

// get makes one GET, with the token of the run.
func (r *run) get(ctx context.Context, service, path string) answer {
	return r.send(ctx, http.MethodGet, r.base[service]+path, r.token, nil)
}

// put makes one PUT to the route table. Ctrl-C does not interrupt it, or it would be
// unknown whether it was executed.
func (r *run) put(ctx context.Context, ops map[string][]op) answer {
	if r.err = cmp.Or(r.err, ctx.Err()); r.err != nil {
		return answer{}
	}
	r.gate.reserve += (len(ops["add"]) + r.chunk - 1) / r.chunk // to delete them again
	r.known, r.dirty = nil, true
	var u update
	u.Table.Routes = ops
	body, _ := json.Marshal(u) // of strings
	a := r.send(context.WithoutCancel(ctx), http.MethodPut, r.base["vpc"]+"/routetables/"+r.Table, r.token, body)
	r.wrote = time.Now()
	return a
}

// send makes one call. The run ends without an answer, with an answer that is not the
// API's, and with one that the next calls would get, too.
func (r *run) send(ctx context.Context, method, address, token string, body []byte) (a answer) {
	if r.err != nil {
		return a
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		r.err = err
		return a
	}
	req.Header = http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json;charset=utf8"}, "X-Auth-Token": {token}}
	resp, err := r.gate.RoundTrip(req)
	if err != nil {
		r.err = err
		return a
	}
	a = answer{status: resp.StatusCode, header: resp.Header}
	a.body, _ = io.ReadAll(resp.Body) // from memory
	switch {
	case a.status == http.StatusTooManyRequests, a.status == http.StatusUnauthorized && token == r.token:
		r.err = fmt.Errorf("the cloud answers %s", a)
	case !json.Valid(a.body):
		r.err = fmt.Errorf("HTTP %d with %d bytes that are not the API's: is there a proxy on the way?", a.status, len(a.body))
	}
	return a
}

// read returns what the table holds, once reads are no longer outdated.
func (r *run) read(ctx context.Context) table {
	if r.known != nil && r.err == nil {
		return *r.known
	}
	r.err = cmp.Or(r.err, r.wait(ctx, time.Until(r.wrote.Add(r.settle))))
	return r.readNow(ctx)
}

func (r *run) readNow(ctx context.Context) (t table) {
	a := r.get(ctx, "vpc", "/routetables/"+r.Table)
	if r.err == nil {
		t, r.err = a.table()
		r.known = &t
	}
	return t
}

// clear removes what questions wrote.
func (r *run) clear(ctx context.Context) {
	if r.dirty {
		r.empty(ctx, r.chunk, 1)
		r.dirty, r.gate.reserve = r.err != nil, slack
	}
}

// empty deletes until a read shows nothing that this run wrote. Each try has its number
// of deletes in a write.
func (r *run) empty(ctx context.Context, chunks ...int) table {
	for try := 0; ; try++ {
		left := r.gate.left(r.read(ctx))
		if r.err != nil || len(left) == 0 {
			return *cmp.Or(r.known, &table{})
		}
		if try == len(chunks) {
			r.err = fmt.Errorf("%d routes are left", len(left))
			continue
		}
		for part := range slices.Chunk(left, chunks[try]) {
			r.write(ctx, "del "+strings.Join(part, " ")) // the next read shows whether it was
		}
	}
}

// cleanUp removes all that the run wrote and shows the last read. A write without an
// answer may be executed late, so it reads once more then.
func (r *run) cleanUp(ctx context.Context) error {
	r.gate.question, r.gate.reserve = "at the end", 0
	if r.dirty {
		fmt.Fprintln(r.Log, "What was written is deleted, please wait.")
	}
	var last table
	for try := range 4 {
		r.err, r.known = r.wait(ctx, time.Duration(2*try)*time.Second), nil
		last = r.empty(ctx, r.chunk, 5, 1)
		if r.err == nil && r.gate.unanswered {
			fmt.Fprintf(r.Log, "A write got no answer and may still be executed: the table is read again in %v, please wait.\n", lateWrite)
			r.gate.unanswered, r.err = false, errUnsure
			_ = r.wait(ctx, lateWrite) // nothing interrupts it
		}
		if r.err == nil {
			break
		}
	}
	if r.err != nil {
		return fmt.Errorf("NOT cleaned up: look at route table %s in the console and delete there the routes with the description %q: %w", r.Table, mark, r.err)
	}
	if !r.DryRun {
		fmt.Fprintf(r.Log, "\n%d calls were made, %d of them logins. The last read of route table %s shows %s.\n", r.gate.calls, r.gate.logins, r.Table, last)
	}
	return nil
}

func (r *run) wait(ctx context.Context, d time.Duration) error {
	if r.DryRun {
		d = 0
	}
	return sleep(ctx, d)
}
