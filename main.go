// Command otc-route-manager keeps the pod subnets of the Node it runs on in the
// route tables of an Open Telekom Cloud VPC.
//
// This file only wires: settings to the packages, the packages to each other, and
// everything to the process's life.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"otc-route-manager/metrics"
	"otc-route-manager/metrics/status"
	"otc-route-manager/node"
	"otc-route-manager/node/config"
	"otc-route-manager/node/logging"
	"otc-route-manager/otc"
)

// Set by the linker (see the Makefile).
var (
	version = "dev"
	commit  = "unknown"
)

const (
	shutdownTimeout = 3 * time.Second
	flushTimeout    = time.Second // for the last log lines, if they are not read
)

func main() {
	config.Prepare()
	signal.Ignore(syscall.SIGPIPE) // the log goes on without its reader
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is the program: it returns when ctx ends, or earlier with an exit code
// that says why.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	opts, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		config.Help(stderr)
		return config.ExitOK
	case err != nil:
		fmt.Fprintln(stderr, "everything else is set by environment variables, see -help or README.md")
		return config.ExitConfiguration
	case opts.version:
		fmt.Fprintf(stdout, "otc-route-manager %s (commit %s, %s %s/%s)\n", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return config.ExitOK
	}
	cfg, problems := config.Read(getenv, opts.names...)
	handler, lines := logging.New(stderr, cfg.LogFormat, cfg.LogLevel)
	defer lines.Flush(flushTimeout)
	log := slog.New(handler)
	klog.SetSlogLogger(slog.New(logging.Demoted(handler)))
	switch opts.report(cfg.Warnings, problems, stdout, stderr, log); {
	case len(problems) > 0:
		return config.ExitConfiguration
	case opts.checkConfig:
		return config.ExitOK
	}
	cfg.OTC.UserAgent = "otc-route-manager/" + version
	cfg.Kube.UserAgent = cfg.OTC.UserAgent
	if opts.check {
		return check(ctx, cfg, getenv, stdout, log)
	}
	return start(ctx, cfg, log)
}

// report shows what is wrong with the settings, in the form that the flags ask for.
func (o options) report(warnings, problems []string, stdout, stderr io.Writer, log *slog.Logger) {
	switch {
	case o.checkConfig:
		list(stderr, "", warnings)
		list(stdout, "", problems)
	case o.check:
		list(stdout, "ℹ️ configuration: ", warnings)
		list(stdout, "❌ configuration: ", problems)
	default:
		logProblems(log, warnings, problems)
	}
}

// options are what the flags say.
type options struct {
	version, check, checkConfig bool
	names                       []string // of the settings to check
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("otc-route-manager", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.version, "version", false, "print version, commit and Go version, and exit")
	flags.BoolVar(&o.check, "check", false, "go through every step once, write nothing, and exit")
	flags.BoolVar(&o.checkConfig, "check-config", false, "check the settings (all, or those that are named behind it), send nothing, and exit")
	if err = flags.Parse(args); err == nil && flags.NArg() > 0 && !o.checkConfig {
		err = fmt.Errorf("unknown argument %q", flags.Arg(0))
		fmt.Fprintln(stderr, err) // as Parse does
	}
	if o.names = flags.Args(); o.checkConfig && len(o.names) == 0 {
		o.names = []string{config.Secret, config.ConfigMap}
	}
	return o, err
}

func list(w io.Writer, mark string, lines []string) {
	for _, line := range lines {
		fmt.Fprintf(w, "%s%s\n", mark, line)
	}
}

// logProblems logs what is wrong with the settings.
func logProblems(log *slog.Logger, warnings, problems []string) {
	for _, w := range warnings {
		log.Warn("configuration: " + w)
	}
	for _, p := range problems {
		log.Error("configuration: " + p)
	}
	if n := len(problems); n > 0 {
		noun := "problems"
		if n == 1 {
			noun = "problem"
		}
		log.Error(fmt.Sprintf("configuration: %d %s, nothing was sent", n, noun))
	}
}

// check goes through every step once.
func check(ctx context.Context, cfg config.Config, getenv func(string) string, stdout io.Writer, log *slog.Logger) int {
	kube, err := node.NewKube(cfg.Kube, cfg.Node.NodeName, nil)
	if err != nil {
		log.Error(err.Error())
		return config.ExitFailure
	}
	cfg.OTC.OneLogin = true
	c := node.Checker{Out: stdout, Cloud: otc.New(cfg.OTC, log), Node: kube.Get, Config: cfg.Node,
		Address: func(subnets []netip.Prefix) string {
			if a := metrics.Address(subnets, cfg.Port); a.IsValid() {
				return a.String()
			}
			return "POD_IP:" + strconv.Itoa(cfg.Port)
		}}
	if cfg.IdentityProvider != "" {
		c.LoginBy = "by ID token with identity provider " + cfg.IdentityProvider + ", "
	}
	if getenv("KUBERNETES_SERVICE_HOST") != "" { // elsewhere another program may listen there, or a port-forward
		c.LoginRefused = runningPodStatus(cfg.Port).LoginRefused
	}
	if c.Run(ctx) {
		return config.ExitOK
	}
	return config.ExitFailure
}

// runningPodStatus returns what the program that runs in the same pod answers on
// /health?status=1, within 2 s; the zero Summary if it does not.
func runningPodStatus(port int) (s status.Summary) {
	client := http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/health?status=1", port))
	if err != nil {
		return s
	}
	defer resp.Body.Close()
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&s) != nil {
		return status.Summary{}
	}
	return s
}

// start builds the parts and runs them.
func start(ctx context.Context, cfg config.Config, log *slog.Logger) int {
	m := metrics.New(metrics.Build{Version: version, Commit: commit}, cfg.Node.Tables, node.TableLimit)
	cfg.OTC.Observer = m
	events := node.NewEvents(cfg.Node.NodeName)
	rec := node.NewRecorder(log.With("node", cfg.Node.NodeName), events.Event)
	kube, err := node.NewKube(cfg.Kube, cfg.Node.NodeName, rec)
	if err == nil {
		p := program{cfg, m, kube, events, node.New(otc.New(cfg.OTC, log), kube, m, rec, cfg.Node), time.Now()}
		err = p.serve(ctx, log)
	}
	if err != nil {
		log.Error(err.Error())
		return config.ExitFailure
	}
	return config.ExitOK
}

// A program is the parts that run.
type program struct {
	cfg     config.Config
	metrics *metrics.Metrics
	kube    *node.Kube
	events  *node.Events
	rec     *node.Reconciler
	started time.Time
}

// serve listens, starts the parts and waits for the end of ctx.
func (p *program) serve(ctx context.Context, log *slog.Logger) error {
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(p.cfg.Port))
	if err != nil {
		return fmt.Errorf("METRICS_PORT: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := metrics.Server(p.metrics.Handler(p.status, p.rec.Alive), log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("otc-route-manager started", "version", version, "node", p.cfg.Node.NodeName, "metrics", listener.Addr().String(),
		"cluster_cidr", fmt.Sprint(p.cfg.Node.Ranges), "route_tables", fmt.Sprint(p.cfg.Node.Tables), "dry_run", p.cfg.Node.DryRun)

	var wg sync.WaitGroup
	wg.Go(func() { p.kube.Watch(ctx, p.rec.Observe) })
	wg.Go(func() { p.kube.WriteEvents(ctx, p.events) })
	wg.Go(func() { p.rec.Run(ctx) })
	select {
	case <-ctx.Done():
		log.Info("shutting down; routes are left in place")
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

// status adds to what the Reconciler knows what it does not: why the API server
// cannot be reached, and what this program is.
func (p *program) status() status.Status {
	s := p.rec.Status()
	if text, hint := p.kube.WatchProblem(); text != "" {
		s.Reasons = append([]status.Reason{{Text: text, Hint: hint}}, s.Reasons...)
	}
	s.Program = status.Program{Started: p.started, Address: metrics.Address(s.Subnets, p.cfg.Port), Settings: p.cfg.Shown}
	return s
}
