package node

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"otc-route-manager/otc"
)

// opsOf reads "+1 ~2 -3 +6": add, modify and delete some destination; from 6 on they
// are of IPv6. The next hop keeps the word.
func opsOf(s string) (ch otc.Changes) {
	for word := range strings.FieldsSeq(s) {
		kind := map[byte]otc.OpKind{'+': otc.Add, '~': otc.Modify, '-': otc.Delete}[word[0]]
		p := netip.MustParsePrefix("10.128." + word[1:] + ".0/24")
		if word[1] >= '6' {
			p = netip.MustParsePrefix("fd01:" + word[1:] + "::/64")
		}
		ch = append(ch, otc.Op{Kind: kind, Route: otc.Route{Destination: p, NextHop: word}})
	}
	return ch
}

func hops(ch otc.Changes) string {
	var words []string
	for _, op := range ch {
		words = append(words, op.NextHop)
	}
	return strings.Join(words, " ")
}

// answerOf is the error of a PUT: a reaction, and for how long it asks to wait.
func answerOf(s string) error {
	name, after, _ := strings.Cut(s, " ")
	for r := otc.Permanent; r <= otc.Quota; r++ {
		if r.String() == name {
			d, _ := time.ParseDuration(after)
			return &otc.Error{Reaction: r, Message: name, RetryAfter: d}
		}
	}
	switch name {
	case "ok":
		return nil
	case "old":
		return otc.ErrTooOld
	}
	return errors.New(name)
}

func (s step) String() string {
	switch {
	case s.action == stepPut:
		return "put " + hops(s.changes)
	case s.action == stepDone:
		return "done"
	case errors.Is(s.err, errUnconfirmed):
		return "fail unconfirmed"
	case errors.Is(s.err, errSlow):
		return "fail slow"
	case s.action == stepFail:
		var reactions []string
		for _, name := range strings.Fields("permanent transient throttled relogin login_refused rejected conflict quota") {
			if strings.Contains(s.err.Error(), name) {
				reactions = append(reactions, name)
			}
		}
		return strings.TrimSpace("fail " + strings.Join(reactions, " "))
	case s.action == stepRead:
		return "read"
	case s.wait == s.wait.Truncate(time.Second):
		return "wait " + s.wait.String()
	case s.wait >= 10*time.Second && s.wait < time.Minute:
		return "wait 10s to 1m"
	}
	for full := time.Second; full <= 4*time.Second; full *= 2 {
		if s.wait >= full/2 && s.wait < full {
			return "pause " + full.String()
		}
	}
	return s.wait.String()
}

// TestAttempt walks the machine of one pass: what a read shows to be lacking, or
// what a PUT was answered, and the step that follows; in the end, what the cloud has
// taken and what it has not.
func TestAttempt(t *testing.T) {
	for _, tt := range []struct{ name, steps, accepted, failed string }{
		{"nothing to do", "nothing = done", "", ""},
		{"only read", "only read; +1 -2 = done", "", ""},
		{"added", "+1 = put +1; ok = read; nothing = done", "+1", ""},
		{"several at once", "+1 ~2 -3 +6 = put +1 ~2 -3 +6; ok = read; nothing = done", "+1 ~2 -3 +6", ""},
		{"shown late", "+1 = put +1; ok = read; +1 = pause 1s; +1 = pause 2s; nothing = done", "+1", ""},
		{"never shown", "+1 = put +1; ok = read; +1 = pause 1s; +1 = pause 2s; +1 = pause 4s; +1 = fail unconfirmed", "+1", ""},
		{"something else is lacking then", "+1 = put +1; ok = read; +1 -2 = put -2; ok = read; nothing = done", "+1 -2", ""},
		{"taken, and another's by the next read", "+1 = put +1; ok = read; ~1 = pause 1s; nothing = done", "+1", ""},

		{"no answer, executed", "+1 = put +1; transient = read; nothing = done", "+1", ""},
		{"no answer, not executed", "+1 = put +1; transient = read; +1 = fail transient", "", "+1"},
		{"no answer, executed in part", "+1 +2 = put +1 +2; transient = read; +2 = fail transient", "", "+1 +2"},
		{"no *otc.Error, executed", "+1 = put +1; EOF = read; nothing = done", "+1", ""},

		{"throttled", "+1 = put +1; throttled = wait 10s to 1m; +1 = put +1; ok = read; nothing = done", "+1", ""},
		{"throttled, told how long", "+1 = put +1; throttled 7s = wait 7s; +1 = put +1; throttled 60s = wait 1m0s; +1 = put +1; ok = read; nothing = done", "+1", ""},
		{"throttled for longer than a pass waits", "+1 = put +1; throttled 61s = fail throttled", "", "+1"},
		{"throttled three times", "+1 = put +1; throttled = wait 10s to 1m; +1 = put +1; throttled = wait 10s to 1m; +1 = put +1; throttled = fail throttled", "", "+1"},
		{"throttled, and nothing lacks then", "+1 = put +1; throttled = wait 10s to 1m; nothing = done", "", ""},

		{"the read is too old", "+1 = put +1; old = read; +1 = put +1; old = read; +1 = put +1; ok = read; nothing = done", "+1", ""},
		{"every read is too old", "+1 = put +1; old = read; +1 = put +1; old = read; +1 = put +1; old = fail slow", "", ""},

		{"another writer", "+1 = put +1; conflict = pause 1s; ~1 = put ~1; ok = read; nothing = done", "~1", "+1"},
		{"another writer, who stays", "+1 = put +1; conflict = pause 1s; +1 = put +1; conflict = pause 2s; +1 = put +1; conflict = pause 4s; +1 = put +1; conflict = fail conflict", "", "+1 +1 +1 +1"},
		{"another writer, then shown late: the pauses are shared", "+1 = put +1; conflict = pause 1s; +1 = put +1; ok = read; +1 = pause 2s; nothing = done", "+1", "+1"},

		{"more than five", "+1 +2 +3 +4 +5 +6 -7 = put +1 +2 +3 +4 +5; ok = read; +6 -7 = put +6 -7; ok = read; nothing = done", "+1 +2 +3 +4 +5 +6 -7", ""},

		{"refused", "+1 = put +1; rejected = read; +1 = fail rejected", "", "+1"},
		{"refused, and it is there", "+1 = put +1; rejected = read; nothing = done", "", "+1"},
		{"refused, and it is another change by now", "+1 = put +1; rejected = read; ~1 = put ~1; ok = read; nothing = done", "~1", "+1"},
		{"one of two refused", "+1 +2 = put +1 +2; rejected = read; +1 +2 = put +1; rejected = read; +1 +2 = put +2; ok = read; +1 = fail rejected", "+2", "+1 +2 +1"},
		{"two refused", "+1 +2 = put +1 +2; rejected = read; +1 +2 = put +1; rejected = read; +1 +2 = put +2; rejected = read; +1 +2 = fail rejected", "", "+1 +2 +1 +2"},
		{"a table that looks different each time is not asked for ever", "+1 +2 = put +1 +2; rejected = read; ~1 +2 = put ~1; rejected = read; +1 +2 = put +1; rejected = read; ~1 +2 = put +2; rejected = read; +1 +2 = fail rejected",
			"", "+1 +2 ~1 +1 +2"},
		{"a family keeps its old route while the new one is refused", "+1 -2 = put +1 -2; rejected = read; +1 -2 = put +1; rejected = read; +1 -2 = fail rejected", "", "+1 -2 +1"},
		{"the other family does not", "+6 -7 +1 -2 = put +6 -7 +1 -2; rejected = read; +6 -7 +1 -2 = put +6; rejected = read; +6 -7 +1 -2 = put +1; ok = read; +6 -7 -2 = put -2; ok = read; +6 -7 = fail rejected",
			"+1 -2", "+6 -7 +1 -2 +6"},
		{"a refused delete keeps the others", "-1 -2 = put -1 -2; rejected = read; -1 -2 = put -1; rejected = read; -1 -2 = fail rejected", "", "-1 -2 -1"},

		{"forbidden", "+1 = put +1; permanent = fail permanent", "", "+1"},
		{"full", "+1 +2 = put +1 +2; quota = fail quota", "", "+1 +2"},
		{"no token is good enough", "+1 = put +1; relogin = fail relogin", "", "+1"},
		{"login refused", "+1 = put +1; login_refused = fail login_refused", "", "+1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAttempt(true)
			var sent otc.Changes
			for i, exchange := range strings.Split(tt.steps, "; ") {
				if exchange == "only read" {
					a.write = false
					continue
				}
				event, want, _ := strings.Cut(exchange, " = ")
				var got step
				switch {
				case event == "nothing":
					got = a.afterRead(nil)
				case strings.ContainsAny(event[:1], "+~-"):
					got = a.afterRead(opsOf(event))
				default:
					got = a.afterPut(sent, answerOf(event))
				}
				if fmt.Sprint(got) != want {
					t.Fatalf("%d, %q: got %q, want %q", i, event, got, want)
				}
				sent = slices.Clone(got.changes)
			}
			if hops(a.accepted) != tt.accepted || hops(a.failed()) != tt.failed {
				t.Errorf("accepted %q, failed %q; want %q, %q", hops(a.accepted), hops(a.failed()), tt.accepted, tt.failed)
			}
		})
	}
}
