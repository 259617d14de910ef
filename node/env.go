package node

import (
	"context"
	"net/netip"
	"time"

	"otc-route-manager/otc"
)

// Cloud is all that this package asks of the cloud; *otc.Client is one.
type Cloud interface {
	RouteTable(ctx context.Context, id string) (otc.RouteTable, error)
	UpdateRoutes(ctx context.Context, read otc.RouteTable, changes otc.Changes) error
	Server(ctx context.Context, id string) (otc.Server, error)
	ServersByIP(ctx context.Context, ip netip.Addr) ([]otc.Server, error)
	Servers(ctx context.Context) ([]otc.Server, error)
	RouteQuota(ctx context.Context) (limit int, err error)
	CredentialsChanged() bool
}

// Kubernetes is all that the Reconciler asks of the API server; *Kube is one.
type Kubernetes interface {
	// NodeExists reads a Node; only the API server's own 404 means false.
	NodeExists(ctx context.Context, name string) (bool, error)
}

// An Observer counts. Its methods do not block.
type Observer interface {
	Pass(result string)                          // success, error, skipped
	RouteChange(operation, result string, n int) // add, modify, delete; success, error
	AnnotationToRoute(d time.Duration)           // from the Node event to the confirmed routes
	TableRoutes(table string, n int)             // entries that count in a route table, as last read
	RouteLimit(n int)                            // how many a table takes, once that is known
}

// Config says what to do for which Node.
type Config struct {
	NodeName      string
	Ranges        []netip.Prefix // CLUSTER_CIDR
	Tables        []string       // route table ids
	DryRun        bool           // plan and record, write nothing
	DriftInterval time.Duration  // between reads of a table that is settled; 0: never read it
	DriftRepair   bool           // put back what such a read misses
	OrphanCleanup bool           // remove marked routes of instances that are gone
	StartupJitter time.Duration  // the first call waits a random part of this
}

// An env is what the workers of a Reconciler share.
type env struct {
	cloud Cloud
	kube  Kubernetes
	obs   Observer
	rec   *Recorder
	cfg   *Config
	quota *quota
}
