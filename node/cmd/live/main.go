// Command live asks a real account the questions of otc/otctest/live, with the settings
// of the program. With DRY_RUN=true it sends nothing and lists every call.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"otc-route-manager/node/config"
	"otc-route-manager/otc/otctest/live"
)

func main() {
	config.Prepare()
	// Whatever ends it, a pipe that closes included, ends in a clean-up.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err := run(ctx, os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "\n❌ %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, getenv func(string) string, out, log io.Writer) error {
	var names []string
	for _, s := range config.Settings() {
		if strings.HasPrefix(s.Name, "OS_") || strings.HasPrefix(s.Name, "OTC_") || strings.HasSuffix(s.Name, "_PROXY") || s.Name == "DRY_RUN" {
			names = append(names, s.Name)
		}
	}
	settings, problems := config.Read(getenv, names...)
	c := live.Config{OTC: settings.OTC, DryRun: settings.Node.DryRun, Out: out, Log: log}
	if problems = append(problems, c.Read(getenv)...); problems != nil {
		return fmt.Errorf("%s\nNothing was sent", strings.Join(problems, "\n❌ "))
	}
	if c.DryRun {
		c.Simulator(settings.IdentityProvider)
		fmt.Fprintf(out, dry, c.Table, c.Instance, getenv("LIVE_CIDR"))
	}
	rec, err := live.Run(ctx, c)
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	if err != nil || rec == nil {
		return err
	}
	file := filepath.Join("otc/otctest/answers", rec.Name())
	if err := os.WriteFile(file, rec.Encode(), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(log, "Recorded, with all ids, names and addresses replaced: %s. Please read it, and contribute it (.github/CONTRIBUTING.md).\n", file)
	return nil
}

const dry = `DRY_RUN: nothing is sent. These are the calls that make live would make, two a second, 120 at most.

  LIVE_ROUTE_TABLE  %s  the only thing that is written
  LIVE_INSTANCE     %s  is read, and is the next hop of routes; nothing happens to it
  LIVE_CIDR         %s  every route is inside it
  NO_SUCH_ID        an id that nothing has

It goes on from the reads before the first write only if the table is not the default table
of its VPC, no subnet uses it, it holds local routes only, and LIVE_CIDR overlaps no subnet
of the VPC, no route of its tables and no address of the instance. What it wrote is deleted
after each question, and at the end, after an error and after Ctrl-C, too.

The list is what a simulator was asked. Where the cloud answers otherwise, some calls are
left out, and deletes are split. … is the URL of VPC or ECS with the project.
`
