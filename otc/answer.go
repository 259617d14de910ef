package otc

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// receive reads the answer to its end: into the call's decoder if it has one and
// succeeded, else, and if it is a page, into memory.
func (k *call) receive(resp *http.Response) error {
	defer func() { _ = resp.Body.Close() }()
	k.last.status, k.last.header = resp.StatusCode, resp.Header
	in := bufio.NewReader(resp.Body)
	if first, _ := in.Peek(1); k.decodeStream != nil && k.last.succeeded() && !bytes.Equal(first, []byte("<")) {
		return decodeStream(in, k.decodeStream)
	}
	body := &io.LimitedReader{R: in, N: maxBody + 1}
	var b bytes.Buffer
	b.Grow(int(min(max(resp.ContentLength, 0), maxBody)) + bytes.MinRead) // or it grows by copies
	_, err := b.ReadFrom(body)
	k.last.body = b.Bytes()
	if body.N <= 0 {
		return fmt.Errorf("%w %d bytes", errTooLarge, maxBody)
	}
	return err
}

// succeeded is true for 2xx except 202, which is how ECS reports its flow limit.
func (a *attempt) succeeded() bool {
	return a.status/100 == 2 && a.status != http.StatusAccepted
}

// judge returns nil for success with nothing or JSON in the body. err is why
// there is no whole answer. What shows that the service was not reached decides before
// the policy table, with any status: no answer, or one that the API has not written.
func (k *call) judge(err error) *Error {
	a := &k.last
	if err == nil && a.succeeded() && (len(a.body) == 0 || json.Valid(a.body)) {
		return nil
	}
	e := &Error{Service: k.service, Operation: k.operation, Reaction: Transient,
		RequestID: k.showID(cmp.Or(a.header.Get("X-Request-Id"), a.header.Get("X-Openstack-Request-Id")))}
	if err != nil {
		k.failed(e, err)
		return e
	}
	e.RetryAfter = retryAfter(a.header, time.Now())
	code, message, id, ok := decodeError(a.body)
	if !ok || a.status/100 < 4 && a.status != http.StatusAccepted {
		k.intercepted(e)
		return e
	}
	e.Status, e.Code, e.Message, e.RequestID = a.status, code, message, cmp.Or(k.showID(id), e.RequestID)
	e.decide()
	e.Code, e.Message = k.showCode(code), k.show(message)
	return e
}

// intercepted fills in an answer that is not the API's. A proxy, a portal or a load
// balancer has sent it: its status says nothing of users, permissions or tables.
func (k *call) intercepted(e *Error) {
	a := &k.last
	if e.Hint = hintWay; a.status == http.StatusTooManyRequests {
		e.Reaction = Throttled
	}
	what := "a body that is not the API's"
	if text := k.show(string(a.body)); text != "" {
		what += ": " + text
	}
	switch body := bytes.TrimSpace(a.body); {
	case a.status/100 == 3:
		what = "a redirect" + a.destination()
	case len(body) == 0:
		what = "an empty body"
	case body[0] == '<' && !bytes.HasPrefix(body, []byte("<?xml")):
		what = "an HTML page"
	}
	e.Err = fmt.Errorf("HTTP %d with %s", a.status, what)
}

// destination is the host that a redirect leads to; what else its URL holds may be secret.
func (a *attempt) destination() string {
	if u, err := url.Parse(a.header.Get("Location")); err == nil && u.Host != "" {
		return " to " + clip(u.Host)
	}
	return ""
}

// failed fills in why there is no whole answer.
func (k *call) failed(e *Error, err error) {
	e.NotSent = !k.last.dial.connected.Load()
	e.Err, e.Hint = k.shown(k.last.dial.explain(err, time.Since(k.last.began))), hintReach
	refused, _ := errors.AsType[*connectError](err)
	switch {
	case errors.Is(err, ErrTooOld):
		e.Reaction, e.Hint = Conflict, ""
	case errors.Is(err, errTooMany):
		e.Reaction, e.Hint = Permanent, hintUnknown
	case errors.Is(err, errTooLarge), errors.Is(err, errUnusable):
		e.Hint = hintWay
	case refused != nil:
		e.Reaction, e.Hint = refused.reaction(), refused.hint()
	case isBadCertificate(err):
		e.Reaction, e.Hint = Permanent, certificateHint(err)
	}
}

// decode decodes the answer of a call that succeeded.
func (k *call) decode(result any) error {
	if err := json.Unmarshal(k.last.body, result); err != nil {
		return k.malformed(k.shown(err))
	}
	return nil
}

// malformed is the error for an answer that says success and makes no sense. What err
// says is shown.
func (k *call) malformed(err error) *Error {
	return &Error{Service: k.service, Operation: k.operation, Err: fmt.Errorf("%w: %w", errUnusable, err), Reaction: Transient,
		Hint: hintWay, RequestID: k.showID(k.last.header.Get("X-Request-Id"))}
}

// unwrapURL strips the method and URL that package http puts around an error.
func unwrapURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func isBadCertificate(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}
