package node

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"otc-route-manager/otc"
)

// equal compares two readings of a Node; nil is a Node that is not there.
func (f *Facts) equal(o *Facts) bool {
	if f == nil || o == nil {
		return f == o
	}
	return f.UID == o.UID && f.Worker == o.Worker &&
		f.Annotated == o.Annotated && f.Annotation == o.Annotation &&
		f.ProviderID == o.ProviderID && f.SystemUUID == o.SystemUUID &&
		slices.Equal(f.Addresses, o.Addresses)
}

// digest compares the news with what is known and makes due what they change.
// Everything that is the same costs no call, whatever else happened to the Node.
func (r *Reconciler) digest(news *Facts, at time.Time) {
	old := r.facts
	if news.equal(old) && (news != nil || r.skip != "") {
		return
	}
	r.facts = news
	if news == nil {
		r.lose(old)
		return
	}
	r.removal = retry{}
	if r.uid != "" && r.uid != news.UID {
		r.forget()
	}
	r.uid = news.UID
	r.reidentify(old, at)
	r.retarget(at)
}

// lose notes that the Node is not there. What a Node leaves behind is removed
// after a while, if it had anything and is still gone then.
func (r *Reconciler) lose(old *Facts) {
	if old == nil {
		r.skip = "there is no Node " + r.cfg.NodeName
		r.tell.say("node", warning, "", r.skip+": is NODE_NAME right?")
		return
	}
	r.skip = "the Node was deleted"
	r.bad = nil
	if r.instance.ID != "" {
		r.removal = retry{due: time.Now().Add(removalDelay)}
	}
	r.tell.say("node", warning, "", fmt.Sprintf("node %s was deleted; its routes go in %v unless it comes back", r.cfg.NodeName, removalDelay))
}

// forget drops all that was learnt about another Node of this name.
func (r *Reconciler) forget() {
	r.instance, r.lookup, r.lookupErr = otc.Server{}, retry{}, nil
	r.wanted, r.bad, r.skip = nil, nil, ""
	for _, t := range r.tables {
		*t = table{id: t.id, held: map[netip.Prefix]bool{}}
	}
}

// named returns the ECS id that the Node itself names, or "".
func (f *Facts) named() string {
	if f == nil {
		return ""
	}
	if id := f.providerInstance(); id != "" {
		return id
	}
	return f.systemInstance()
}

// reidentify decides whether the news may name another instance: while none is
// known, any new hint; else only another id than the known one.
func (r *Reconciler) reidentify(old *Facts, at time.Time) {
	n := r.facts
	if r.instance.ID == "" {
		if old == nil || n.ProviderID != old.ProviderID || n.SystemUUID != old.SystemUUID || !slices.Equal(n.Addresses, old.Addresses) {
			r.lookup = retry{due: at}
		}
		return
	}
	id := n.named()
	if id == "" || id == old.named() || id == r.instance.ID || swapped(id) == r.instance.ID {
		return
	}
	r.forget()
	r.lookup = retry{due: at}
}

// retarget decides what is wanted, and why nothing is.
func (r *Reconciler) retarget(at time.Time) {
	if !r.facts.Worker {
		r.skipNode("not a worker", "NodeSkipped", "skipping node "+r.cfg.NodeName+", it is not a worker")
		return
	}
	subnets, err := r.facts.subnets()
	if err != nil {
		r.unusable(err)
		return
	}
	inside, outside := divide(subnets, r.cfg.Ranges)
	if len(inside) == 0 {
		r.skipNode("no subnet is cluster traffic", "SubnetSkipped", fmt.Sprintf("skipping node %s, subnet %s is not cluster traffic (CLUSTER_CIDR %s)",
			r.cfg.NodeName, join(outside), join(r.cfg.Ranges)))
		return
	}
	if len(outside) > 0 {
		r.tell.say("skipped", info, "SubnetSkipped", fmt.Sprintf("skipping route %s, not cluster traffic", join(outside)))
	}
	if r.wanted == nil || r.bad != nil || r.skip != "" {
		r.tell.say("node", info, "", "node "+r.cfg.NodeName+" has the pod subnets "+join(inside))
	}
	r.bad, r.skip = nil, ""
	if slices.Equal(inside, r.wanted) {
		return
	}
	r.wanted, r.changedAt = inside, at
	if r.instance.ID == "" {
		r.lookup = retry{due: at} // news go first
	}
	for _, t := range r.tables {
		t.restart()
	}
}

// isWaiting: OVN-Kubernetes has not come to this Node yet.
func isWaiting(err error) bool { return errors.Is(err, ErrNotSet) || errors.Is(err, ErrNoDefault) }

// unusable notes an annotation without subnets. Nothing moves because of it.
func (r *Reconciler) unusable(err error) {
	r.bad, r.skip = err, ""
	if isWaiting(err) && r.wanted == nil {
		r.tell.say("node", info, "", "waiting: "+err.Error())
		return
	}
	if r.tell.say("node", warning, "AnnotationInvalid", err.Error()+"; routes stay as they are") {
		r.obs.Pass("error")
	}
}

func (r *Reconciler) skipNode(why, reason, message string) {
	r.skip, r.bad = why, nil
	if r.tell.say("node", warning, reason, message) {
		r.obs.Pass("skipped")
	}
}

// divide parts subnets into those strictly inside the ranges and the others.
func divide(subnets, ranges []netip.Prefix) (inside, outside []netip.Prefix) {
	for _, p := range subnets {
		if otc.Inside(p, ranges) {
			inside = append(inside, p)
		} else {
			outside = append(outside, p)
		}
	}
	return inside, outside
}

func join(prefixes []netip.Prefix) string {
	var s []string
	for _, p := range prefixes {
		s = append(s, p.String())
	}
	return strings.Join(s, ", ")
}
