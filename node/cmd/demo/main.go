// Command demo shows OTC Route Manager at work without a cluster and without an
// account: the real program runs between a fake cloud and a fake
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

	"otc-route-manager/node/cmd/internal/stage"
	"otc-route-manager/otc/otctest"
)

func main() {
	bin := flag.String("bin", "./otc-route-manager", "the program to show")
	login := flag.String("login", "password", "how the program logs in: password or id-token")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the demo at once
	if err := run(ctx, *bin, *login == "id-token", os.Getenv("ONCE") == "1"); err != nil {
		fmt.Fprintf(os.Stderr, "\n✘ %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string, byIDToken, once bool) error {
	w, err := stage.NewWorld()
	if err != nil {
		return err
	}
	defer w.Close()
	w.Cloud.AddServer(otctest.Instance{ID: otherInstanceID, Name: "worker-2", Fixed: []string{"10.20.0.12"}})
	w.Cloud.SetRoutes(otctest.TableID, foreign()...)
	if byIDToken {
		if err := w.LogInByIDToken(); err != nil {
			return err
		}
	}
	fmt.Printf("%s, the real program, runs between a fake cloud (%s)\nand a fake Kubernetes API (%s).\n", bin, w.CloudURL, w.KubeURL)
	p, err := stage.Start(bin, w.Environment(), func(line string) { fmt.Printf("      │ %s\n", line) })
	if err != nil {
		return err
	}
	d := &demo{World: w, program: p, byIDToken: byIDToken}
	if err = d.tell(ctx); err == nil && !once {
		fmt.Printf("\nStill running. Look around, and end it with Ctrl-C:\n   status page  %s/\n   metrics      %[1]s/metrics\n", w.Pages)
		err = p.Stay(ctx)
	}
	if p.Ended() {
		return err
	}
	return errors.Join(err, d.end())
}

// A demo is the story and what has become of it so far.
type demo struct {
	*stage.World
	program   *stage.Program
	byIDToken bool
	steps     int
	failed    int
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
