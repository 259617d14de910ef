package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
)

// A browser is a headless Chromium with one empty page, driven through its
// DevTools protocol over a pipe.
type browser struct {
	cmd     *exec.Cmd
	dir     string // its profile
	pipe    *os.File
	session string // of the page

	mu       sync.Mutex
	id       int                  // of the last call
	waiting  map[int]chan message // by id of the call
	loaded   chan struct{}        // gets a value when the page has loaded
	requests []string             // URLs that the page has asked for
	problems []string             // what the page's console holds
	ended    error                // why there are no more messages
}

// A message is a call, its answer, or an event.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

type object = map[string]any

// launch starts the browser with an empty profile and nothing of its own to ask
// the network for.
func launch(ctx context.Context, bin string) (*browser, error) {
	dir, err := os.MkdirTemp("", "otc-route-manager-chromium-")
	if err != nil {
		return nil, err
	}
	b := &browser{dir: dir, waiting: map[int]chan message{}, loaded: make(chan struct{}, 1)}
	b.cmd = exec.CommandContext(ctx, bin, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
		"--user-data-dir="+dir, "--remote-debugging-pipe", "about:blank")
	if err := b.start(); err != nil {
		_ = os.RemoveAll(dir) // a temporary folder
		return nil, fmt.Errorf("start %s: %w", bin, err)
	}
	if err := b.attach(ctx); err != nil {
		b.close()
		return nil, fmt.Errorf("%s: %w", bin, err)
	}
	return b, nil
}

// start starts the process. It reads calls from its file 3 and writes to its file 4.
func (b *browser) start() error {
	in, pipe, err := os.Pipe()
	if err != nil {
		return err
	}
	answers, out, err := os.Pipe()
	if err != nil {
		return err
	}
	b.pipe = pipe
	b.cmd.ExtraFiles = []*os.File{in, out}
	err = b.cmd.Start()
	_, _ = in.Close(), out.Close() // the browser's now
	go b.listen(answers)
	return err
}

// attach opens the page and asks to be told what happens in it.
func (b *browser) attach(ctx context.Context) error {
	var target struct{ TargetID string }
	if err := b.call(ctx, "Target.createTarget", object{"url": "about:blank"}, &target); err != nil {
		return err
	}
	var attached struct{ SessionID string }
	if err := b.call(ctx, "Target.attachToTarget", object{"targetId": target.TargetID, "flatten": true}, &attached); err != nil {
		return err
	}
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Network", "Log", "Runtime"} {
		if err := b.call(ctx, domain+".enable", nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// close ends the browser and removes its profile.
func (b *browser) close() {
	_ = b.pipe.Close()
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	_ = os.RemoveAll(b.dir) // a temporary folder
}

// call makes one call and decodes its result, unless that is nil.
func (b *browser) call(ctx context.Context, method string, params, result any) error {
	answer := make(chan message, 1)
	b.mu.Lock()
	b.id++
	id, ended := b.id, b.ended
	b.waiting[id] = answer
	b.mu.Unlock()
	if ended != nil {
		return ended
	}
	text, err := json.Marshal(message{ID: id, Session: b.session, Method: method, Params: params})
	if err != nil {
		return err
	}
	if _, err := b.pipe.Write(append(text, 0)); err != nil {
		return err
	}
	select {
	case m, ok := <-answer:
		switch {
		case !ok:
			return fmt.Errorf("%s: the browser has ended", method)
		case m.Error != nil:
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(m.Result, result)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

// listen takes the browser's messages until there are no more.
func (b *browser) listen(r io.ReadCloser) {
	defer func() { _ = r.Close() }()
	for in := bufio.NewReader(r); ; {
		text, err := in.ReadBytes(0)
		if err != nil {
			b.end()
			return
		}
		var params struct {
			Request struct{ URL string }
			Entry   struct{ Text string }
		}
		m := message{Params: &params}
		if json.Unmarshal(text[:len(text)-1], &m) == nil {
			b.take(m, params.Request.URL, params.Entry.Text)
		}
	}
}

func (b *browser) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = errors.New("the browser has ended")
	for _, answer := range b.waiting {
		close(answer)
	}
	clear(b.waiting)
}

func (b *browser) take(m message, url, entry string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch m.Method {
	case "":
		if answer := b.waiting[m.ID]; answer != nil {
			delete(b.waiting, m.ID)
			answer <- m
		}
	case "Network.requestWillBeSent":
		b.requests = append(b.requests, url)
	case "Log.entryAdded":
		b.problems = append(b.problems, entry)
	case "Runtime.exceptionThrown", "Runtime.consoleAPICalled":
		b.problems = append(b.problems, m.Method+": a script ran")
	case "Page.loadEventFired":
		select {
		case b.loaded <- struct{}{}:
		default:
		}
	}
}

// open loads a page and returns what it asked for and complained about.
func (b *browser) open(ctx context.Context, url string) (requests, problems []string, err error) {
	b.mu.Lock()
	b.requests, b.problems = nil, nil
	b.mu.Unlock()
	select {
	case <-b.loaded: // of the page before
	default:
	}
	if err := b.call(ctx, "Page.navigate", object{"url": url}, nil); err != nil {
		return nil, nil, err
	}
	select {
	case <-b.loaded:
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("load %s: %w", url, ctx.Err())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests), slices.Clone(b.problems), nil
}

// eval returns the value of an expression in the page.
func (b *browser) eval(ctx context.Context, expression string, value any) error {
	var result struct {
		Result struct{ Value json.RawMessage }
	}
	err := b.call(ctx, "Runtime.evaluate", object{"expression": expression, "returnByValue": true}, &result)
	if err != nil {
		return err
	}
	return json.Unmarshal(result.Result.Value, value)
}

// view sets the size of the page in CSS pixels, and the reader's colour scheme.
func (b *browser) view(ctx context.Context, width, height int, scheme string) error {
	size := object{"width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 500}
	if err := b.call(ctx, "Emulation.setDeviceMetricsOverride", size, nil); err != nil {
		return err
	}
	return b.call(ctx, "Emulation.setEmulatedMedia", object{"features": []object{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// shoot writes a picture of the whole page.
func (b *browser) shoot(ctx context.Context, path string) error {
	var shot struct{ Data string }
	if err := b.call(ctx, "Page.captureScreenshot", object{"captureBeyondViewport": true}, &shot); err != nil {
		return err
	}
	picture, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		return err
	}
	return os.WriteFile(path, picture, 0o644)
}
