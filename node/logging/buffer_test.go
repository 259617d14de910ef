package logging

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A reader is a writer whose other side may stop reading, or be gone.
type reader struct {
	stopped chan struct{} // nil: it reads
	gone    bool
	got     bytes.Buffer
}

func (r *reader) Write(p []byte) (int, error) {
	if r.stopped != nil {
		<-r.stopped
	}
	if r.gone {
		return 0, errors.New("broken pipe")
	}
	return r.got.Write(p)
}

// TestBuffer: whatever the reader does, a log call returns at once, lines come in
// their order, and it is said how many are missing where.
func TestBuffer(t *testing.T) {
	const many = 5000 // lines of 100 bytes and more: twice what is kept
	for name, tt := range map[string]struct {
		stop, back func(*reader)
	}{
		"stops": {func(r *reader) { r.stopped = make(chan struct{}) }, func(r *reader) { close(r.stopped) }},
		"gone":  {func(r *reader) { r.gone = true }, func(r *reader) { r.gone = false }},
	} {
		for _, format := range []string{"text", "json"} {
			t.Run(name+" "+format, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var r reader
					h, b := New(&r, format, slog.LevelError)
					log := slog.New(h)
					start := time.Now()
					log.Error("before")
					synctest.Wait()
					tt.stop(&r)
					for i := range many {
						log.Error(fmt.Sprintf("line %04d %s", i, strings.Repeat("x", 50)))
					}
					b.mu.Lock()
					if size := b.size; size > bufferSize {
						t.Errorf("%d bytes are kept", size)
					}
					b.mu.Unlock()
					if name == "stops" {
						b.Flush(time.Second)
						if took := time.Since(start); took != time.Second {
							t.Errorf("flushed within %v, want 1s: nobody reads", took)
						}
					}
					synctest.Wait()
					tt.back(&r)
					synctest.Wait()
					log.Error("after")
					b.Flush(time.Second)
					complete(t, r.got.String(), many)
				})
			})
		}
	}
}

// complete fails the test unless a log holds "before", a part of the many lines, how
// many are missing and "after", in this order.
func complete(t *testing.T, log string, many int) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(log), "\n")
	kept, dropped, next := 0, 0, 0
	for _, l := range lines {
		var n int
		switch _, rest, _ := strings.Cut(l, "line "); {
		case strings.Contains(l, "⚠️ Warning: log lines were dropped, because nothing read them"):
			_, rest, _ = strings.Cut(strings.ReplaceAll(l, `"lines":`, "lines="), "lines=")
			_, _ = fmt.Sscanf(rest, "%d", &n)
			dropped, next = dropped+n, next+n
		case rest != "":
			_, _ = fmt.Sscanf(rest, "%d", &n)
			if kept++; n != next {
				t.Errorf("line %d after %d", n, next)
			}
			next = n + 1
		}
	}
	if kept+dropped != many || dropped == 0 {
		t.Errorf("%d lines and %d said to be dropped, of %d", kept, dropped, many)
	}
	if !strings.Contains(lines[0], "before") || !strings.Contains(lines[len(lines)-1], "after") {
		t.Errorf("begins with %q, ends with %q", lines[0], lines[len(lines)-1])
	}
}

// TestFlush: nothing to wait for, and what is just being written.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reader
		h, b := New(&r, "text", slog.LevelInfo)
		start := time.Now()
		b.Flush(time.Second)
		slog.New(h).Info("last words")
		b.Flush(time.Second)
		if time.Since(start) > 0 || !strings.HasPrefix(r.got.String(), "ℹ️ Info: last words ") {
			t.Errorf("after %v: %q", time.Since(start), r.got.String())
		}
	})
}
