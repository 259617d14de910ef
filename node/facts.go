package node

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"otc-route-manager/otc"
)

// The role labels. Only their presence counts; kubeadm and OpenShift give them an
// empty value.
const (
	labelWorker       = "node-role.kubernetes.io/worker"
	labelControlPlane = "node-role.kubernetes.io/control-plane"
	labelMaster       = "node-role.kubernetes.io/master"
)

// Facts is all that is read of a Node object.
type Facts struct {
	UID        string
	Worker     bool
	Annotated  bool   // whether the annotation is there
	Annotation string // its value
	ProviderID string
	SystemUUID string
	Addresses  []netip.Addr // InternalIP, sorted
}

// factsOf reads a Node.
func factsOf(n *corev1.Node) Facts {
	f := Facts{
		UID:        string(n.UID),
		Worker:     isWorker(n.Labels),
		ProviderID: n.Spec.ProviderID,
		SystemUUID: n.Status.NodeInfo.SystemUUID,
	}
	f.Annotation, f.Annotated = n.Annotations[SubnetsAnnotation]
	for _, a := range n.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			f.Addresses = append(f.Addresses, addr)
		}
	}
	slices.SortFunc(f.Addresses, netip.Addr.Compare)
	return f
}

// isWorker: a Node is a worker if it says so, or if it says neither that it is
// one nor that it belongs to the control plane. OpenShift's schedulable masters
// carry both labels and are workers; kubeadm's workers carry none.
func isWorker(labels map[string]string) bool {
	has := func(key string) bool { _, ok := labels[key]; return ok }
	return has(labelWorker) || !has(labelControlPlane) && !has(labelMaster)
}

// subnets parses the annotation.
func (f Facts) subnets() ([]netip.Prefix, error) {
	if !f.Annotated {
		return nil, errNotSet
	}
	return ParseSubnets(f.Annotation)
}

// providerInstance returns the ECS id in spec.providerID, lower case, or "". The
// forms are those of the OpenStack and the Huawei cloud provider; anything else
// belongs to another cloud.
func (f Facts) providerInstance() string {
	id := f.ProviderID
	if rest, ok := strings.CutPrefix(id, "openstack://"); ok {
		var region string
		region, id, ok = strings.Cut(rest, "/")
		if !ok || strings.Contains(region, "/") {
			return ""
		}
	} else {
		id = strings.TrimPrefix(id, "huaweicloud://")
	}
	return uuid(id)
}

// systemInstance returns status.nodeInfo.systemUUID, which Nova sets to the
// server's id, lower case, or "".
func (f Facts) systemInstance() string { return uuid(f.SystemUUID) }

func uuid(s string) string {
	if !otc.IsUUID(s) {
		return ""
	}
	return strings.ToLower(s)
}
