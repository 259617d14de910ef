package otc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// BenchmarkDecodeTable decodes a route table that is full: 200 routes, 60 kB.
func BenchmarkDecodeTable(b *testing.B) {
	var routes []map[string]string
	for i := range 200 {
		routes = append(routes, map[string]string{
			"type": TypeECS, "destination": fmt.Sprintf("10.%d.%d.0/23", 128+i>>7, i<<1&0xff),
			"nexthop": fmt.Sprintf("a4c7e915-2b6d-4f80-93ae-%012x", i), "description": fmt.Sprintf("otc-route-manager: worker-%d", i)})
	}
	body, err := json.Marshal(map[string]any{"routetable": map[string]any{"id": "8e1b5a3c-4f72-4d90-9c6e-b2a7d0f3e518", "name": "rtb", "routes": routes}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var table RouteTable
		if err := decodeStream(bytes.NewReader(body), table.decode); err != nil || len(table.Routes) != len(routes) {
			b.Fatalf("got %d routes, %v, want %d", len(table.Routes), err, len(routes))
		}
	}
}

// BenchmarkEncodePUT encodes the usual change: a subnet has moved.
func BenchmarkEncodePUT(b *testing.B) {
	moved := Route{TypeECS, netip.MustParsePrefix("10.129.6.0/23"), "a4c7e915-2b6d-4f80-93ae-5d1c8b7f0e26", "otc-route-manager: worker-1", ""}
	left := Route{TypeECS, netip.MustParsePrefix("10.128.4.0/23"), moved.NextHop, moved.Description, "10.128.4.0/23"}
	ch := slices.Concat(Ops(Add, moved), Ops(Delete, left))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(ch); err != nil {
			b.Fatal(err)
		}
	}
}
