package otctest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhichRequestMeetsAFault(t *testing.T) {
	b := newBed(t)
	b.Fail(Fault{Op: OpTableGet, After: 1, Times: 2, Status: 500})
	b.Fail(Fault{Op: OpTableGet, Status: 503, Match: func(r Request) bool { return r.Query.Get("x") == "1" }})
	b.Fail(Fault{Op: OpServerList, Times: -1, Status: 500})
	for _, status := range []int{200, 500, 500, 200} {
		b.get(tbl).want(status)
	}
	b.get(tbl + "?x=1").want(503)
	b.get(tbl + "?x=1").want(200)
	for range 3 {
		b.get(servers + "/detail").want(500)
	}
	equal(t, "pending", b.Pending(), 1)
	b.Heal()
	b.get(servers + "/detail").want(200)
	b.Fail(Fault{Status: 418})
	b.get(vpc + "/nowhere").want(418)
}

func TestFaultAnswers(t *testing.T) {
	get := servers + "/" + one
	tests := []struct {
		name, url string
		fault     Fault
		status    int
		want      string
	}{
		{"VPC", tbl, Fault{Status: 500}, 500, `{"code":"VPC.0105","message":"Internal Server Error"}`},
		{"ECS", get, Fault{Status: 500}, 500, `{"error":{"code":"Common.0001","message":"Internal Server Error"}}`},
		{"code and message", tbl, Fault{Status: 400, Code: "VPC.0004", Message: "Later."}, 400, `{"code":"VPC.0004","message":"Later."}`},
		{"APIGW by code", get, Fault{Status: 429}, 429, `{"error_code":"APIGW.0308",`},
		{"IAM", iam + "/v3/auth/projects", Fault{Status: 503}, 503, `{"error":{"code":503,`},
		{"IAM by code", iam + "/v3/auth/projects", Fault{Status: 410}, 410, `{"error_code":"IAM.0020","error_msg":"Gone"}`},
		{"Nova", get, Fault{Status: 404, Shape: ShapeNova}, 404, `{"itemNotFound":{"code":404,`},
		{"message only", tbl, Fault{Status: 404, Shape: ShapeMessage}, 404, `{"message":"Not Found","request_id":`},
		{"page", tbl, Fault{Status: 502, Shape: ShapeHTML}, 502, `<html>`},
		{"body", tbl, Fault{Body: []byte("{}")}, 200, `{}`},
		{"flow limit", get, Fault{Status: 202}, 202, `{"error":{"code":"Common.0024"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t)
			b.Fail(tt.fault)
			b.get(tt.url).want(tt.status, tt.want)
			equal(t, "recorded status", b.Requests()[0].Status, tt.status)
		})
	}
	b := newBed(t)
	b.Fail(Fault{Status: 504, Shape: ShapeEmpty})
	equal(t, "empty body", b.get(tbl).want(504).body, "")
	b.Fail(Fault{Status: 504, Body: []byte{}})
	equal(t, "empty body", b.get(tbl).want(504).body, "")
	b.Fail(Fault{Status: 429, Header: http.Header{"retry-after": {"7"}}})
	equal(t, "header", b.get(tbl).header.Get("Retry-After"), "7")
	b.Set(func(k *Knobs) { k.SwapCode = true })
	b.get(get).want(404, `"message":"Ecs.0114"`)
}

// TestWhatTakesEffect holds for each fault on a PUT whether the table changes.
func TestWhatTakesEffect(t *testing.T) {
	const three = "10.3.0.0/16 10.4.0.0/16 10.5.0.0/16"
	reset := errors.New("handshake failed")
	tests := []struct {
		name   string
		fault  Fault
		status int
		err    error
		table  string
	}{
		{"delay", Fault{Delay: time.Hour}, 200, nil, three},
		{"status", Fault{Status: 504}, 504, nil, ""},
		{"reset", Fault{Reset: true}, 0, syscall.ECONNRESET, ""},
		{"error", Fault{Err: reset}, 0, reset, ""},
		{"cut", Fault{Truncate: true}, 200, io.ErrUnexpectedEOF, three},
		{"applied, status", Fault{Applied: true, Status: 504}, 504, nil, three},
		{"applied, reset", Fault{Applied: true, Reset: true}, 0, syscall.ECONNRESET, three},
		{"applied, delay", Fault{Applied: true, Delay: time.Hour}, 200, nil, three},
		{"in part", Fault{ApplyFirst: 2}, 500, nil, "10.3.0.0/16 10.4.0.0/16"},
		{"in part, status", Fault{ApplyFirst: 1, Status: 409}, 409, nil, "10.3.0.0/16"},
		{"in part, reset", Fault{ApplyFirst: 1, Applied: true, Reset: true}, 0, syscall.ECONNRESET, "10.3.0.0/16"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t)
				tt.fault.Op = OpTableUpdate
				b.Fail(tt.fault)
				g := b.put("add " + three)
				equal(t, "status", g.status, tt.status)
				if !errors.Is(g.err, tt.err) {
					t.Errorf("got error %v, want %v", g.err, tt.err)
				}
				b.table(tt.table)
			})
		})
	}
}

func TestTime(t *testing.T) {
	tests := []struct {
		name    string
		fault   Fault
		latency time.Duration
		timeout time.Duration
		took    time.Duration
		err     error
		table   string
	}{
		{"latency", Fault{}, time.Second, 0, time.Second, nil, "10.3.0.0/16"},
		{"given up before", Fault{}, time.Second, 400 * time.Millisecond, 400 * time.Millisecond, context.DeadlineExceeded, ""},
		{"given up after", Fault{}, time.Second, 600 * time.Millisecond, 600 * time.Millisecond, context.DeadlineExceeded, "10.3.0.0/16"},
		{"delay", Fault{Delay: 31 * time.Second}, 0, 0, 31 * time.Second, nil, "10.3.0.0/16"},
		{"delay, given up", Fault{Delay: 31 * time.Second}, 0, 20 * time.Second, 20 * time.Second, context.DeadlineExceeded, ""},
		{"applied, then delay", Fault{Delay: 31 * time.Second, Applied: true}, 0, 20 * time.Second, 20 * time.Second, context.DeadlineExceeded, "10.3.0.0/16"},
		{"hang", Fault{Hang: true}, 0, time.Minute, time.Minute, context.DeadlineExceeded, ""},
		{"slow", Fault{Body: []byte("12345"), Slow: time.Second}, 0, 0, 5 * time.Second, nil, ""},
		{"slow, given up", Fault{Body: []byte("12345"), Slow: time.Second}, 0, 3 * time.Second, 3 * time.Second, context.DeadlineExceeded, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t)
				b.Set(func(k *Knobs) { k.Latency = tt.latency })
				tt.fault.Op = OpTableUpdate
				b.Fail(tt.fault)
				if tt.timeout > 0 {
					ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
					defer cancel()
					b.ctx = ctx
				}
				var g got
				got := took(func() { g = b.put("add 10.3.0.0/16") })
				if got < tt.took || got > tt.took+time.Second {
					t.Errorf("took %v, want %v", got, tt.took)
				}
				if !errors.Is(g.err, tt.err) {
					t.Errorf("got error %v, want %v", g.err, tt.err)
				}
				b.table(tt.table)
			})
		})
	}
}

func TestGivenUpBeforeItStarts(t *testing.T) {
	b := newBed(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.ctx = ctx
	if err := b.get(tbl).err; !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want canceled", err)
	}
	equal(t, "requests", b.Count(""), 0)
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.Set(func(k *Knobs) { k.Writes = Limit{2, 5 * time.Minute}; k.RetryAfter = RetryAfterSeconds })
		b.put("add 10.3.0.0/16").want(200)
		time.Sleep(time.Minute)
		b.put("add 10.3.0.0/16").want(400)
		g := b.put("add 10.4.0.0/16").want(429, `"APIGW.0308"`, "limit:2,time:5 minute")
		equal(t, "Retry-After", g.header.Get("Retry-After"), "240")
		b.get(tbl).want(200)
		b.table("10.3.0.0/16")
		b.AddUser("svc-two", "p")
		mine := b.token
		b.token = b.send(http.MethodPost, iam+"/v3/auth/tokens", loginText("svc-two", "p", `{"project":{"id":"`+ProjectID+`"}}`)).
			header.Get("X-Subject-Token")
		b.put("add 10.4.0.0/16").want(200)
		b.token = mine
		time.Sleep(4 * time.Minute)
		b.put("add 10.5.0.0/16").want(200)
		b.put("add 10.6.0.0/16").want(429)

		b.Set(func(k *Knobs) { k.Requests = Limit{1, time.Second}; k.RetryAfter = RetryAfterDate })
		time.Sleep(time.Second)
		b.get(tbl).want(200)
		g = b.get(servers+"/detail").want(429, "limit:1,time:1 second")
		equal(t, "Retry-After", g.header.Get("Retry-After"), time.Now().Add(time.Second).UTC().Format(http.TimeFormat))
		b.Set(func(k *Knobs) { k.FlowLimit, k.RetryAfter = true, RetryAfterNone })
		b.get(servers+"/detail").want(202, `{"error":{"code":"Common.0024"`)
		equal(t, "Retry-After", b.get(tbl).want(429).header.Get("Retry-After"), "")
	})
}
