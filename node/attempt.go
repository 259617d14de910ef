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
	maxTooOld    = 2 // reads of one pass that are too old to write on when they come
)

// Errors of a pass.
var (
	errUnconfirmed = errors.New("the change was accepted, but the route table does not show it: wait; if it persists, another client reverts it")
	errSlow        = errors.New("the route table takes longer than 10s to answer, so nothing is written: it may have changed by then")
)

// An action is what a pass over a table does next.
type action int

const (
	stepRead  action = iota // the table
	stepPut                 // the step's changes
	stepPause               // for the step's time, then read
	stepDone
	stepFail // with the step's error
)

// A step is one action of a pass.
type step struct {
	action
	changes otc.Changes
	wait    time.Duration
	err     error
}

// An attempt decides the steps of one pass over one table. It does no I/O. The first step is a
// read, and so is the one after each PUT, even after a failed one: nothing is assumed, and nothing is
// sent again unseen (R6).
type attempt struct {
	write      bool                  // changes are sent; else the first read is the last step
	limit      int                   // operations per PUT; 0: otc.MaxOps
	pauses     int                   // so far
	throttled  int                   // waits for a cloud that throttles, so far
	tooOld     int                   // PUTs that were not sent because the read was too old
	unanswered error                 // why the last PUT may have been executed or not; nil: it is known
	last       otc.Changes           // what it carried
	accepted   otc.Changes           // by the cloud, in this pass
	rejected   otc.Changes           // not accepted, each time counted
	refused    map[otc.Op]error      // single operations that the cloud does not take
	sent       map[netip.Prefix]bool // destinations that the table still has to show
}

func newAttempt(write bool) *attempt {
	return &attempt{write: write, refused: map[otc.Op]error{}, sent: map[netip.Prefix]bool{}}
}

// afterRead returns the step after a read that shows what the table lacks.
func (a *attempt) afterRead(lacking otc.Changes) step {
	open := a.open(lacking)
	if err := a.unanswered; err != nil { // this read shows whether the PUT was executed
		a.unanswered = nil
		if len(open) > 0 {
			a.rejected = append(a.rejected, a.last...)
			return step{action: stepFail, err: err}
		}
		a.accept(a.last)
	}
	if len(open) == 0 || !a.write {
		if err := a.refusals(lacking); err != nil {
			return step{action: stepFail, err: err}
		}
		return step{action: stepDone}
	}
	unsent := slices.DeleteFunc(slices.Clone(open), func(op otc.Op) bool { return a.sent[op.Destination] })
	if len(unsent) > 0 {
		return step{action: stepPut, changes: unsent[:min(len(unsent), cmp.Or(a.limit, otc.MaxOps))]}
	}
	return a.pauseFor(errUnconfirmed)
}

// afterPut returns the step after a PUT that was answered with err.
func (a *attempt) afterPut(sent otc.Changes, err error) step {
	reaction := otc.ReactionTo(err)
	switch {
	case err == nil:
		a.accept(sent)
		return step{}
	case errors.Is(err, otc.ErrTooOld) && a.tooOld == maxTooOld:
		return step{action: stepFail, err: errSlow}
	case errors.Is(err, otc.ErrTooOld):
		a.tooOld++
		return step{}
	case reaction == otc.Transient:
		a.unanswered, a.last = err, sent
		return step{}
	case reaction == otc.Throttled && a.throttled < maxThrottled && otc.RetryAfter(err) <= time.Minute:
		a.throttled++
		return step{action: stepPause, wait: cmp.Or(otc.RetryAfter(err), 10*time.Second+rand.N(50*time.Second))}
	}
	a.rejected = append(a.rejected, sent...)
	switch {
	case reaction == otc.Conflict:
		return a.pauseFor(err)
	case reaction != otc.Rejected:
		return step{action: stepFail, err: err}
	case len(sent) > 1:
		a.limit = 1 // one bad route spoils all, or the table has changed
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

// pauseFor waits a random part between half and all of 1, 2 and 4 seconds before a read, and fails
// with err after that.
func (a *attempt) pauseFor(err error) step {
	if a.pauses == maxPauses {
		return step{action: stepFail, err: err}
	}
	d := time.Second << a.pauses
	a.pauses++
	return step{action: stepPause, wait: d/2 + rand.N(d/2)}
}

// failed returns the changes that were not accepted. One whose answer was lost, and which no read has
// shown, counts among them.
func (a *attempt) failed() otc.Changes {
	if a.unanswered != nil {
		return append(slices.Clip(a.rejected), a.last...)
	}
	return a.rejected
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

// refusals returns why operations were refused that the table still lacks; nil: none was.
func (a *attempt) refusals(lacking otc.Changes) error {
	var errs []error
	for _, op := range lacking {
		if err := a.refused[op]; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", op, err))
		}
	}
	return errors.Join(errs...)
}
