package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// An Outcome is what a command that was run to its end left behind.
type Outcome struct {
	Stdout, Stderr string
	Code           int // -1: it was killed or did not start
}

// Env returns an environment for programs that talk to the control plane with all rights: the
// caller's, with kubectl in the path and without what could lead elsewhere (its own Kubernetes
// and OpenStack settings, and those of a make that runs us).
func (c *ControlPlane) Env(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return slices.ContainsFunc([]string{"KUBE", "OS_", "OTC_", "MAKE", "MFLAGS"}, func(p string) bool { return strings.HasPrefix(v, p) })
	})
	env = append(env,
		"PATH="+string(c.cfg.Programs)+":"+os.Getenv("PATH"),
		"KUBECONFIG="+c.Kubeconfig(),
		"KUBECACHEDIR="+c.file("kubectl-cache"),
		"KUBERC=off")
	return append(env, more...)
}

// Kubectl runs kubectl with all rights. stdin may be empty.
func (c *ControlPlane) Kubectl(ctx context.Context, stdin string, args ...string) Outcome {
	return Run(ctx, c.Env(), stdin, c.cfg.Programs.Path("kubectl"), args...)
}

// Run runs a command to its end. When ctx ends first, the command is killed with all that it has
// started.
func Run(ctx context.Context, env []string, stdin, name string, args ...string) Outcome {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, strings.NewReader(stdin), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	out := Outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		out.Stderr += fmt.Sprint(err)
	}
	return out
}
