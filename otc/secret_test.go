package otc

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

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

// spelling are the ways in which a cloud may write what it has been sent.
func spelling() map[string]func(string) string {
	quote := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			panic(err)
		}
		return string(b[1 : len(b)-1])
	}
	each := func(format string, letters []rune) string {
		var b strings.Builder
		for _, r := range letters {
			fmt.Fprintf(&b, format, r)
		}
		return b.String()
	}
	units := func(s string) (all []rune) {
		for _, u := range utf16.Encode([]rune(s)) {
			all = append(all, rune(u))
		}
		return all
	}
	return map[string]func(string) string{
		"as it is":         func(s string) string { return s },
		"JSON":             quote,
		"JSON, slashes":    func(s string) string { return strings.ReplaceAll(quote(s), "/", `\/`) },
		"JSON, lower case": func(s string) string { return each(`\u%04x`, units(s)) },
		"JSON, upper case": func(s string) string { return each(`\u%04X`, units(s)) },
		"JSON in JSON":     func(s string) string { return quote(quote(s)) },
		"JSON twice more":  func(s string) string { return quote(quote(quote(s))) },
		"Go":               strconv.QuoteToASCII,
		"Go in JSON":       func(s string) string { return quote(strconv.Quote(s)) },
		"URL":              url.PathEscape,
		"URL, lower case": func(s string) string {
			return regexp.MustCompile(`%..`).ReplaceAllStringFunc(url.PathEscape(s), strings.ToLower)
		},
		"form":          url.QueryEscape,
		"HTML":          html.EscapeString,
		"HTML, numbers": func(s string) string { return each("&#x%X;", []rune(s)) },
		"HTML in JSON":  func(s string) string { return quote(html.EscapeString(s)) },
		"JSON in a URL": func(s string) string { return url.QueryEscape(quote(s)) },
		"at length":     func(s string) string { return strings.Repeat("long ", 50) + s + s }, // cut somewhere in the secret
		"cut":           func(s string) string { return s[:len(s)-8] },
	}
}

// R9: neither errors nor the log at debug level nor a printed Client show the
// password or the token, not even if the cloud sends them back.
func TestR9NothingShowsCredentials(t *testing.T) {
	const password = `p"w/\d<x>&+ü😀  not-a-real-password`
	for op, secret := range map[string]func(w *world) string{
		otctest.OpLogin:       func(w *world) string { w.RevokeTokens(); return password },
		otctest.OpTableGet:    func(w *world) string { return w.Tokens()[0] },
		otctest.OpTableUpdate: func(w *world) string { return w.Tokens()[0] },
	} {
		for form, spell := range spelling() {
			for place := range echoes("") {
				t.Run(op+" "+place+" "+form, func(t *testing.T) {
					inBubble(t, func(t *testing.T, w *world) {
						w.SetPassword(password)
						w.rotate(password)
						w.mustRead()
						token, text := w.Tokens()[0], spell(secret(w))
						f := echoes(text)[place]
						f.Op, f.Times = op, -1
						w.Fail(f)
						w.wantNothingShown(w.write(), password, token, strings.TrimPrefix(text, strings.Repeat("long ", 50)))
					})
				})
			}
		}
	}
}

// R9: what is shown of an answer, of its error code and of a request id, elsewhere and
// at login. Words that may be a token or a part of one are elided.
func TestR9WhatIsShown(t *testing.T) {
	const id, req = "3b8e0d71c45f4a2e9d60b7a1f2c3e845", "req-3b8e0d71-c45f-4a2e-9d60-b7a1f2c3e845"
	word := strings.Repeat("x", 40)
	for _, tt := range []struct{ name, text, want, code, id string }{
		{"harmless", `the %name% & "C:\users" is 100% wrong\u00`, `the %name% & "C:\users" is 100% wrong\u00`, "", ""},
		{"40 bytes", "a " + word + " b", "a " + word + " b", "", ""},
		{"41 bytes", "a " + word + "x b", "a … b", "", ""},
		{"a long text", strings.Repeat("ab ", 200), strings.Repeat("ab ", 99) + "...", "", ""},
		{"ESC and colours", "a\x1b[2J\x1b[31mb", "a?[2J?[31mb", "", ""},
		{"bidirectional marks", "a\u202eb\u2066c\u200fd", "a?b?c?d", "", ""},
		{"lines", "a\r\nb\u2028c\vd\u0085e", "a b c d e", "", ""},
		{"other controls", "a\x00b\x7fc\u009bd", "a?b?c?d", "", ""},
		{"no UTF-8", "a\xff", "a?", "", ""},
		{"a code of IAM", "IAM.0061", "IAM.0061", "IAM.0061", ""},
		{"a code of the gateway", "APIGW.0301", "APIGW.0301", "APIGW.0301", ""},
		{"a password that looks like a code", "geheim.1234", "geheim.1234", "", ""},
		{"another one", "IAM.12345", "IAM.12345", "", ""},
		{"a request id", id, id, "", id},
		{"a request id of OpenStack", req, req, "", req},
	} {
		vpc, iam := &call{service: "vpc", last: attempt{dial: &dial{}}}, &call{service: "iam", last: attempt{dial: &dial{}}}
		for _, k := range []*call{vpc, iam} {
			k.last.dial.connected.Store(true)
		}
		if got := vpc.show(tt.text); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if got := vpc.showCode(tt.text) + vpc.showID(tt.text); got != tt.want+tt.want {
			t.Errorf("%s as code and id: got %q, want %q", tt.name, got, tt.want)
		}
		if got := vpc.judge(errors.New(tt.text)).Err.Error(); got != tt.want {
			t.Errorf("%s from the transport: got %q, want %q", tt.name, got, tt.want)
		}
		if code, id := iam.showCode(tt.text), iam.showID(tt.text); iam.show(tt.text) != "" || code != tt.code || id != tt.id {
			t.Errorf("%s at login: got %q, code %q, request id %q", tt.name, iam.show(tt.text), code, id)
		}
		if got := iam.judge(errors.New(tt.text)).Err.Error(); got != "an answer that makes no sense" {
			t.Errorf("%s from the transport at login: got %q", tt.name, got)
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
		for _, v := range []any{c, *c, c.cfg, c.auth, *c.auth, c.auth.current, c.transport} {
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
		"transport": {Err: errors.New("malformed answer " + text)},
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
		inBubble(t, func(t *testing.T, w *world) {
			for _, op := range []string{otctest.OpLogin, otctest.OpTableGet, otctest.OpTableUpdate} {
				w.Fail(otctest.Fault{Op: op, Status: status, Header: http.Header{"Location": {"https://elsewhere.test/v1/x"}}})
			}
			if e := asError(t, w.read()); !strings.Contains(e.Error(), "a redirect to elsewhere.test") {
				t.Errorf("login: got %v, want a redirect", e)
			}
			pass(time.Minute)
			w.mustRead() // at once again
			if e := asError(t, w.write()); !strings.Contains(e.Error(), "a redirect to elsewhere.test") {
				t.Errorf("write: got %v, want a redirect", e)
			}
			for _, r := range w.Requests() {
				if r.Host == "elsewhere.test" {
					t.Errorf("%d: a request went to %s", status, r.Host)
				}
			}
			w.wantCalls("", 5)
		})
	}
}
