package live

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// A scrubber replaces ids, addresses, names and secrets, the same by the same. It knows
// which members may keep their text: that of all others is left out.
type scrubber struct {
	ranges []netip.Prefix

	// Replacements. What they replace is in small letters.
	ids, addresses map[string]string
	names          map[string]string // and secrets
}

const shortest = 4 // characters of a name that is looked for inside other texts

var (
	idShape      = regexp.MustCompile(`(?i)\b([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,})\b`)
	addressShape = regexp.MustCompile(`(?i)\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b|\b\d{1,3}(\.\d{1,3}){3}\b|([0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}`)
)

// How replacements begin. No account has such ids or addresses (RFC 1112, RFC 3849).
const (
	fakeUUID, fakeHex = "00000000-0000-4000-8000-", "0000000000000000"
	fakeV4, fakeV6    = "240.", "2001:db8:"
)

// kept are members whose text stays, apart from ids, addresses and names in it.
func kept() []string {
	return []string{"code", "error_code", "message", "error_msg", "title", "type", "interface", "region", "region_id", "url", "status", "methods",
		"issued_at", "expires_at", "created_at", "updated_at", "destination", "nexthop", "version", "OS-EXT-IPS:type", "OS-EXT-STS:task_state"}
}

// public are the system's addresses, and words that may also be names.
func public() []string {
	return []string{"0.0.0.0", "::", "1.1.1.1", "127.0.0.0", "100.64.0.0", "198.19.128.0", "local", "active", "fixed", "eu-de", "eu-nl", "eu-ch2"}
}

func newScrubber(r *run) *scrubber {
	s := &scrubber{r.Ranges, map[string]string{}, map[string]string{}, map[string]string{}}
	c := r.credentials
	for _, private := range []string{r.token, c.Secret.Reveal(), c.User, c.Account, c.ProjectName, c.ProjectID, c.IdentityProvider} {
		s.name(private)
	}
	for _, raw := range []string{r.OTC.AuthURL, r.base["vpc"], r.base["ecs"]} {
		if u, err := url.Parse(raw); err == nil && !strings.HasSuffix(u.Hostname(), ".otc.t-systems.com") {
			s.name(u.Hostname())
		}
	}
	return s
}

func (s *scrubber) json(body []byte) json.RawMessage {
	var v any
	_ = json.Unmarshal(body, &v) // the run would have ended
	b, _ := json.Marshal(s.value("", v))
	return b
}

func (s *scrubber) value(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v["endpoints"] != nil {
			delete(v, "name") // of a service, which is no name of this account
		}
		out := map[string]any{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			out[s.shaped(k)] = s.value(k, v[k])
		}
		return out
	case []any:
		for i := range v {
			v[i] = s.value(key, v[i])
		}
		if key == "routes" || key == "add" || key == "del" {
			v = v[:min(len(v), 8)]
		}
		return v
	case string:
		_, err := netip.ParseAddr(v)
		switch {
		case v == "" || err == nil || idShape.FindString(v) == v || slices.Contains(kept(), key) || strings.HasPrefix(v, mark):
			return s.text(v)
		case key == "name" || key == "description":
			return s.name(v)
		}
		return "text"
	}
	return v
}

// name replaces a text as a whole.
func (s *scrubber) name(v string) string {
	if v == "" || slices.Contains(public(), strings.ToLower(v)) {
		return v
	}
	return replacement(s.names, v, "name-%d")
}

// replacement returns that of a text, a new one if it has none yet.
func replacement(known map[string]string, private, form string) string {
	private = strings.ToLower(private)
	if known[private] == "" {
		known[private] = fmt.Sprintf(form, len(known)+1)
	}
	return known[private]
}

// text replaces what is private inside a text.
func (s *scrubber) text(v string) string {
	v = s.shaped(v)
	longestFirst := func(a, b string) int { return len(b) - len(a) }
	for _, name := range slices.SortedFunc(maps.Keys(s.names), longestFirst) {
		if len(name) >= shortest && strings.Contains(strings.ToLower(v), name) {
			v = regexp.MustCompile("(?i)"+regexp.QuoteMeta(name)).ReplaceAllLiteralString(v, s.names[name])
		}
	}
	return v
}

// shaped replaces what looks like an id or an address.
func (s *scrubber) shaped(v string) string {
	v = idShape.ReplaceAllStringFunc(v, func(id string) string {
		switch {
		case id == noServer:
			return id
		case strings.Contains(id, "-"):
			return replacement(s.ids, id, fakeUUID+"%012d")
		}
		return replacement(s.ids, id, fakeHex+"%016d")
	})
	return addressShape.ReplaceAllStringFunc(v, s.address)
}

// address replaces an address. One of LIVE_CIDR keeps the bits behind its length, and
// its spelling: they are answers.
func (s *scrubber) address(text string) string {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil && len(text) == 17: // a MAC address
		return "00:00:00:00:00:00"
	case err != nil && strings.HasSuffix(text, ":") && strings.Count(text, ":") > 2: // the end of a clause
		return s.address(strings.TrimSuffix(text, ":")) + ":"
	case err != nil || slices.Contains(public(), text): // a time of day, say
		return text
	}
	form, number, bits := fakeV4+"%s.0.0", replacement(s.addresses, addr.String(), "%d"), addr.BitLen()
	if i := slices.IndexFunc(s.ranges, func(p netip.Prefix) bool { return p.Contains(addr) }); i >= 0 {
		number, bits = "0", s.ranges[i].Bits()
	}
	if addr.Is6() {
		form = fakeV6 + "%s::"
	}
	begin, err := netip.ParseAddr(fmt.Sprintf(form, number))
	if err != nil { // more than 255 addresses
		return text
	}
	b, from := begin.AsSlice(), addr.AsSlice()
	for i := bits; i < addr.BitLen(); i++ {
		b[i/8] |= from[i/8] & (0x80 >> (i % 8))
	}
	other, _ := netip.AddrFromSlice(b)
	switch text {
	case addr.String():
		return other.String()
	case strings.ToUpper(addr.StringExpanded()):
		return strings.ToUpper(other.StringExpanded())
	}
	return other.StringExpanded()
}

// check looks for everything that was replaced, in the exchanges as they are to be
// written. Names of members are no names.
func (s *scrubber) check(rec *Recording) error {
	member := regexp.MustCompile(`"[^"]*":`)
	for _, x := range rec.Exchanges {
		question := x.Question
		x.Question, x.Method = "", ""
		text := strings.ToLower(lines([]Exchange{x}))
		for id := range s.ids {
			if strings.Contains(text, id) {
				return fmt.Errorf("an id of this account is left in the answer to %q", question)
			}
		}
		for _, token := range addressShape.FindAllString(text, -1) {
			if addr, err := netip.ParseAddr(token); err == nil && s.addresses[addr.String()] != "" {
				return fmt.Errorf("an address of this account is left in the answer to %q", question)
			}
		}
		values := member.ReplaceAllString(text, "")
		for name := range s.names {
			quoted, _ := json.Marshal(name) // as it would be written
			if len(name) >= shortest && strings.Contains(values, strings.Trim(string(quoted), `"`)) {
				return fmt.Errorf("a name or a secret of this account is left in the answer to %q", question)
			}
		}
	}
	return nil
}
