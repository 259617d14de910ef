// Command otc-route-manager keeps the pod subnets of the Node it runs on in the
// route tables of an Open Telekom Cloud VPC.
//
// This file only wires: environment to configuration, the rooms to each other,
// and everything to the process's life.
package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"otc-route-manager/metrics"
	"otc-route-manager/node"
	"otc-route-manager/otc"
)

// Set by the linker (see the Makefile).
var (
	version = "dev"
	commit  = "unknown"
)

const shutdownTimeout = 3 * time.Second

// Exit codes.
const (
	exitOK            = 0
	exitFailure       = 1 // something that cannot be waited out
	exitConfiguration = 2
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // a quarter less memory at no measurable cost
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1) // one Node is little work, and every further CPU of a large worker costs memory
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is the program: it returns when ctx ends, or earlier with an exit code
// that says why.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("otc-route-manager", flag.ContinueOnError)
	flags.SetOutput(stderr)
	showVersion := flags.Bool("version", false, "print version, commit and Go version, and exit")
	check := flags.Bool("check", false, "go through every step once, write nothing, and exit")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		fmt.Fprintln(stderr, "everything else is set by environment variables, see README.md")
		return exitConfiguration
	}
	if *showVersion {
		fmt.Fprintf(stdout, "otc-route-manager %s (commit %s, %s %s/%s)\n", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return exitOK
	}
	cfg, problems := configure(getenv)
	log := slog.New(newHandler(stderr, cfg.logFormat, cfg.logLevel))
	klog.SetSlogLogger(slog.New(remarks{log.Handler()}))
	if len(problems) > 0 && *check {
		for _, p := range problems {
			fmt.Fprintln(stdout, "❌ configuration:", p)
		}
		return exitFailure
	}
	if len(problems) > 0 {
		for _, p := range problems {
			log.Error("configuration: " + p)
		}
		log.Error(fmt.Sprintf("configuration: %d problems, nothing was sent", len(problems)))
		return exitConfiguration
	}
	m := &meter{Metrics: metrics.New(metrics.Build{Version: version, Commit: commit}, cfg.node.Tables)}
	cfg.otc.Observer, cfg.otc.UserAgent = m, "otc-route-manager/"+version
	cfg.otc.OneLogin = *check
	cfg.kube.UserAgent = cfg.otc.UserAgent
	client := otc.New(cfg.otc, log)
	kube, err := node.NewKube(cfg.kube, cfg.node.NodeName, log)
	if err == nil && *check {
		if node.Check(ctx, stdout, client, kube.Get, cfg.node) {
			return exitOK
		}
		return exitFailure
	}
	if err == nil {
		err = serve(ctx, cfg, m, kube, node.New(client, kube, m, log, cfg.node), log)
	}
	if err != nil {
		log.Error(err.Error())
		return exitFailure
	}
	return exitOK
}

// serve listens, starts the parts and waits for the end of ctx.
func serve(ctx context.Context, cfg config, m *meter, kube *node.Kube, rec *node.Reconciler, log *slog.Logger) error {
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(cfg.port))
	if err != nil {
		return fmt.Errorf("METRICS_PORT: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var watch watchdog
	server := m.Server("", m.Handler(func() metrics.Status { return page(rec.Status(), m.tokenEnd.Load()) }, func() error {
		return errors.Join(watch.err(), rec.Alive())
	}))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("otc-route-manager started", "version", version, "node", cfg.node.NodeName, "metrics", listener.Addr().String(),
		"cluster_cidr", fmt.Sprint(cfg.node.Ranges), "route_tables", fmt.Sprint(cfg.node.Tables), "dry_run", cfg.node.DryRun)

	var wg sync.WaitGroup
	wg.Go(func() { watch.ended(ctx, kube.Watch(ctx, rec.Observe)) })
	wg.Go(func() { kube.WriteEvents(ctx) })
	wg.Go(func() { rec.Run(ctx) })
	select {
	case <-ctx.Done():
		log.Info("asked to stop; routes stay as they are")
	case err = <-served:
	}
	stop()
	expiry, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	_ = server.Shutdown(expiry)
	await(expiry, &wg)
	return err
}

// await waits for the parts to end, but not for ever: there is nothing to save.
func await(ctx context.Context, wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// A watchdog remembers that the watch loop has ended although nobody asked it to.
type watchdog struct {
	mu  sync.Mutex
	why error
}

func (w *watchdog) ended(ctx context.Context, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() == nil {
		w.why = fmt.Errorf("the watch on the Node has ended: %w", err)
	}
}

func (w *watchdog) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.why
}

// A meter remembers the token's end for the status page.
type meter struct {
	*metrics.Metrics
	tokenEnd atomic.Pointer[time.Time]
}

func (m *meter) TokenExpiry(t time.Time) {
	m.tokenEnd.Store(&t)
	m.Metrics.TokenExpiry(t)
}

// page turns what node knows into what metrics shows.
func page(s node.Status, tokenEnd *time.Time) metrics.Status {
	out := metrics.Status{
		Ready: s.Ready, InSync: s.InSync, DryRun: s.DryRun, Reason: s.Reason,
		Node: s.Node, Instance: s.Instance, InstanceName: s.InstanceName, Version: version,
		LastAttempt: s.LastAttempt, LastError: s.LastError, NextAttempt: s.NextAttempt,
	}
	if tokenEnd != nil {
		out.TokenExpiry = *tokenEnd
	}
	for _, p := range s.Subnets {
		out.Subnets = append(out.Subnets, p.String())
	}
	for _, t := range s.Tables {
		table := metrics.Table{ID: t.ID, Name: t.Name, State: t.State, Used: t.Used}
		if t.Used > 0 { // it has been read: none is without the system's routes
			table.Limit = metrics.RouteLimit
		}
		if t.Planned != "" {
			table.Planned = strings.Split(t.Planned, ", ")
		}
		for _, r := range t.Routes {
			table.Routes = append(table.Routes, metrics.Route(r))
		}
		out.Tables = append(out.Tables, table)
	}
	for _, c := range s.Changes {
		out.Changes = append(out.Changes, metrics.Change(c))
	}
	return out
}

// A config is the environment, checked.
type config struct {
	otc       otc.Config
	node      node.Config
	kube      *rest.Config
	port      int
	logFormat string
	logLevel  slog.Level
}

// configure reads and checks the whole environment. It returns every problem,
// each naming its variable, its value unless that is secret, and what is wanted.
func configure(getenv func(string) string) (config, []string) {
	e := &environment{getenv: getenv}
	var c config
	c.logFormat = e.oneOf("LOG_FORMAT", "text", "text", "json")
	_ = c.logLevel.UnmarshalText([]byte(e.oneOf("LOG_LEVEL", "info", "debug", "info", "warn", "error")))

	c.otc.AuthURL = e.authURL()
	c.otc.Credentials = e.credentials()
	c.otc.DomainName = e.domain()
	c.otc.ProjectID = e.optional("OS_PROJECT_ID")
	if c.otc.ProjectID == "" {
		c.otc.ProjectName = e.required("OS_PROJECT_NAME", "the project, for example eu-de_cluster (or set OS_PROJECT_ID)")
	}
	c.otc.Region = e.required("OS_REGION_NAME", "the region, for example eu-de")
	c.otc.RootCAs = e.rootCAs()
	c.otc.VPCEndpoint = e.url("OTC_VPC_ENDPOINT")
	c.otc.ECSEndpoint = e.url("OTC_ECS_ENDPOINT")

	c.node.NodeName = e.required("NODE_NAME", "the Node's name, from the downward API (spec.nodeName)")
	c.node.Tables = e.routeTables()
	c.node.Ranges = e.clusterCIDR()
	c.otc.Allowed = c.node.Ranges
	c.node.DryRun = e.boolean("DRY_RUN")
	c.node.DriftInterval = e.duration("DRIFT_CHECK_INTERVAL", "15m")
	c.node.DriftRepair = e.boolean("DRIFT_REPAIR")
	c.node.OrphanCleanup = e.boolean("ORPHAN_CLEANUP")
	c.node.StartupJitter = e.duration("STARTUP_JITTER", "5s")
	c.port = e.port("METRICS_PORT", "8080")
	c.kube = e.kubeConfig()
	return c, e.problems
}

// An environment reads variables and collects what is wrong with them.
type environment struct {
	getenv   func(string) string
	problems []string
}

func (e *environment) problem(format string, args ...any) {
	e.problems = append(e.problems, fmt.Sprintf(format, args...))
}

// lookup returns the value of a variable, given directly or, for OS_* and
// ROUTE_TABLE_ID, as the content of the file that <NAME>_FILE names.
func (e *environment) lookup(name string) string {
	value, path := strings.TrimSpace(e.getenv(name)), ""
	if strings.HasPrefix(name, "OS_") || name == "ROUTE_TABLE_ID" {
		path = e.getenv(name + "_FILE")
	}
	switch {
	case path == "":
		return value
	case value != "":
		e.problem("%s and %s_FILE are both set: leave one out", name, name)
		return value
	}
	content, err := readValue(path)
	if err != nil {
		e.problem("%s_FILE: %v; %s", name, err, source(name))
		return unreadable
	}
	return content
}

// unreadable stands for a value whose file cannot be read: that is one problem,
// not two.
const unreadable = "\x00"

// readValue reads a file without its trailing newline.
func readValue(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimRight(string(b), "\r\n"), err
}

// isPlaceholder reports whether nobody has filled in a value yet.
func isPlaceholder(s string) bool {
	return strings.TrimSpace(s) == "" || strings.Contains(s, "your-") || strings.Contains(s, "REPLACE")
}

// source names the make target that sets a variable.
func source(name string) string {
	if slices.Contains([]string{"OS_USERNAME", "OS_PASSWORD", "OS_DOMAIN_NAME", "OS_PROJECT_NAME"}, name) {
		return "make create-secrets sets it"
	}
	if name == "NODE_NAME" {
		return "manifests.yaml sets it"
	}
	return "make create-configmap sets it"
}

func (e *environment) optional(name string) string {
	if v := e.lookup(name); !isPlaceholder(v) && v != unreadable {
		return v
	}
	return ""
}

func (e *environment) required(name, want string) string {
	v := e.lookup(name)
	if v == unreadable {
		return ""
	}
	if isPlaceholder(v) {
		e.problem("%s is missing: want %s; %s", name, want, source(name))
		return ""
	}
	return v
}

func (e *environment) oneOf(name, fallback string, values ...string) string {
	v := strings.ToLower(e.optional(name))
	if v == "" || slices.Contains(values, v) {
		return first(v, fallback)
	}
	e.problem("%s=%q: want one of %s", name, v, strings.Join(values, ", "))
	return fallback
}

func (e *environment) boolean(name string) bool {
	b, err := strconv.ParseBool(first(e.optional(name), "false"))
	if err != nil {
		e.problem("%s=%q: want true or false", name, e.optional(name))
	}
	return b
}

func (e *environment) duration(name, fallback string) time.Duration {
	v := first(e.optional(name), fallback)
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 || d > 24*time.Hour || d != 0 && d < time.Millisecond {
		e.problem("%s=%q: want a duration up to 24h such as 5s or 15m, or 0", name, v)
	}
	return d
}

func (e *environment) port(name, fallback string) int {
	v := first(e.optional(name), fallback)
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 65535 {
		e.problem("%s=%q: want a port from 1 to 65535", name, v)
	}
	return n
}

func (e *environment) url(name string) string {
	v := e.optional(name)
	if v == "" {
		return ""
	}
	if _, err := otc.ParseURL(v); err != nil {
		e.problem("%s: %v", name, err)
	}
	return strings.TrimRight(v, "/")
}

// authURL returns OS_AUTH_URL, ending in /v3.
func (e *environment) authURL() string {
	v := e.required("OS_AUTH_URL", "the IAM URL, for example https://iam.eu-de.otc.t-systems.com/v3")
	if v == "" {
		return ""
	}
	u, err := otc.ParseURL(v)
	if err != nil {
		e.problem("OS_AUTH_URL: %v", err)
		return ""
	}
	return withV3(u)
}

func withV3(u *url.URL) string {
	base := strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/")
	return strings.TrimSuffix(strings.TrimSuffix(base, "/auth/tokens"), "/v3") + "/v3"
}

// domain returns OS_DOMAIN_NAME or its alias.
func (e *environment) domain() string {
	name, alias := e.getenv("OS_DOMAIN_NAME")+e.getenv("OS_DOMAIN_NAME_FILE"), e.optional("OS_USER_DOMAIN_NAME")
	if name == "" && alias != "" {
		return alias
	}
	domain := e.required("OS_DOMAIN_NAME", "the account, for example OTC00000000001000000000")
	if alias != "" && domain != "" && alias != domain {
		e.problem("OS_DOMAIN_NAME=%q and its alias OS_USER_DOMAIN_NAME=%q differ: leave one out", domain, alias)
	}
	return domain
}

// credentials checks user name and password now, and returns what reads them
// again at each login: a rotated Secret needs no restart.
func (e *environment) credentials() func() (string, otc.Secret, error) {
	user := e.required("OS_USERNAME", "the service user's name")
	password := otc.NewSecret(e.required("OS_PASSWORD", "the service user's password"))
	userFile, passwordFile := e.getenv("OS_USERNAME_FILE"), e.getenv("OS_PASSWORD_FILE")
	return func() (string, otc.Secret, error) {
		u, p := user, password
		if userFile != "" {
			content, err := readValue(userFile)
			if err != nil {
				return "", otc.Secret{}, fmt.Errorf("OS_USERNAME_FILE: %w", err)
			}
			u = content
		}
		if passwordFile != "" {
			content, err := readValue(passwordFile)
			if err != nil {
				return "", otc.Secret{}, fmt.Errorf("OS_PASSWORD_FILE: %w", err)
			}
			p = otc.NewSecret(content)
		}
		return u, p, nil
	}
}

// rootCAs returns the system's roots plus OS_CACERT; nil if that is not set.
func (e *environment) rootCAs() *x509.CertPool {
	path := e.optional("OS_CACERT")
	if path == "" {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		e.problem("OS_CACERT: %v", err)
	} else if !pool.AppendCertsFromPEM(pem) {
		e.problem("OS_CACERT=%q: the file holds no PEM certificate", path)
	}
	return pool
}

func (e *environment) routeTables() []string {
	var ids []string
	for _, v := range e.list("ROUTE_TABLE_ID", "the id of the VPC's route table, a UUID (several: comma separated)") {
		id := strings.ToLower(v)
		switch {
		case !otc.IsUUID(id):
			e.problem("ROUTE_TABLE_ID: %q is not a UUID such as 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", v)
		case slices.Contains(ids, id):
			e.problem("ROUTE_TABLE_ID names %q twice", v)
		default:
			ids = append(ids, id)
		}
	}
	return ids
}

// reserved are ranges that no pod subnet can lie in: OTC's and OVN-Kubernetes'
// own, loopback, link-local and multicast.
func reserved() []string {
	return []string{"100.64.0.0/10", "198.19.128.0/20", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::/8", "fe80::/10", "ff00::/8"}
}

func (e *environment) clusterCIDR() []netip.Prefix {
	var ranges []netip.Prefix
	for _, v := range e.list("CLUSTER_CIDR", "the cluster network, for example 10.128.0.0/14 (several: comma separated)") {
		p, err := netip.ParsePrefix(v)
		switch {
		case err != nil || p.Addr().Is4In6():
			e.problem("CLUSTER_CIDR: %q is not a CIDR such as 10.128.0.0/14", v)
		case p != p.Masked():
			e.problem("CLUSTER_CIDR: %q has host bits set; did you mean %s?", v, p.Masked())
		case p.Bits() == 0:
			e.problem("CLUSTER_CIDR: %q is the default route, which is never touched", v)
		case slices.Contains(ranges, p):
			e.problem("CLUSTER_CIDR names %q twice", v)
		default:
			ranges = append(ranges, p)
		}
		for _, r := range reserved() {
			if err == nil && p.Bits() > 0 && p.Overlaps(netip.MustParsePrefix(r)) {
				e.problem("CLUSTER_CIDR: %q overlaps %s, which is reserved", v, r)
			}
		}
	}
	return ranges
}

// list splits a required variable at its commas.
func (e *environment) list(name, want string) []string {
	v := e.required(name, want)
	if v == "" {
		return nil
	}
	parts := strings.Split(v, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// kubeConfig returns how to reach the API server: KUBECONFIG, else the pod's
// ServiceAccount.
func (e *environment) kubeConfig() *rest.Config {
	path := e.optional("KUBECONFIG")
	if path == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			e.problem("KUBECONFIG is not set and this is no pod with a ServiceAccount: %v", err)
		}
		return cfg
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		e.problem("KUBECONFIG=%q: %v", path, err)
	}
	return cfg
}

// first returns the first of its arguments that is not empty.
func first(s ...string) string {
	i := slices.IndexFunc(s, func(v string) bool { return v != "" })
	if i < 0 {
		return ""
	}
	return s[i]
}

// A handler writes log lines that begin with a mark a person can find: the
// message, with "✅ Success: ", "ℹ️ Info: ", "⚠️ Warning: " or "❌ Error: " before it.
type handler struct {
	slog.Handler
	text *textWriter // nil for JSON
}

// textWriter joins a message, as it is, and the attributes that slog's own text
// handler makes of the rest. That handler alone would quote the marks away.
type textWriter struct {
	mu    sync.Mutex
	out   io.Writer
	attrs strings.Builder
}

func newHandler(w io.Writer, format string, level slog.Level) slog.Handler {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return handler{Handler: slog.NewJSONHandler(w, opts)}
	}
	t := &textWriter{out: w}
	opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}
	return handler{Handler: slog.NewTextHandler(&t.attrs, opts), text: t}
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	r.Message = mark(r.Level) + r.Message
	if r.Level == node.LevelSuccess {
		r.Level = slog.LevelInfo
	}
	if h.text == nil {
		return h.Handler.Handle(ctx, r)
	}
	h.text.mu.Lock()
	defer h.text.mu.Unlock()
	h.text.attrs.Reset()
	if err := h.Handler.Handle(ctx, r); err != nil {
		return err
	}
	message := strings.NewReplacer("\n", " ", "\r", " ").Replace(r.Message)
	_, err := io.WriteString(h.text.out, message+" "+h.text.attrs.String())
	return err
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.text}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.text}
}

func mark(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "❌ Error: "
	case level >= slog.LevelWarn:
		return "⚠️ Warning: "
	case level == node.LevelSuccess:
		return "✅ Success: "
	case level >= slog.LevelInfo:
		return "ℹ️ Info: "
	}
	return "Debug: "
}

// remarks takes what client-go logs. Short of an error that is for debugging: what
// an operator should know of the watch is told by package node.
type remarks struct{ slog.Handler }

func (h remarks) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, aside(level))
}

func (h remarks) Handle(ctx context.Context, r slog.Record) error {
	r.Level = aside(r.Level)
	return h.Handler.Handle(ctx, r)
}

func (h remarks) WithAttrs(attrs []slog.Attr) slog.Handler {
	return remarks{h.Handler.WithAttrs(attrs)}
}

func (h remarks) WithGroup(name string) slog.Handler { return remarks{h.Handler.WithGroup(name)} }

func aside(level slog.Level) slog.Level {
	if level < slog.LevelError {
		return slog.LevelDebug
	}
	return level
}
