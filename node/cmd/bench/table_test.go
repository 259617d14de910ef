package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSamples(t *testing.T) {
	var hundred samples
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	for _, tt := range []struct {
		s           samples
		share, want float64
	}{
		{hundred, 0, 1},
		{hundred, .5, 50},
		{hundred, .99, 99},
		{hundred, 1, 100},
		{samples{3, 1, 2}, .5, 2},
		{samples{7}, .99, 7},
	} {
		if got := tt.s.at(tt.share); got != tt.want {
			t.Errorf("at(%v) of %d samples: got %v, want %v", tt.share, len(tt.s), got, tt.want)
		}
	}
	if got := (samples)(nil).at(.5); !math.IsNaN(got) {
		t.Errorf("got %v of no samples, want not a number", got)
	}
}

// TestRow: a missed bar is told and makes the whole table fail, if the machine is
// not slow enough to excuse it; what has no bar never does.
func TestRow(t *testing.T) {
	nan := math.NaN()
	for _, tt := range []struct {
		row  row
		want string
		met  bool
	}{
		{row{"size", megabytes, 14e6, 28e6, 18e6, 15e6, "", false}, "| size | 14.0 MB | 18.0 MB (15.0 MB) | aim | 28.0 MB | 2 |", true},
		{row{"size", megabytes, 16e6, nan, 18e6, 15e6, "", false}, "| size | 16.0 MB | 18.0 MB (15.0 MB) | bar | – |  |", true},
		{row{"size", megabytes, 18.1e6, nan, 18e6, 15e6, "", false}, "| size | 18.1 MB | 18.0 MB (15.0 MB) | missed | – |  |", false},
		{row{"time", milliseconds, 9e-3, 29, 5e-3, .6e-3, "", true}, "| time | 9 ms | 5 ms (0.6 ms) | missed | 29 s | 3.22e+03 |", true},
		{row{"time", milliseconds, 11e-3, nan, 5e-3, .6e-3, "", true}, "| time | 11 ms | 5 ms (0.6 ms) | missed | – |  |", false},
		{row{"calls", count, 1, nan, 0, 0, "", false}, "| calls | 1 | 0 (0) | missed | – |  |", false},
		{row{"calls", count, 12, nan, nan, nan, " (more)", false}, "| calls | 12 (more) |  |  | – |  |", true},
	} {
		var out strings.Builder
		met := printTable(&out, []row{tt.row}, 2)
		if met != tt.met || !strings.Contains(out.String(), "\n"+tt.want+"\n") {
			t.Errorf("got %v and %s, want %v and %s", met, out.String(), tt.met, tt.want)
		}
	}
}

// TestReadmeTable: node/SCALE.md shows the rows and bars that are printed.
func TestReadmeTable(t *testing.T) {
	data, err := os.ReadFile("../../SCALE.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if cells := strings.Split(line, " | "); len(cells) > 2 {
			shown[strings.TrimPrefix(cells[0], "| ")] = strings.TrimSpace(cells[2])
		}
	}
	for _, r := range rows(&figures{react: make(samples, 200)}, nil, micro{1, 1}) {
		if bar, ok := shown[r.name]; !ok || bar != r.limits() {
			t.Errorf("node/SCALE.md shows the bar %q for %q (%v), want %q", bar, r.name, ok, r.limits())
		}
	}
}

func TestReadMicro(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bench.txt")
	content := "goos: linux\nBenchmarkParse-2 10 99 ns/op 1 B/op 1 allocs/op\n" +
		"BenchmarkNodeEvent-2 10 800 ns/op 520 B/op 5 allocs/op\nBenchmarkNodeEvent-2 10 900 ns/op 520 B/op 5 allocs/op\n" +
		"BenchmarkNodeEvent-2 10 1000 ns/op 520 B/op 6 allocs/op\nPASS\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readMicro(file); err != nil || got != (micro{900e-9, 5}) {
		t.Errorf("got %v, %v, want the medians 900 ns and 5", got, err)
	}
	if err := os.WriteFile(file, []byte("PASS\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readMicro(file); err == nil {
		t.Errorf("got %v of a file without results, want an error", got)
	}
}
