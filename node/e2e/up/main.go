// Command up starts the control plane of the end-to-end tests and keeps it running, to try
// things by hand:
//
//	go run ./up            # in node/e2e; prints KUBECONFIG=… and the folder with kubectl
//	go run ./up -bare      # without controllers, scheduler and fake kubelets
//
// Ctrl-C ends it and removes its folder.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"otc-route-manager/node/e2e/controlplane"
)

func main() {
	bare := flag.Bool("bare", false, "only etcd and kube-apiserver")
	dir := flag.String("dir", "", "keep keys, data and logs in this folder (default: a new one, removed at the end)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir, !*bare); err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, full bool) error {
	programs, err := controlplane.Build(ctx, "components", os.Stderr)
	if err != nil {
		return err
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "otc-route-manager-e2e-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	cp, err := controlplane.Start(ctx, controlplane.Config{Programs: programs, Dir: dir, Controllers: full, Kubelets: full})
	if err != nil {
		return err
	}
	defer cp.Stop()
	fmt.Printf("export KUBECONFIG=%s\nexport PATH=%s:$PATH\n", cp.Kubeconfig(), programs)
	<-ctx.Done()
	return nil
}
