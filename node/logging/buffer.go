package logging

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

// bufferSize bounds what waits for the reader of the log: about 1,000 lines.
const bufferSize = 256 << 10

// A buffer is a writer of log lines that never waits for their reader. While
// they are not read, it keeps [bufferSize] bytes and counts the lines that it drops; a
// line says how many, where they are missing, once the reader is back.
type buffer struct {
	out    io.Writer
	notice func(dropped int) []byte // the line that says so

	mu       sync.Mutex // never held while out is written to
	lines    []line     // oldest first
	size     int        // of these, in bytes
	dropped  int        // lines since the last one that was kept
	rejected bool       // out took the last line with an error
	drained  chan struct{}
}

// A line is what one Write brought, or a notice.
type line struct {
	text  []byte
	count int // of the lines that are lost with it
}

// New returns a handler that logs as [newHandler]'s does, and the buffer between it
// and out.
func New(out io.Writer, format string, level slog.Level) (slog.Handler, *buffer) {
	notice := func(dropped int) []byte {
		var text bytes.Buffer
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were dropped, because nothing read them", 0)
		r.Add("lines", dropped)
		_ = newHandler(&text, format, level).Handle(context.Background(), r) // into memory
		return text.Bytes()
	}
	b := &buffer{out: out, notice: notice}
	return newHandler(b, format, level), b
}

// Write takes one line, or drops it. It does not fail.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit := bufferSize
	if b.dropped > 0 {
		limit /= 2 // or a slow reader would get a notice for every line
	}
	if b.size+len(p) > limit {
		b.dropped++
		return len(p), nil
	}
	b.noticeDropped()
	b.add(line{bytes.Clone(p), 1})
	if b.drained == nil {
		b.drained = make(chan struct{})
		go b.drain()
	}
	return len(p), nil
}

// Flush waits until every line is written, timeout at most.
func (b *buffer) Flush(timeout time.Duration) {
	b.mu.Lock()
	drained := b.drained
	b.mu.Unlock()
	if drained == nil {
		return
	}
	select {
	case <-drained:
	case <-time.After(timeout):
	}
}

// drain writes lines until there are none. What out does not take is dropped.
func (b *buffer) drain() {
	for {
		l, ok := b.next()
		if !ok {
			return
		}
		_, err := b.out.Write(l.text)
		b.mu.Lock()
		if b.rejected = err != nil; b.rejected {
			b.dropped += l.count
		}
		b.mu.Unlock()
	}
}

// next takes the oldest line. Without one it ends the draining.
func (b *buffer) next() (line, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines) == 0 && !b.rejected {
		b.noticeDropped()
	}
	if len(b.lines) == 0 {
		close(b.drained)
		b.drained, b.lines = nil, nil
		return line{}, false
	}
	l := b.lines[0]
	b.lines = b.lines[1:]
	b.size -= len(l.text)
	return l, true
}

// noticeDropped adds a line about those that are missing before the next one. The
// caller holds b.mu.
func (b *buffer) noticeDropped() {
	if b.dropped > 0 {
		b.add(line{b.notice(b.dropped), b.dropped})
		b.dropped = 0
	}
}

func (b *buffer) add(l line) {
	b.lines = append(b.lines, l)
	b.size += len(l.text)
}
