package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/klog/v2"
)

func TestLogLines(t *testing.T) {
	var text, asJSON bytes.Buffer
	for w, format := range map[io.Writer]string{&text: "text", &asJSON: "json"} {
		log := slog.New(newHandler(w, format, slog.LevelInfo)).With("node", "worker-1")
		log.Log(t.Context(), LevelSuccess, "route confirmed", "table", "t 1")
		log.Info("two\r\nlines, \x1b[31mred, \u202eright to left")
		log.Warn("careful")
		log.WithGroup("g").Error("broken", "level", 1)
		log.Debug("unseen")
	}
	var lines []string
	for line := range strings.Lines(text.String()) {
		message, rest, _ := strings.Cut(line, " time=")
		_, attrs, _ := strings.Cut(rest, " ")
		lines = append(lines, message+"|"+attrs)
	}
	want := []string{
		"✅ Success: route confirmed|node=worker-1 table=\"t 1\"\n", "ℹ️ Info: two  lines, \ufffd[31mred, \ufffdright to left|node=worker-1\n",
		"⚠️ Warning: careful|node=worker-1\n", "❌ Error: broken|node=worker-1 g.level=1\n",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
	if strings.ContainsAny(asJSON.String(), "\x1b\u202e") {
		t.Errorf("JSON with raw control characters: %q", &asJSON)
	}
	var first struct{ Level, Msg, Node string }
	if err := json.Unmarshal(bytes.SplitN(asJSON.Bytes(), []byte("\n"), 2)[0], &first); err != nil || first.Level != "INFO" || first.Msg != "✅ Success: route confirmed" || first.Node != "worker-1" {
		t.Errorf("JSON: got %+v, %v", first, err)
	}
}

// TestLinesAreWhole: of many goroutines that log at once.
func TestLinesAreWhole(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newHandler(&out, "text", slog.LevelInfo))
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for range 20 {
				log.Info(fmt.Sprintf("line %d", i), "of", i)
			}
		})
	}
	wg.Wait()
	whole := regexp.MustCompile(`^ℹ️ Info: line \d+ time=\S+ of=\d+\n?$`)
	lines := strings.SplitAfter(strings.TrimSuffix(out.String(), "\n"), "\n")
	for _, l := range lines {
		if !whole.MatchString(l) {
			t.Errorf("got %q", l)
		}
	}
	if len(lines) != 50*20 {
		t.Errorf("%d lines, want %d", len(lines), 50*20)
	}
}

// TestClientGoIsDemoted: its errors look like ours, the rest is for debugging.
func TestClientGoIsDemoted(t *testing.T) {
	var out bytes.Buffer
	klog.SetSlogLogger(slog.New(Demoted(newHandler(&out, "text", slog.LevelInfo))))
	t.Cleanup(klog.ClearLogger)
	klog.InfoS("watch ended", "after", 1)
	klog.Warning("careful")
	klog.Background().WithName("reflector").Error(errors.New("no"), "broken")
	if got := out.String(); !strings.HasPrefix(got, "❌ Error: broken time=") || !strings.HasSuffix(got, " logger=reflector err=no\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q", got)
	}
}
