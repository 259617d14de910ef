package otc

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxBody is how many bytes of an answer are read: a page of 200 servers with
// user data is larger than 1 MiB.
const maxBody = 8 << 20

var errTooLarge = fmt.Errorf("the answer is larger than %d bytes", maxBody)

// An answer is what came back in one attempt, as far as it came.
type answer struct {
	status int // 0: nothing came
	header http.Header
	body   []byte
}

// read reads the whole answer.
func read(resp *http.Response) (answer, error) {
	defer func() { _ = resp.Body.Close() }()
	var b bytes.Buffer
	b.Grow(int(min(max(resp.ContentLength, 0), maxBody)) + bytes.MinRead) // or it grows by copies
	_, err := b.ReadFrom(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && b.Len() > maxBody {
		err = errTooLarge
	}
	return answer{resp.StatusCode, resp.Header, b.Bytes()}, err
}

// succeeded is true for 2xx except 202, which is how ECS reports its flow limit.
func (a answer) succeeded() bool {
	return a.status/100 == 2 && a.status != http.StatusAccepted
}

// judge returns nil for success with nothing or JSON in the body. err is why
// there is no whole answer.
func (k *call) judge(err error) *Error {
	a := k.answer
	if err == nil && a.succeeded() && (len(a.body) == 0 || json.Valid(a.body)) {
		return nil
	}
	e := &Error{Service: k.service, Operation: k.operation, Reaction: Transient,
		RequestID: k.show(cmp.Or(a.header.Get("X-Request-Id"), a.header.Get("X-Openstack-Request-Id")))}
	switch {
	case err != nil:
		k.broken(e, err)
	case a.succeeded():
		e.Err, e.Cure = errors.New("the answer is not JSON: "+k.show(plain(a.body))), cureReach
	default:
		var id string
		e.Status = a.status
		e.Code, e.Message, id = decodeError(a.body)
		e.Code, e.Message, e.RequestID = k.show(e.Code), k.show(e.Message), cmp.Or(k.show(id), e.RequestID)
		e.RetryAfter = retryAfter(a.header.Get("Retry-After"), time.Now())
		e.decide()
	}
	return e
}

// broken fills in why there is no whole answer.
func (k *call) broken(e *Error, err error) {
	e.Err, e.Cure = k.shown(err), cureReach
	switch {
	case errors.Is(err, errTooLarge):
		e.Cure = cureUnknown
	case isBadCertificate(err):
		e.Reaction, e.Cure = Permanent, "if a private CA signs this endpoint, name its PEM file in OS_CACERT"
	}
}

// decode decodes the answer of a call that succeeded.
func (k *call) decode(result any) error {
	if err := json.Unmarshal(k.answer.body, result); err != nil {
		return k.malformed(err)
	}
	return nil
}

// malformed is the error for an answer that says success and makes no sense.
func (k *call) malformed(err error) *Error {
	return &Error{Service: k.service, Operation: k.operation, Err: fmt.Errorf("unusable answer: %w", k.shown(err)), Reaction: Transient,
		Cure: cureUnknown, RequestID: k.show(k.answer.header.Get("X-Request-Id"))}
}

// bare strips the method and URL that package http puts around an error.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func isBadCertificate(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

// kind names the content type of the answer, in words of ours.
func (a answer) kind() string {
	for _, known := range []string{"json", "html", "xml", "plain"} {
		if strings.Contains(strings.ToLower(a.header.Get("Content-Type")), known) {
			return known
		}
	}
	return "unknown type"
}
