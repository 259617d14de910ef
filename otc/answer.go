package otc

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// judge returns nil for success: 2xx except 202, which is how ECS reports its
// flow limit, with a whole JSON body.
func (k *call) judge(resp *http.Response, err error) *Error {
	done := err == nil && resp.StatusCode/100 == 2 && resp.StatusCode != http.StatusAccepted && len(k.answer) <= maxBody
	if done && (len(k.answer) == 0 || json.Valid(k.answer)) {
		return nil
	}
	e := &Error{Service: k.service, Operation: k.operation, Reaction: Transient}
	if resp != nil {
		e.RequestID = k.show(cmp.Or(resp.Header.Get("X-Request-Id"), resp.Header.Get("X-Openstack-Request-Id")))
	}
	switch {
	case err != nil && isBadCertificate(err):
		e.Err, e.Reaction, e.Cure = bare(err), Permanent, "if a private CA signs this endpoint, name its PEM file in OS_CACERT"
	case err != nil:
		e.Err, e.Cure = bare(err), cureReach
	case len(k.answer) > maxBody:
		e.Err, e.Cure = fmt.Errorf("the answer is larger than %d bytes", maxBody), cureUnknown
	case done:
		e.Err, e.Cure = errors.New("the answer is not JSON: "+k.show(plain(k.answer))), cureReach
	default:
		var id string
		e.Status = resp.StatusCode
		e.Code, e.Message, id = decodeError(k.answer)
		e.Code, e.Message, e.RequestID = k.show(e.Code), k.show(e.Message), cmp.Or(k.show(id), e.RequestID)
		e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
		e.decide()
	}
	return e
}

// malformed is the error for an answer that says success and makes no sense.
func (k *call) malformed(err error) *Error {
	return &Error{Service: k.service, Operation: k.operation, Err: fmt.Errorf("unusable answer: %w", err), Reaction: Transient,
		Cure: cureUnknown, RequestID: k.show(k.header.Get("X-Request-Id"))}
}

// show makes the cloud's words fit for an error: without the call's secrets, as
// such or as JSON writes them (twice if JSON quotes JSON), and only then shortened.
func (k *call) show(s string) string {
	for _, secret := range k.secrets {
		form := secret.Reveal()
		for range 3 {
			if form == "" {
				break
			}
			s = strings.ReplaceAll(s, form, redacted)
			quoted, _ := json.Marshal(form)
			form = string(quoted[1 : len(quoted)-1])
		}
	}
	return clip(s)
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
