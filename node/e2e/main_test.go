package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"otc-route-manager/node/e2e/controlplane"
)

// What TestMain makes for all tests; nothing changes it after.
var (
	programs controlplane.Programs // of the control plane
	binary   string                // the program under test
	scratch  string                // a folder for each test lies in here
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

// run builds what the tests need. Each test starts and stops its own control plane; the kernel
// ends what a killed test has left.
func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "otc-route-manager-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer remove()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		killChildren()
		remove()
		os.Exit(130)
	}()
	if err := build(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

// killChildren ends what the tests have started, by pid, so that nothing writes to their folders
// any more.
func killChildren() {
	threads, _ := filepath.Glob("/proc/self/task/*/children") // the pattern is right
	for _, thread := range threads {
		pids, _ := os.ReadFile(thread) // a thread may have ended
		for _, field := range strings.Fields(string(pids)) {
			if pid, err := strconv.Atoi(field); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
			}
		}
	}
}

// remove removes the tests' folders, unless E2E_KEEP is set.
func remove() {
	if os.Getenv("E2E_KEEP") == "" {
		_ = os.RemoveAll(scratch) // a temporary folder
	} else {
		fmt.Fprintln(os.Stderr, "e2e: kept", scratch)
	}
}

// build makes the control plane and the program under test.
func build(ctx context.Context) (err error) {
	if programs, err = controlplane.Build(ctx, "components", os.Stderr); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "e2e: building the program under test")
	binary = filepath.Join(scratch, "otc-route-manager")
	cmd := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join("..", ".."), "-trimpath", "-ldflags", "-s -w -X main.version=e2e", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return nil
}
