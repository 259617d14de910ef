package config

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// What holds a setting in the cluster.
const (
	Secret    = "Secret"
	ConfigMap = "ConfigMap"
	DaemonSet = "DaemonSet"
)

// A Setting is a variable of the environment.
type Setting struct {
	Name     string
	Default  string // "": none
	Required bool
	Private  bool   // its value is taken as it is, and never shown
	Object   string // Secret, ConfigMap or DaemonSet; "": not set in the cluster
	Meaning  string // what it does
	Want     string // what a right value is

	alternative string                   // the setting that may be given in its place
	login       bool                     // read again at each login
	password    bool                     // of the login by password: none beside OS_IDENTITY_PROVIDER
	list        bool                     // several values, commas between
	lowerCase   bool                     // or its name in lower case, as Go reads proxies
	shown       bool                     // on the status page
	parse       func(value string) error // of one value; nil: any text
}

// Settings returns all settings.
func Settings() []Setting { return new(Config).settings() }

// settings returns all settings, which are read into c.
func (c *Config) settings() []Setting {
	return []Setting{
		{Name: "OS_AUTH_URL", Required: true, Object: ConfigMap, parse: c.authURL,
			Meaning: "address of IAM", Want: "the IAM URL, for example https://iam.eu-de.otc.t-systems.com/v3"},
		{Name: "OS_USERNAME", Required: true, Object: Secret, login: true, password: true, parse: text(&c.login.User),
			Meaning: "service user", Want: "the service user's name"},
		{Name: "OS_PASSWORD", Required: true, Private: true, Object: Secret, login: true, password: true, parse: c.secret,
			Meaning: "its password", Want: "the service user's password"},
		{Name: "OS_DOMAIN_NAME", Required: true, Object: Secret, alternative: "OS_USER_DOMAIN_NAME", login: true, password: true, parse: c.account,
			Meaning: "account", Want: "the account, for example OTC00000000001000000000"},
		{Name: "OS_USER_DOMAIN_NAME", Object: ConfigMap, login: true, password: true, parse: c.account,
			Meaning: "another name for OS_DOMAIN_NAME", Want: "the account, once"},
		{Name: "OS_IDENTITY_PROVIDER", Object: ConfigMap, shown: true, login: true, parse: text(&c.login.IdentityProvider),
			Meaning: "login by ID token, not by password: its issuer's name in IAM", Want: "the name of the identity provider in IAM"},
		{Name: "OS_ID_TOKEN_FILE", Default: "/var/run/secrets/otc/id-token", Object: DaemonSet, login: true, parse: c.tokenFile,
			Meaning: "file with the ID token", Want: "the path of a file that holds a ServiceAccount token"},
		{Name: "OS_PROJECT_NAME", Required: true, Object: Secret, alternative: "OS_PROJECT_ID", shown: true, login: true, parse: text(&c.login.ProjectName),
			Meaning: "project", Want: "the project, for example eu-de_cluster (or set OS_PROJECT_ID)"},
		{Name: "OS_PROJECT_ID", Object: ConfigMap, shown: true, login: true, parse: pattern("(?i)[0-9a-f]{32}", &c.login.ProjectID),
			Meaning: "instead of OS_PROJECT_NAME", Want: "a project id of 32 hex digits"},
		{Name: "OS_REGION_NAME", Required: true, Object: ConfigMap, shown: true, parse: pattern("[a-z0-9-]+", &c.OTC.Region),
			Meaning: "chooses the endpoints of the catalog", Want: "one region in small letters, for example eu-de"},
		{Name: "OS_CACERT", Object: ConfigMap, parse: c.rootCAs,
			Meaning: "PEM file added to the system's roots", Want: "a file with certificates in PEM"},
		{Name: "OTC_VPC_ENDPOINT", Object: ConfigMap, parse: endpoint(&c.OTC.VPCEndpoint),
			Meaning: "VPC URL instead of the catalog's", Want: "a URL such as https://vpc.eu-de.otc.t-systems.com"},
		{Name: "OTC_ECS_ENDPOINT", Object: ConfigMap, parse: endpoint(&c.OTC.ECSEndpoint),
			Meaning: "ECS URL instead of the catalog's", Want: "a URL such as https://ecs.eu-de.otc.t-systems.com"},
		{Name: "ROUTE_TABLE_ID", Required: true, Object: ConfigMap, list: true, shown: true, parse: c.routeTable,
			Meaning: "route tables that get the routes", Want: "the id of the VPC's route table, a UUID (several: comma separated)"},
		{Name: "CLUSTER_CIDR", Required: true, Object: ConfigMap, list: true, shown: true, parse: c.clusterCIDR,
			Meaning: "pod network; routes outside are never touched", Want: "the cluster network, for example 10.128.0.0/14 (several: comma separated)"},
		{Name: "NODE_NAME", Required: true, Object: DaemonSet, parse: c.nodeName,
			Meaning: "the Node", Want: "the Node's name, from the downward API (spec.nodeName)"},
		{Name: "METRICS_PORT", Default: "8080", Object: DaemonSet, parse: port(&c.Port),
			Meaning: "port of metrics, health and status page", Want: "a port from 1 to 65535"},
		{Name: "KUBECONFIG", parse: text(&c.kubeconfig),
			Meaning: "kubeconfig file, for runs outside a pod", Want: "the path of a kubeconfig file"},
		{Name: "KUBE_OWN_NODE", Default: "false", Object: ConfigMap, shown: true, parse: boolean(&c.ownNode),
			Meaning: "ask the API server as system:node:NODE_NAME, which may read its own Node only", Want: wantBoolean},
		{Name: "DRY_RUN", Default: "false", Object: ConfigMap, shown: true, parse: boolean(&c.Node.DryRun),
			Meaning: "log planned changes without writing them", Want: wantBoolean},
		{Name: "DRIFT_CHECK_INTERVAL", Default: "15m", Object: ConfigMap, shown: true, parse: duration(10*time.Second, &c.Node.DriftInterval),
			Meaning: "how often a table that was right is read again; 0: never", Want: "0, or 10s to 24h, for example 15m"},
		{Name: "DRIFT_REPAIR", Default: "false", Object: ConfigMap, shown: true, parse: boolean(&c.Node.DriftRepair),
			Meaning: "put back what such a read finds missing", Want: wantBoolean},
		{Name: "ORPHAN_CLEANUP", Default: "false", Object: ConfigMap, shown: true, parse: boolean(&c.Node.OrphanCleanup),
			Meaning: "remove this program's routes to instances that are gone", Want: wantBoolean},
		{Name: "STARTUP_JITTER", Default: "5s", Object: ConfigMap, parse: duration(time.Millisecond, &c.Node.StartupJitter),
			Meaning: "the first call waits a random part of this", Want: "0, or a duration up to 24h, for example 5s"},
		{Name: "LOG_LEVEL", Default: "info", Object: ConfigMap, parse: c.logLevel,
			Meaning: "least level of a log line", Want: "one of debug, info, warn, error"},
		{Name: "LOG_FORMAT", Default: "text", Object: ConfigMap, parse: pattern("(?i)text|json", &c.LogFormat),
			Meaning: "form of a log line", Want: "one of text, json"},
		{Name: "HTTPS_PROXY", Object: ConfigMap, lowerCase: true, parse: proxyURL,
			Meaning: "proxy for requests to the cloud and to the API server", Want: "a URL such as http://proxy.example.com:3128; in user and password %, #, / and @ are written %25, %23, %2F and %40"},
		{Name: "NO_PROXY", Object: ConfigMap, list: true, lowerCase: true, parse: proxyException,
			Meaning: "hosts that are reached without it, the API server for one", Want: "host names, addresses and CIDRs, comma separated"},
	}
}

const wantBoolean = "true or false"

// inFile reports whether <NAME>_FILE may name a file with the value.
func (s Setting) inFile() bool {
	return (strings.HasPrefix(s.Name, "OS_") || s.Name == "ROUTE_TABLE_ID") && !strings.HasSuffix(s.Name, "_FILE")
}

// matches reports whether name means the setting: its own, or its object's.
func (s Setting) matches(name string) bool {
	return name == s.Name || s.Object != "" && strings.EqualFold(name, s.Object)
}

// owner names the make target or file that sets it.
func (s Setting) owner() string {
	return map[string]string{
		Secret: "; make create-secrets sets it", ConfigMap: "; make create-configmap sets it", DaemonSet: "; manifests.yaml sets it",
	}[s.Object]
}

// setting returns the setting of that name.
func setting(name string) Setting {
	all := Settings()
	return all[slices.IndexFunc(all, func(s Setting) bool { return s.Name == name })]
}

// An ExitCode is a number with which the program ends.
type ExitCode struct {
	Code    int
	Meaning string
}

// The exit codes.
const (
	ExitOK            = 0
	ExitFailure       = 1
	ExitConfiguration = 2
)

// ExitCodes returns the exit codes with their meaning.
func ExitCodes() []ExitCode {
	return []ExitCode{
		{ExitOK, "stopped on request; -check: every step succeeded"},
		{ExitFailure, "a failure that waiting does not end; -check: a step failed"},
		{ExitConfiguration, "a setting is missing or wrong, or an unknown flag; nothing was sent"},
	}
}

// Help writes all exit codes and settings.
func Help(w io.Writer) {
	fmt.Fprintln(w, "\nExit codes:")
	for _, c := range ExitCodes() {
		fmt.Fprintf(w, "  %d  %s\n", c.Code, c.Meaning)
	}
	fmt.Fprintln(w, "\nEnvironment:")
	for _, s := range Settings() {
		preset := cmp.Or(s.Default, "-")
		if s.Required {
			preset = "required"
		}
		fmt.Fprintf(w, "  %-20s  %-8s  %s\n", s.Name, preset, s.Meaning)
	}
}
