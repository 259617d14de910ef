package otc

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"otc-route-manager/otc/otctest"
)

// verbs are what somebody might print a value with.
func verbs() []string { return []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%p", "%T", "%w"} }

// wantSilence checks that text shows no part of the secrets.
func wantSilence(t *testing.T, text, from string, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		for len(s) > 16 { // pieces: a message that is cut must not show the beginning
			if strings.Contains(text, s[:16]) {
				t.Errorf("%s shows %q: %.400s", from, s[:16], text)
				return
			}
			s = s[16:]
		}
		if len(s) > 3 && strings.Contains(text, s) {
			t.Errorf("%s shows %q: %.400s", from, s, text)
		}
	}
}

// R9: a secret prints as [redacted], whatever prints it.
func TestR9SecretPrintsRedacted(t *testing.T) {
	secret := NewSecret(otctest.Password)
	type holder struct {
		Public  Secret
		private Secret
		pointer *Secret
		list    []Secret
	}
	h := holder{secret, secret, &secret, []Secret{secret}}
	for _, v := range []any{secret, &secret, h, &h, []Secret{secret}, map[string]Secret{"a": secret}, &session{token: secret}} {
		for _, verb := range verbs() {
			wantSilence(t, fmt.Sprintf(verb, v), fmt.Sprintf("%s of %T", verb, v), otctest.Password, fmt.Sprintf("%x", otctest.Password))
		}
		text, err := json.Marshal(v)
		wantSilence(t, string(text)+fmt.Sprint(err), "JSON", otctest.Password)
	}
	for _, v := range []any{secret, &secret, h.Public} {
		if got := fmt.Sprintf("%v %s %d", v, v, v); got != "[redacted] [redacted] [redacted]" {
			t.Errorf("got %q", got)
		}
	}
	if got := (Secret{}).Reveal(); got != "" {
		t.Errorf("got %q from the zero Secret", got)
	}
	if !secret.Equal(NewSecret(otctest.Password)) || secret.Equal(NewSecret("")) || !(Secret{}).Equal(NewSecret("")) {
		t.Error("Equal does not compare values")
	}
}

func TestR9SecretInLogs(t *testing.T) {
	var out strings.Builder
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(h).Info("x", "a", NewSecret(otctest.Password), "b", []Secret{NewSecret(otctest.Password)},
			"c", struct{ S Secret }{NewSecret(otctest.Password)}, "d", &session{token: NewSecret(otctest.Password)})
	}
	wantSilence(t, out.String(), "slog", otctest.Password)
}

// R9: neither errors nor the log at debug level nor a printed Client show the
// password or the token, not even if the cloud sends them back.
func TestR9NothingShowsCredentials(t *testing.T) {
	const password = `p"w\d<x>&  not-a-real-password`
	quote := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[1 : len(b)-1])
	}
	forms := map[string]func(string) string{
		"as it is": func(s string) string { return s },
		"in JSON":  func(s string) string { return `body: {"a":"` + quote(s) + `"}` },
		"at length": func(s string) string {
			return strings.Repeat("long ", 50) + s + s // cut somewhere in the secret
		},
	}
	for op, secret := range map[string]func(w *world) string{
		otctest.OpLogin:       func(w *world) string { w.RevokeTokens(); return password },
		otctest.OpTableGet:    func(w *world) string { return w.Tokens()[0] },
		otctest.OpTableUpdate: func(w *world) string { return w.Tokens()[0] },
	} {
		for form, edit := range forms {
			for place := range echoes("") {
				t.Run(op+" "+place+" "+form, func(t *testing.T) {
					inBubble(t, func(t *testing.T, w *world) {
						w.Set(func(k *otctest.Knobs) { k.TokenSize = 9 << 10 })
						w.SetPassword(password)
						w.rotate(password)
						w.mustRead()
						token, text := w.Tokens()[0], secret(w)
						f := echoes(edit(text))[place]
						f.Op, f.Times = op, -1
						w.Fail(f)
						w.wantNothingShown(w.write(), password, quote(password), token)
					})
				})
			}
		}
	}
}

// wantNothingShown checks every way to print err and the client, and the log.
func (w *world) wantNothingShown(err error, secrets ...string) {
	w.t.Helper()
	if _ = w.read(); err == nil {
		err = w.read()
	}
	if err == nil || !strings.Contains(w.log.String(), `"level":"DEBUG"`) {
		w.t.Fatalf("got error %v, log %.300s; want both", err, w.log)
	}
	for _, verb := range verbs() {
		for e := err; e != nil; e = errors.Unwrap(e) {
			wantSilence(w.t, fmt.Sprintf(verb, e), verb, secrets...)
		}
		c := w.client
		for _, v := range []any{c, *c, c.cfg, c.auth, *c.auth, c.auth.current, c.sender} {
			wantSilence(w.t, fmt.Sprintf(verb, v), fmt.Sprintf("%s of %T", verb, v), secrets...)
		}
	}
	wantSilence(w.t, w.log.String(), "the log", secrets...)
}

// echoes are refusals that hold the text, in every place and shape.
func echoes(text string) map[string]otctest.Fault {
	body := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return b
	}
	type m = map[string]any
	all := map[string]otctest.Fault{
		"message":   {Body: body(m{"code": "VPC.0002", "message": "bad " + text})},
		"code":      {Body: body(m{"code": text, "message": "bad"})},
		"error_msg": {Body: body(m{"error_code": "APIGW.0201", "error_msg": text, "request_id": text})},
		"inner":     {Body: body(m{"error": m{"code": 400, "message": text, "title": text}})},
		"fault":     {Body: body(m{text: m{"code": 400, "message": "bad"}})},
		"odd JSON":  {Body: body(m{"what": []string{text}})},
		"not JSON":  {Status: http.StatusCreated, Body: []byte("not JSON: " + text)},
		"plain":     {Body: []byte("bad request: " + text)},
		"header":    {Body: []byte{}, Header: http.Header{"X-Request-Id": {strings.ReplaceAll(text, "\n", "")}}},
	}
	for name, f := range all {
		if f.Status == 0 {
			f.Status = http.StatusBadRequest
			all[name] = f
		}
	}
	return all
}

// R9: a redirect is an error, not a way for the token to leave.
func TestR9RedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		w := newWorld(t)
		header := http.Header{"Location": {"https://elsewhere.test/v1/x"}}
		w.Fail(otctest.Fault{Op: otctest.OpTableUpdate, Status: status, Header: header})
		w.Fail(otctest.Fault{Op: otctest.OpTableGet, Status: status, Header: header})
		w.Fail(otctest.Fault{Op: otctest.OpLogin, Status: status, Header: header})
		if e := asError(t, w.read()); e.Status != status {
			t.Errorf("login: got %v, want status %d", e, status)
		}
		if e := asError(t, w.read()); e.Status != status || e.Reaction != Permanent {
			t.Errorf("read: got %v, want status %d", e, status)
		}
		if e := asError(t, w.write()); e.Status != status {
			t.Errorf("write: got %v, want status %d", e, status)
		}
		for _, r := range w.Requests() {
			if r.Host == "elsewhere.test" {
				t.Errorf("%d: a request went to %s", status, r.Host)
			}
		}
		w.wantCalls("", 4)
	}
}
