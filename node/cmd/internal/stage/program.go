package stage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// StopLimit is how long the program may take to end when it is asked to.
const StopLimit = 10 * time.Second

// A Program is the real binary as a child process.
type Program struct {
	cmd    *exec.Cmd
	show   func(line string)
	exited chan struct{} // closed when it has ended, with err set
	err    error

	mu   sync.Mutex
	tail []string // its last lines
}

// Start runs the binary with this environment and nothing else; show gets each
// line that it prints. It has a process group of its own, so that Ctrl-C reaches
// the caller alone.
func Start(bin string, environment []string, show func(line string)) (*Program, error) {
	p := &Program{cmd: exec.Command(bin), show: show, exited: make(chan struct{})}
	p.cmd.Env = environment
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (make build makes it): %w", bin, err)
	}
	var shown sync.WaitGroup
	shown.Go(func() { p.read(r) })
	go func() {
		p.err = p.cmd.Wait()
		_ = w.Close()
		shown.Wait()
		close(p.exited)
	}()
	return p, nil
}

// Stop sends SIGTERM and returns how long the program took to end. One that does
// not end in time is killed.
func (p *Program) Stop() (time.Duration, error) {
	began := time.Now()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // if it has ended already, exited tells
	select {
	case <-p.exited:
	case <-time.After(StopLimit):
		_ = p.cmd.Process.Kill()
		return 0, p.Trouble("the program did not end within %v of SIGTERM", StopLimit)
	}
	if p.err != nil {
		return 0, p.Trouble("the program ended badly: %v", p.err)
	}
	return time.Since(began), nil
}

// Ended reports whether the program has ended.
func (p *Program) Ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// Stay returns nil when ctx ends, and an error if the program ends before.
func (p *Program) Stay(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-p.exited:
		return p.Trouble("the program ended by itself: %v", p.err)
	}
}

// Until returns when cond holds. It says so if that takes a while, and gives up
// when it takes too long or the program has ended.
func (p *Program) Until(ctx context.Context, what string, cond func() bool) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	slow, late := time.After(2*time.Second), time.After(Patience)
	for !cond() {
		select {
		case <-again.C:
		case <-slow:
			fmt.Printf("   … waiting for %s\n", what)
		case <-late:
			return p.Trouble("waited %v in vain for %s", Patience, what)
		case <-p.exited:
			return p.Trouble("the program ended (%v) while we waited for %s", p.err, what)
		case <-ctx.Done():
			return errors.New("interrupted")
		}
	}
	return nil
}

// Trouble is an error that tells what the program said last.
func (p *Program) Trouble(format string, args ...any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Errorf(format+"; the program's last lines:\n      %s", append(args, strings.Join(p.tail, "\n      "))...)
}

// read shows the program's lines as they come and keeps the last ones.
func (p *Program) read(output io.Reader) {
	for r := bufio.NewReader(output); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		p.show(line)
		p.mu.Lock()
		p.tail = append(p.tail[max(0, len(p.tail)-14):], line)
		p.mu.Unlock()
	}
}
