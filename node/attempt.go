package node

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"otc-route-manager/otc"
)

const (
	maxPauses    = 3 // waits of one pass for a table to show what was sent, or for another writer: 1, 2 and 4 seconds
	maxThrottled = 2 // waits of one pass for a cloud that throttles PUTs; then it takes a new pass as after any other failure
)

// errUnconfirmed is a change that was accepted and cannot be seen.
var errUnconfirmed = errors.New("the change was accepted, but the route table does not show it: wait; if it lasts, somebody else changes it back")

// A step is what a pass over one table does next: one of its fields is set, or
// none, which means to read the table.
type step struct {
	put  otc.Changes   // send this
	wait time.Duration // and then read
	done bool
	err  error // give up
}

// An attempt decides the steps of one pass over one table. It does nothing
// itself. Whatever a PUT is answered, a read comes next: nothing is assumed and
// nothing is sent blindly again (R6).
type attempt struct {
	write     bool                  // changes are wanted; else it ends with the first read
	limit     int                   // operations per PUT; 0: otc.MaxOps
	pauses    int                   // so far
	throttled int                   // waits for a cloud that throttles, so far
	unknown   error                 // why the last PUT may have been executed or not; nil: it is known
	last      otc.Changes           // what it carried
	accepted  otc.Changes           // by the cloud, in this pass
	failed    otc.Changes           // not accepted, each time counted
	refused   map[otc.Op]error      // single operations that the cloud does not take
	sent      map[netip.Prefix]bool // destinations that the table still has to show
}

// read returns the step after a read that shows what the table lacks.
func (a *attempt) read(lacking otc.Changes) step {
	open := a.open(lacking)
	if lost := a.unknown; lost != nil { // now it shows whether it was executed
		a.unknown = nil
		if len(open) > 0 {
			a.failed = append(a.failed, a.last...)
			return step{err: lost}
		}
		a.accept(a.last)
	}
	if len(open) == 0 || !a.write {
		err := a.verdict(lacking)
		return step{done: err == nil, err: err}
	}
	unsent := slices.DeleteFunc(slices.Clone(open), func(op otc.Op) bool { return a.sent[op.Destination] })
	if len(unsent) > 0 {
		return step{put: unsent[:min(len(unsent), cmp.Or(a.limit, otc.MaxOps))]}
	}
	return a.pause(errUnconfirmed)
}

// answered returns the step after a PUT.
func (a *attempt) answered(sent otc.Changes, err error) step {
	if err == nil {
		a.accept(sent)
		return step{}
	}
	reaction := otc.ReactionTo(err)
	switch {
	case reaction == otc.Transient:
		a.unknown, a.last = err, sent
		return step{}
	case reaction == otc.Throttled && a.throttled < maxThrottled && otc.RetryAfter(err) <= time.Minute:
		a.throttled++
		return step{wait: cmp.Or(otc.RetryAfter(err), 10*time.Second+rand.N(50*time.Second))}
	}
	a.failed = append(a.failed, sent...)
	switch {
	case reaction == otc.Conflict:
		return a.pause(err)
	case reaction != otc.Rejected:
		return step{err: err}
	case len(sent) > 1:
		a.limit = 1 // one bad route spoils all, or the table has moved on
	default:
		a.refused[sent[0]] = err
	}
	return step{}
}

func (a *attempt) accept(ch otc.Changes) {
	a.accepted = append(a.accepted, ch...)
	for _, op := range ch {
		a.sent[op.Destination] = true
	}
}

// pause waits a random part between half and all of 1, 2, 4 seconds, and then
// gives up with err.
func (a *attempt) pause(err error) step {
	if a.pauses == maxPauses {
		return step{err: err}
	}
	d := time.Second << a.pauses
	a.pauses++
	return step{wait: d/2 + rand.N(d/2)}
}

// open returns the changes without those that were refused; while a family has a
// refused route nothing of that family is deleted.
func (a *attempt) open(ch otc.Changes) otc.Changes {
	var blocked [2]bool // IPv4, IPv6
	family := func(op otc.Op) *bool {
		if op.Destination.Addr().Is4() {
			return &blocked[0]
		}
		return &blocked[1]
	}
	for _, op := range ch {
		if a.refused[op] != nil {
			*family(op) = true
		}
	}
	return slices.DeleteFunc(slices.Clone(ch), func(op otc.Op) bool {
		return a.refused[op] != nil || op.Kind == otc.Delete && *family(op)
	})
}

// verdict is nil unless operations were refused that the table still lacks.
func (a *attempt) verdict(lacking otc.Changes) error {
	var errs []error
	for _, op := range lacking {
		if err := a.refused[op]; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", op, err))
		}
	}
	return errors.Join(errs...)
}
