package otc

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Error is what the cloud answered instead of what was asked for, or the
// failure to get any answer (Status 0, Err set).
type Error struct {
	Service         string        // "iam", "vpc" or "ecs"
	Operation       string        // for example "get_route_table"
	Status          int           // HTTP status; 0: no complete answer came, or not the API's
	Code            string        // for example "VPC.2812"; "" if the body had none
	Message         string        // the cloud's words, at most 300 bytes; "" at login
	RequestID       string        // for the provider's support; may be ""
	RetryAfter      time.Duration // what the answer asked for, or until a login may be tried again; 0: nothing
	Reaction        Reaction      // what may be done about it, by the policy table
	OutdatedRequest bool          // the request did not fit what the table held; another read may help
	Hint            string        // what a person can do; may be ""
	NotSent         bool          // the service was never reached: no connection came about
	Err             error         // why there is no answer of the API
}

// Error names the operation, the cause and the hint, without the request id.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", e.Service, strings.ReplaceAll(e.Operation, "_", " "))
	switch {
	case e.Err != nil:
		b.WriteString(e.Err.Error())
	default:
		fmt.Fprintf(&b, "HTTP %d", e.Status)
		if e.Code != "" && e.Code != strconv.Itoa(e.Status) { // IAM may repeat it
			b.WriteString(" " + e.Code)
		}
		if e.Message != "" {
			fmt.Fprintf(&b, " %q", e.Message)
		}
	}
	if e.Hint != "" {
		b.WriteString(": " + e.Hint)
	}
	return b.String()
}

// Unwrap returns the transport's error.
func (e *Error) Unwrap() error { return e.Err }

// IsNotFound reports whether err is the cloud's own word that a server does not
// exist: 404 with Ecs.0114 or Ecs.0614 (ECS error codes), or the compute API's
// itemNotFound. The API gateway's 404, which means a wrong URL, is not.
func IsNotFound(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusNotFound &&
		(e.Code == "Ecs.0114" || e.Code == "Ecs.0614" || e.Code == "itemNotFound")
}

// IsForbidden reports whether err is a 403: the user lacks a permission, or more. A
// 403 at login is none: it says nothing about what was asked.
func IsForbidden(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusForbidden && e.Service != "iam"
}

// RetryAfter returns how long err asks to wait, at most 5 minutes; 0: not at all.
func RetryAfter(err error) time.Duration {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return 0
	}
	return e.RetryAfter
}

// ReactionTo returns how err may be reacted to: by the policy table if the cloud
// was asked, Permanent for ErrGuard, Conflict for ErrTooOld, else Transient.
func ReactionTo(err error) Reaction {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reaction
	}
	switch {
	case errors.Is(err, ErrGuard):
		return Permanent
	case errors.Is(err, ErrTooOld):
		return Conflict
	}
	return Transient
}

// RequestIDOf returns the request id that came with err, or "".
func RequestIDOf(err error) string {
	e, _ := errors.AsType[*Error](err)
	if e == nil {
		return ""
	}
	return e.RequestID
}

// text decodes a JSON string or number; anything else is "". Services disagree
// on the type of "code".
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*t = text(s)
		return nil
	}
	var n json.Number
	if json.Unmarshal(b, &n) == nil {
		*t = text(n)
	}
	return nil
}

// wireError holds every member in which an OTC service says what is wrong.
type wireError struct {
	Code      text `json:"code"`
	Message   text `json:"message"`
	ErrorCode text `json:"error_code"`
	ErrorMsg  text `json:"error_msg"`
	RequestID text `json:"request_id"`
}

// decodeError reads the five shapes: {code,message} of VPC, {error_code,
// error_msg} of IAM and the gateway, {error:{…}} of IAM and ECS, {fault:{…}} of
// the compute API and {message,request_id} of the gateway. ok is false for a body
// that has none of them: no service has written it. Nothing is shortened or on one
// line yet.
func decodeError(body []byte) (code, message, requestID string, ok bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return "", "", "", false
	}
	var w wireError
	_ = json.Unmarshal(body, &w)
	_, fromGateway := members["request_id"]
	switch {
	case isCode(string(w.Code)), isCode(string(w.ErrorCode)):
	case fromGateway && w.Message != "" && w.Code == "":
	default:
		if w, ok = innerError(members, w.RequestID); !ok {
			return "", "", "", false
		}
	}
	code = string(cmp.Or(w.ErrorCode, w.Code))
	message = string(cmp.Or(w.ErrorMsg, w.Message))
	if isCode(message) && !isCode(code) { // one documented ECS answer swaps them
		code, message = message, code
	}
	return code, message, string(w.RequestID), true
}

// innerError returns the first error that is the value of a member, "error" before
// all others. Each has a code and a message.
func innerError(members map[string]json.RawMessage, requestID text) (wireError, bool) {
	names := append([]string{"error"}, slices.Sorted(maps.Keys(members))...)
	for _, name := range names {
		var inner wireError
		if json.Unmarshal(members[name], &inner) != nil || inner.Code == "" || inner.Message == "" {
			continue
		}
		if name != "error" { // the compute API names the fault by the key
			inner.Code = text(name)
		}
		inner.RequestID = cmp.Or(inner.RequestID, requestID)
		return inner, true
	}
	return wireError{}, false
}

// isCode reports whether s looks like "VPC.2812", "Ecs.0114" or "APIGW.0101".
func isCode(s string) bool {
	prefix, number, ok := strings.Cut(s, ".")
	return ok && prefix != "" && number != "" &&
		strings.Trim(strings.ToLower(prefix), "abcdefghijklmnopqrstuvwxyz") == "" &&
		strings.Trim(number, "0123456789") == ""
}
