// Command demo shows OTC Route Manager at work without a cluster and without an
// account: the real program runs between a pretend cloud and a pretend
// Kubernetes API, and each thing it should do is done to it and checked.
//
// With ONCE=1 in the environment it ends after the last check, with status 1 if
// one failed; otherwise everything keeps running until Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	patience  = 30 * time.Second // for anything that should come at once
	stopLimit = 10 * time.Second // for the program to end when asked to
)

func main() {
	bin := flag.String("bin", "./otc-route-manager", "the program to show")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the demo at once
	if err := run(ctx, *bin, os.Getenv("ONCE") == "1"); err != nil {
		fmt.Fprintf(os.Stderr, "\n✘ %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string, once bool) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(w.dir) }()
	fmt.Printf("%s, the real program, runs between a pretend cloud (%s)\nand a pretend Kubernetes API (%s).\n", bin, w.cloudURL, w.kubeURL)
	p, err := start(bin, w.environment())
	if err != nil {
		return err
	}
	d := &demo{world: w, program: p}
	if err = d.tell(ctx); err == nil && !once {
		fmt.Printf("\nStill running. Look around, and end it with Ctrl-C:\n   status page  %s/\n   metrics      %[1]s/metrics\n", w.pages)
		err = d.stay(ctx)
	}
	select {
	case <-p.exited:
		return err
	default:
		return errors.Join(err, d.end())
	}
}

// A demo is the story and what has become of it so far.
type demo struct {
	*world
	program *program
	steps   int
	failed  int
}

// step announces the next part of the story.
func (d *demo) step(title, text string) {
	d.steps++
	fmt.Printf("\n%d. %s\n   %s\n", d.steps, title, text)
}

// check prints whether something is as it should be, and remembers if not.
func (d *demo) check(ok bool, format string, args ...any) {
	mark := "✔"
	if !ok {
		mark = "✘"
		d.failed++
	}
	fmt.Printf("   "+mark+" "+format+"\n", args...)
}

// until returns when cond holds. It gives up, with the program's last words,
// when that takes too long or the program has ended.
func (d *demo) until(ctx context.Context, what string, cond func() bool) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	slow, late := time.After(2*time.Second), time.After(patience)
	for !cond() {
		select {
		case <-again.C:
		case <-slow:
			fmt.Printf("   … waiting for %s\n", what)
		case <-late:
			return d.program.trouble("waited %v in vain for %s", patience, what)
		case <-d.program.exited:
			return d.program.trouble("the program ended (%v) while we waited for %s", d.program.err, what)
		case <-ctx.Done():
			return errors.New("interrupted")
		}
	}
	return nil
}

// stay leaves everything running until Ctrl-C.
func (d *demo) stay(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-d.program.exited:
		return d.program.trouble("the program ended by itself: %v", d.program.err)
	}
}
