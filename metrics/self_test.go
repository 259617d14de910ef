package metrics

import (
	"net/netip"
	"testing"
)

func TestAddress(t *testing.T) {
	for subnet, want := range map[string]string{"127.0.0.0/8": "127.0.0.1:8080", "203.0.113.0/24": "invalid AddrPort"} {
		if got := Address([]netip.Prefix{netip.MustParsePrefix(subnet)}, 8080); got.String() != want {
			t.Errorf("%s: got %v, want %s", subnet, got, want)
		}
	}
}
