package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"otc-route-manager/otc"
)

// TestRecorder: "30 503 +" is the failure 503 at minute 30, which is recorded; a
// name is another state, "clear" makes the next one new.
func TestRecorder(t *testing.T) {
	for name, story := range map[string]string{
		"a state is recorded once":                          "0 ok +, 1 ok -, 300 ok -",
		"a failure that lasts, every half hour":             "0 503 +, 1 503 -, 29 503 -, 30 503 +, 59 503 -, 60 503 +, 90 503 +, 120 503 +",
		"to and fro between two failures is one that lasts": "0 503 +, 1 502 +, 2 503 -, 3 502 -, 29 503 -, 30 503 +, 31 502 +, 32 503 -",
		"its end is recorded, and only once":                "0 503 +, 1 ok +, 2 ok -, 31 ok -",
		"the next one within half an hour, too":             "0 503 +, 1 ok +, 2 503 +, 3 ok +",
		"what comes and goes, three times in half an hour":  "0 503 +, 1 ok +, 2 503 +, 3 ok +, 4 503 +, 5 ok +, 6 503 -, 7 ok -, 8 503 -, 29 503 -, 31 503 +, 32 ok +, 33 503 +",
		"states that take turns":                            "0 a +, 1 b +, 2 a +, 3 b +, 4 a +, 5 b +, 6 a +, 7 b +, 30 a +, 31 b +",
		"a state after a failure that is not told again":    "0 503 +, 1 a +, 2 503 +, 3 a +, 4 503 +, 5 a +, 6 503 -, 7 b +",
		"cleared": "0 503 +, 1 clear, 2 503 +, 3 a +, 4 clear, 5 a +",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, events, start := &journal{}, 0, time.Now()
				rec := NewRecorder(slog.New(log), func(bool, string, string) { events++ })
				told := 0
				for exchange := range strings.SplitSeq(story, ", ") {
					var minute int
					var key, want string
					fmt.Sscan(exchange, &minute, &key, &want)
					time.Sleep(time.Until(start.Add(time.Duration(minute) * time.Minute)))
					severity := info
					switch {
					case key == "clear":
						rec.clear("table")
						continue
					case key[0] == '5':
						severity = failing
					}
					got := rec.record("table", key, severity, routeFailed, "now "+key)
					if got {
						told++
					}
					if got != (want == "+") {
						t.Errorf("%s: recorded %v", exchange, got)
					}
					if len(log.all()) != told || events != told {
						t.Fatalf("%s: %d lines and %d Events, want %d of each", exchange, len(log.all()), events, told)
					}
				}
			})
		})
	}
}

// TestRecorderForgets: what has not come for half an hour costs no memory. A text is
// one line, whoever wrote it.
func TestRecorderForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := NewRecorder(nil, nil)
		for i := range 1000 {
			rec.failure("table", "", "could not", fmt.Errorf("reason\r\n %d", i), 0)
			time.Sleep(time.Minute)
		}
		if n, changes := len(rec.topics["table"].tallies), rec.recent(); n > 30 || len(changes) != keepChanges || changes[0].Text != "could not: reason 999" {
			t.Errorf("%d keys of a topic and %d changes, want 30 and %d at most, and the newest in one line: %q", n, len(changes), keepChanges, changes[0].Text)
		}
	})
}

// TestKind: what makes two failures the same.
func TestKind(t *testing.T) {
	answer := func(status int, code, id string) error {
		return &otc.Error{Service: "vpc", Operation: "get", Status: status, Code: code, RequestID: id, Message: id}
	}
	silence := func(text string) error { return &otc.Error{Service: "vpc", Operation: "get", Err: errors.New(text)} }
	for _, tt := range []struct {
		a, b error
		same bool
	}{
		{answer(503, "", "id-1"), answer(503, "", "id-2"), true},
		{answer(503, "", "id-1"), answer(502, "", "id-1"), false},
		{answer(403, "VPC.2201", ""), answer(403, "VPC.2701", ""), false},
		{silence("read tcp 10.0.0.1:40001: reset"), silence("read tcp 10.0.0.1:40002: reset"), true},
		{silence("reset"), &otc.Error{Service: "vpc", Operation: "update", Err: errors.New("reset")}, false},
		{silence("reset"), &otc.Error{Service: "vpc", Operation: "get", Err: errors.New("expired"), Hint: "renew it"}, false},
		{&url.Error{Op: "Get", Err: errors.New("127.0.0.1:40001")}, &url.Error{Op: "Get", Err: errors.New("127.0.0.1:40002")}, true},
		{fmt.Errorf("1: %w", context.DeadlineExceeded), fmt.Errorf("2: %w", context.DeadlineExceeded), true},
		{errNoInstance, errOtherVPC, false},
	} {
		if same := kind(tt.a) == kind(tt.b); same != tt.same {
			t.Errorf("%v and %v: the same %v, want %v", tt.a, tt.b, same, tt.same)
		}
	}
}
