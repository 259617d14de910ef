package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// nodeEvent is the Go benchmark that has a bar.
const nodeEvent = "BenchmarkNodeEvent"

// micro is what Go's own benchmarks say about one Node event; zero: nothing.
type micro struct{ time, allocations float64 }

// readMicro takes the medians from the output of go test -bench. An empty name
// is no file.
func readMicro(file string) (micro, error) {
	if file == "" {
		return micro{}, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return micro{}, err
	}
	var times, allocations samples
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], nodeEvent) {
			continue
		}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return micro{}, fmt.Errorf("%s: %q: %w", file, line, err)
			}
			switch f[i+1] {
			case "ns/op":
				times = append(times, v/1e9)
			case "allocs/op":
				allocations = append(allocations, v)
			}
		}
	}
	if len(times) == 0 || len(allocations) == 0 {
		return micro{}, errors.New(file + " holds no result of " + nodeEvent)
	}
	return micro{times.at(.5), allocations.at(.5)}, nil
}
