package otc

import (
	"errors"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

const (
	maxShown  = 300      // bytes of the cloud's words in an error
	maxSearch = 64 << 10 // longer texts are not searched for secrets, and not shown
	piece     = 16       // bytes of a secret that give it away
	nesting   = 3        // a quoted text in a quoted text in a quoted text
)

// show makes the cloud's words fit for an error: short, on one line, printable.
// Words that hold a secret of the call in any spelling, or may, are not shown at
// all, only how many there were.
func (k *call) show(s string) string {
	if k.tells(s) {
		return fmt.Sprintf("%s: %d bytes of %s", redacted, len(s), k.last.kind())
	}
	return clip(s)
}

// shown returns err itself if it is fit to be shown as it is.
func (k *call) shown(err error) error {
	if text := k.show(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}

// tells reports whether s holds a secret, or 16 bytes in a row of one, as it is
// or encoded: JSON and Go quoting, URL encoding and HTML, one in the other.
func (k *call) tells(s string) bool {
	if len(s) > maxSearch {
		return true
	}
	for _, form := range spellings(s) {
		for _, secret := range k.secrets {
			if holds(form, secret.Reveal()) {
				return true
			}
		}
	}
	return false
}

// holds reports whether s holds the secret or one of the pieces it is cut into;
// whatever is at least twice as long as a piece has a whole one in it.
func holds(s, secret string) bool {
	n := min(piece, len(secret))
	if n == 0 || len(s) < n {
		return false
	}
	pieces := map[string]bool{secret[len(secret)-n:]: true}
	for i := 0; i+n <= len(secret); i += n {
		pieces[secret[i:i+n]] = true
	}
	for i := 0; i+n <= len(s); i++ {
		if pieces[s[i:i+n]] {
			return true
		}
	}
	return false
}

// spellings returns s and whatever it may stand for.
func spellings(s string) []string {
	all := []string{s}
	for from, level := 0, 0; level < nesting; level++ {
		found := all[from:]
		from = len(all)
		for _, form := range found {
			for _, decode := range []func(string) string{unquote, percent, plus, html.UnescapeString} {
				if d := decode(form); !slices.Contains(all, d) {
					all = append(all, d)
				}
			}
		}
	}
	return all
}

// unquote undoes the escapes of JSON and Go; what is no escape stays.
func unquote(s string) string {
	var b strings.Builder
	for s != "" {
		if s[0] != '\\' || len(s) == 1 {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		if strings.IndexByte(`"'/`, s[1]) >= 0 {
			b.WriteByte(s[1])
			s = s[2:]
			continue
		}
		r, n := surrogates(s)
		if n == 0 {
			var rest string
			var err error
			if r, _, rest, err = strconv.UnquoteChar(s, 0); err != nil {
				r, rest = '\\', s[1:]
			}
			n = len(s) - len(rest)
		}
		b.WriteRune(r)
		s = s[n:]
	}
	return b.String()
}

// surrogates decodes the two \u escapes that JSON needs for one rune above
// U+FFFF; 0 bytes if s does not begin with them.
func surrogates(s string) (rune, int) {
	if len(s) < 12 || s[1] != 'u' || s[6:8] != `\u` {
		return 0, 0
	}
	high, err := strconv.ParseUint(s[2:6], 16, 32)
	low, err2 := strconv.ParseUint(s[8:12], 16, 32)
	if r := utf16.DecodeRune(rune(high), rune(low)); err == nil && err2 == nil && r != unicode.ReplacementChar {
		return r, 12
	}
	return 0, 0
}

// percent undoes URL encoding; what is none stays.
func percent(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if d, err := url.PathUnescape(s[i:min(i+3, len(s))]); s[i] == '%' && err == nil {
			b.WriteString(d)
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// plus undoes URL encoding as in forms, where a blank is a plus.
func plus(s string) string { return percent(strings.ReplaceAll(s, "+", " ")) }

// clip keeps messages short, on one line and free of what a terminal or a reader
// would take for something else: control characters, ESC, bidirectional marks.
func clip(s string) string {
	s = strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "?")
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown-3], "") + "..."
	}
	return s
}
