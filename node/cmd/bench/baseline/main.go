// Command baseline does the same job the usual way: a loop that looks at Node and
// route table again and again, over a clientset that knows every API of
// Kubernetes. It shares the cloud client and the plan with the real program, so
// that only this difference is measured. It is no program to run anywhere.
package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"otc-route-manager/node"
	"otc-route-manager/otc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		slog.Error(err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	interval, err := time.ParseDuration(os.Getenv("POLL_INTERVAL"))
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	p, err := newPoller(kube)
	if err != nil {
		return err
	}
	http.Handle("/metrics", promhttp.Handler())
	http.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	go func() { slog.Error(http.ListenAndServe(":"+os.Getenv("METRICS_PORT"), nil).Error()) }()
	for {
		if err := p.poll(ctx); err != nil {
			p.failures.Inc()
			slog.Error(err.Error())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

// A poller keeps one Node's routes.
type poller struct {
	kube             kubernetes.Interface
	cloud            *otc.Client
	ranges           []netip.Prefix
	name, id, table  string
	passes, failures prometheus.Counter
}

func newPoller(kube kubernetes.Interface) (*poller, error) {
	cluster, err := netip.ParsePrefix(os.Getenv("CLUSTER_CIDR"))
	if err != nil {
		return nil, err
	}
	p := &poller{kube: kube, ranges: []netip.Prefix{cluster}, name: os.Getenv("NODE_NAME"), table: os.Getenv("ROUTE_TABLE_ID")}
	p.cloud = otc.New(otc.Config{
		AuthURL: os.Getenv("OS_AUTH_URL"), Region: os.Getenv("OS_REGION_NAME"), Allowed: p.ranges,
		Credentials: func() (otc.Credentials, error) {
			return otc.Credentials{User: os.Getenv("OS_USERNAME"), Account: os.Getenv("OS_DOMAIN_NAME"),
				Secret: otc.NewSecret(os.Getenv("OS_PASSWORD")), ProjectName: os.Getenv("OS_PROJECT_NAME")}, nil
		},
	}, nil)
	p.passes = prometheus.NewCounter(prometheus.CounterOpts{Name: "baseline_passes_total", Help: "Looks."})
	p.failures = prometheus.NewCounter(prometheus.CounterOpts{Name: "baseline_failures_total", Help: "Looks that failed."})
	prometheus.MustRegister(p.passes, p.failures)
	return p, nil
}

// poll looks at everything and writes what is missing.
func (p *poller) poll(ctx context.Context) error {
	p.passes.Inc()
	n, err := p.kube.CoreV1().Nodes().Get(ctx, p.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	wanted, err := node.ParseSubnets(n.Annotations[node.SubnetsAnnotation])
	if err != nil {
		return err
	}
	if p.id == "" {
		server, err := p.cloud.Server(ctx, strings.TrimPrefix(n.Spec.ProviderID, "openstack:///"))
		if err != nil {
			return err
		}
		p.id = server.ID
	}
	table, err := p.cloud.RouteTable(ctx, p.table)
	if err != nil {
		return err
	}
	plan := node.MakePlan(node.Question{Wanted: wanted, Self: p.id, NodeName: p.name, Ranges: p.ranges, Table: table.Routes})
	if len(plan.Changes) == 0 {
		return nil
	}
	return p.cloud.UpdateRoutes(ctx, table, plan.Changes)
}
