package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

const (
	hintWay        = "check the API server and the way to it"
	hintServer     = "wait; if it lasts, check the API server's pods and their log"
	hintWatch      = "the ServiceAccount needs get, list and watch on nodes (manifests.yaml, make deploy)"
	hintEvents     = "the ServiceAccount needs create on events in namespace default (manifests.yaml, make deploy)"
	hintOtherNodes = "the ServiceAccount itself needs get on nodes for this, with KUBE_OWN_NODE too (manifests.yaml)"
	hintOwnNode    = "KUBE_OWN_NODE needs Kubernetes 1.36 or later, the rules for it in manifests.yaml (those in namespace default too), and the token of a pod on this node"
	hintAdmission  = "a quota, policy or webhook of the cluster refuses it"
	hintOthers     = "something on the way to the API server drops the field selector, or answers from a cache"
	hintToken      = "the API server does not take the ServiceAccount's token or the credentials of KUBECONFIG"
)

// fromAPIServer returns an error of the API server unchanged. An answer without a
// Status body does not come from it, with any HTTP status: client-go derives a
// reason from that status, which the error returned here does not have.
func fromAPIServer(err error) error {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsUnexpectedServerError(err) {
		return err
	}
	return fmt.Errorf("HTTP %d without a Status, so not from the API server", status.ErrStatus.Code)
}

// hint returns what to do about err, which fromAPIServer has returned. A 403 of the
// API server asks for rights.
func (k *Kube) hint(err error, rights string) string {
	if _, ok := errors.AsType[*apierrors.StatusError](err); !ok {
		return k.hintOnTheWay(err)
	}
	switch apierrors.ReasonForError(err) {
	case metav1.StatusReasonForbidden:
		return rights
	case metav1.StatusReasonUnauthorized:
		return hintToken
	case metav1.StatusReasonUnknown, metav1.StatusReasonNotFound:
		return hintWay
	}
	return hintServer
}

// rights returns what a refused request needs: these, or those of KUBE_OWN_NODE.
func (k *Kube) rights(account string) string {
	if k.ownNode {
		return hintOwnNode
	}
	return account
}

// hintOnTheWay returns what to do about an error that is not the API server's.
func (k *Kube) hintOnTheWay(err error) string {
	if proxy := k.proxy(); proxy != "" {
		return proxy
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the certificate is another server's, or the cluster's CA has changed: the pod's ca.crt is read again within 5 minutes; outside a pod check KUBECONFIG"
	}
	return hintWay
}

// proxy names the proxy on the way to the API server; "" if there is none.
func (k *Kube) proxy() string {
	if k.transport == nil || k.transport.Proxy == nil {
		return ""
	}
	api := k.rest.Get().URL()
	proxy, err := k.transport.Proxy(&http.Request{URL: api})
	switch {
	case err != nil || proxy == nil:
		return ""
	case k.ownProxy:
		return "requests to the API server go through " + proxy.Host + ", the proxy-url of KUBECONFIG: check it"
	}
	return "requests to the API server go through " + proxy.Host + ", the proxy of HTTPS_PROXY: add " + api.Hostname() + " to NO_PROXY, or check that proxy"
}

// transportOf returns what client-go has wrapped; nil if that is unknown.
func transportOf(rt http.RoundTripper) *http.Transport {
	for {
		if t, ok := rt.(*http.Transport); ok {
			return t
		}
		wrapper, ok := rt.(utilnet.RoundTripperWrapper)
		if !ok {
			return nil
		}
		rt = wrapper.WrappedRoundTripper()
	}
}

// prepare replaces client-go's limit of 10 s for a TLS handshake by the longest of a
// request: the request's own limit is what ends it.
func prepare(t *http.Transport) {
	t.TLSHandshakeTimeout = longestRead
	t.OnProxyConnectResponse = func(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		return fmt.Errorf("proxy %s answers CONNECT with HTTP %d", proxy.Host, resp.StatusCode)
	}
}

// A dialer connects to the API server or to a proxy.
type dialer struct {
	lookup  func(ctx context.Context, host string) (addresses []string, err error)
	connect func(ctx context.Context, network, address string) (net.Conn, error)
}

func newDialer() dialer {
	return dialer{net.DefaultResolver.LookupHost, (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext}
}

// dial tries one address after the other, each for connectTimeout. The name look-up
// is not a part of that: the resolver needs 5 s for each dead name server.
func (d dialer) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, longestRead) // package http does not end a dial that is waited for no more
	defer cancel()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addresses, err := d.lookup(ctx, host)
	for _, a := range addresses {
		if conn, err = d.connectTo(ctx, network, net.JoinHostPort(a, port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func (d dialer) connectTo(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return d.connect(ctx, network, address)
}
