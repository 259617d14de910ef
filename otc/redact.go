package otc

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"unicode"
)

const (
	maxShown = 300 // bytes of the cloud's words in an error
	maxWord  = 40  // bytes of one word there: a UUID has 36, a token hundreds
)

var errUnshown = errors.New("an answer that makes no sense") // of a login: its words are not shown

// show makes the cloud's words fit for an error: short, on one line, printable, and
// without words that are long enough to be a part of a token (R9). Of the answer to a
// login nothing is shown: it may repeat the password, in any spelling.
func (k *call) show(s string) string {
	if k.service == "iam" {
		return ""
	}
	words := strings.Fields(s)
	for i, w := range words {
		if len(w) > maxWord {
			words[i] = "…"
		}
	}
	return clip(strings.Join(words, " "))
}

// showCode is show for an error code. Of a login those of IAM and the gateway are known.
func (k *call) showCode(code string) string {
	prefix, number, _ := strings.Cut(code, ".")
	if k.service == "iam" && isCode(code) && len(number) == 4 && (prefix == "IAM" || gatewayCode(code) != "-") {
		return code
	}
	return k.show(code)
}

// showID is show for a request id: hexadecimal digits, "req-" and a UUID of OpenStack.
func (k *call) showID(id string) string {
	if len(id) <= maxWord && strings.Trim(strings.TrimPrefix(id, "req-"), "0123456789abcdefABCDEF-") == "" {
		return id
	}
	return k.show(id)
}

// shown returns the transport's error as it may be shown: itself, if nothing is wrong
// with its text. Before there is a connection it holds nothing of an answer.
func (k *call) shown(err error) error {
	text := clip(err.Error())
	switch {
	case !k.last.dial.connected.Load():
	case k.service != "iam":
		text = k.show(err.Error())
	case !isPlain(err):
		return errUnshown
	}
	if text != err.Error() {
		return errors.New(text)
	}
	return err
}

// isPlain reports whether the text of a transport's error quotes nothing of an answer.
func isPlain(err error) bool {
	_, socket := errors.AsType[*net.OpError](err)
	for _, plain := range []error{context.DeadlineExceeded, context.Canceled, io.EOF, io.ErrUnexpectedEOF, errTooLarge} {
		socket = socket || errors.Is(err, plain)
	}
	return socket
}

// clip keeps texts short, on one line and free of what a terminal or a reader would
// take for something else: control characters, ESC, bidirectional marks.
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
