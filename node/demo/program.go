package main

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A program is the real binary as a child process.
type program struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended, with err set
	err    error

	mu   sync.Mutex
	tail []string // its last lines
}

// start runs the binary with this environment and nothing else. It gets a process
// group of its own, so that Ctrl-C reaches the demo alone.
func start(bin string, environment []string) (*program, error) {
	p := &program{cmd: exec.Command(bin), exited: make(chan struct{})}
	p.cmd.Env = environment
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (make build makes it): %w", bin, err)
	}
	var shown sync.WaitGroup
	shown.Go(func() { p.show(r) })
	go func() {
		p.err = p.cmd.Wait()
		_ = w.Close()
		shown.Wait()
		close(p.exited)
	}()
	return p, nil
}

// stop sends SIGTERM and returns how long the program took to end. One that does
// not end in time is killed.
func (p *program) stop() (time.Duration, error) {
	began := time.Now()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // if it has ended already, exited tells
	select {
	case <-p.exited:
	case <-time.After(stopLimit):
		_ = p.cmd.Process.Kill()
		return 0, p.trouble("the program did not end within %v of SIGTERM", stopLimit)
	}
	if p.err != nil {
		return 0, p.trouble("the program ended badly: %v", p.err)
	}
	return time.Since(began), nil
}

// trouble is an error that tells what the program said last.
func (p *program) trouble(format string, args ...any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Errorf(format+"; the program's last lines:\n      %s", append(args, strings.Join(p.tail, "\n      "))...)
}

// show prints the program's lines as they come and keeps the last ones.
func (p *program) show(output io.Reader) {
	for r := bufio.NewReader(output); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		fmt.Printf("      │ %s\n", line)
		p.mu.Lock()
		p.tail = append(p.tail[max(0, len(p.tail)-14):], line)
		p.mu.Unlock()
	}
}
