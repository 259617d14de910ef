// Package logging gives log lines the form that an operator reads.
package logging

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"unicode"
)

// LevelSuccess is the level of lines that say that routes are right.
const LevelSuccess = slog.LevelInfo + 1

// A handler writes log lines that begin with a mark a person can find: the
// message, with "✅ Success: ", "ℹ️ Info: ", "⚠️ Warning: " or "❌ Error: " before it.
type handler struct {
	slog.Handler
	text *textWriter // nil for JSON
}

// textWriter joins a message, as it is, and the attributes that slog's own text
// handler makes of the rest. That handler alone would quote the marks away.
type textWriter struct {
	mu    sync.Mutex
	out   io.Writer
	attrs strings.Builder
}

// newHandler returns a handler that writes to w, in the format "text" or "json".
func newHandler(w io.Writer, format string, level slog.Level) slog.Handler {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return handler{Handler: slog.NewJSONHandler(w, opts)}
	}
	t := &textWriter{out: w}
	opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}
	return handler{Handler: slog.NewTextHandler(&t.attrs, opts), text: t}
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	r.Message = mark(r.Level) + strings.Map(visible, r.Message)
	if r.Level == LevelSuccess {
		r.Level = slog.LevelInfo
	}
	if h.text == nil {
		return h.Handler.Handle(ctx, r)
	}
	h.text.mu.Lock()
	defer h.text.mu.Unlock()
	h.text.attrs.Reset()
	if err := h.Handler.Handle(ctx, r); err != nil {
		return err
	}
	_, err := io.WriteString(h.text.out, r.Message+" "+h.text.attrs.String())
	return err
}

// visible keeps a message on one line and from commanding a terminal: names of
// servers and answers of proxies are a part of it.
func visible(r rune) rune {
	switch {
	case r == '\n' || r == '\r' || r == '\t':
		return ' '
	case !unicode.IsGraphic(r): // control characters, bidirectional marks
		return unicode.ReplacementChar
	}
	return r
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.text}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.text}
}

func mark(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "❌ Error: "
	case level >= slog.LevelWarn:
		return "⚠️ Warning: "
	case level == LevelSuccess:
		return "✅ Success: "
	case level >= slog.LevelInfo:
		return "ℹ️ Info: "
	}
	return "Debug: "
}

// Demoted is a handler for what client-go logs. Short of an error that is for
// debugging: package node logs what an operator should know of the watch.
func Demoted(h slog.Handler) slog.Handler { return demoted{h} }

type demoted struct{ slog.Handler }

func (h demoted) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, demote(level))
}

func (h demoted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = demote(r.Level)
	return h.Handler.Handle(ctx, r)
}

func (h demoted) WithAttrs(attrs []slog.Attr) slog.Handler {
	return demoted{h.Handler.WithAttrs(attrs)}
}

func (h demoted) WithGroup(name string) slog.Handler { return demoted{h.Handler.WithGroup(name)} }

func demote(level slog.Level) slog.Level {
	if level < slog.LevelError {
		return slog.LevelDebug
	}
	return level
}
