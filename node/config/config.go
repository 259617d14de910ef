// Package config turns the environment into the configuration of the program's
// packages. The README's table of settings is this package, in words.
package config

import (
	"log/slog"

	"k8s.io/client-go/rest"

	"otc-route-manager/node"
	"otc-route-manager/otc"
)

// A Config is what the environment says, checked.
type Config struct {
	OTC       otc.Config // without Observer and UserAgent
	Node      node.Config
	Kube      *rest.Config
	Port      int    // of metrics, health and status page
	LogFormat string // "text" or "json"
	LogLevel  slog.Level
}

// Read reads and checks the whole environment. It returns every problem, each
// naming its variable, its value unless that is secret, and what is wanted.
func Read(getenv func(string) string) (Config, []string) {
	e := &environment{getenv: getenv}
	var s Config
	s.LogFormat = e.oneOf("LOG_FORMAT", "text", "text", "json")
	_ = s.LogLevel.UnmarshalText([]byte(e.oneOf("LOG_LEVEL", "info", "debug", "info", "warn", "error")))

	s.OTC.AuthURL = e.authURL()
	s.OTC.Credentials = e.credentials()
	s.OTC.DomainName = e.domain()
	s.OTC.ProjectID = e.optional("OS_PROJECT_ID")
	if s.OTC.ProjectID == "" {
		s.OTC.ProjectName = e.required("OS_PROJECT_NAME", "the project, for example eu-de_cluster (or set OS_PROJECT_ID)")
	}
	s.OTC.Region = e.required("OS_REGION_NAME", "the region, for example eu-de")
	s.OTC.RootCAs = e.rootCAs()
	s.OTC.VPCEndpoint = e.url("OTC_VPC_ENDPOINT")
	s.OTC.ECSEndpoint = e.url("OTC_ECS_ENDPOINT")

	s.Node.NodeName = e.required("NODE_NAME", "the Node's name, from the downward API (spec.nodeName)")
	s.Node.Tables = e.routeTables()
	s.Node.Ranges = e.clusterCIDR()
	s.OTC.Allowed = s.Node.Ranges
	s.Node.DryRun = e.boolean("DRY_RUN")
	s.Node.DriftInterval = e.duration("DRIFT_CHECK_INTERVAL", "15m")
	s.Node.DriftRepair = e.boolean("DRIFT_REPAIR")
	s.Node.OrphanCleanup = e.boolean("ORPHAN_CLEANUP")
	s.Node.StartupJitter = e.duration("STARTUP_JITTER", "5s")
	s.Port = e.port("METRICS_PORT", "8080")
	s.Kube = e.kubeConfig()
	return s, e.problems
}
