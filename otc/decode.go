package otc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Bounds of an answer. It is the other side that decides how large it is.
const (
	maxBody    = 256 << 10 // bytes of an answer that is kept as a whole; a login has 27 kB, a server 44 kB of user data
	maxStream  = 32 << 20  // of one that is decoded as it arrives: 200 servers with user data are 9 MB
	maxValue   = 1 << 20   // of one entry there, give or take what is buffered
	maxRoutes  = 20_000    // entries of a route table; OTC's quota is 200
	maxServers = 50_000    // entries of a server list, all pages
)

// Why an answer is of no use, though it says success.
var (
	errTooLarge = errors.New("the answer is larger than")
	errTooMany  = errors.New("the answer has more than")
	errUnusable = errors.New("unusable answer") // not what the API answers
)

// A bounded is the body of an answer, up to maxStream bytes in all and maxValue in one
// value.
type bounded struct {
	io.LimitedReader
	value int64 // bytes that are left for the present value
}

func newBounded(body io.Reader) *bounded {
	return &bounded{io.LimitedReader{R: body, N: maxStream + 1}, maxValue}
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.value <= 0 {
		return 0, fmt.Errorf("%w %d bytes in one value", errTooLarge, maxValue)
	}
	n, err := b.LimitedReader.Read(p[:min(int64(len(p)), b.value)])
	if b.value -= int64(n); b.N <= 0 {
		return 0, fmt.Errorf("%w %d bytes", errTooLarge, maxStream)
	}
	return n, err
}

// A stream takes a JSON answer apart as it arrives.
type stream struct {
	*json.Decoder
	body *bounded
}

// decodeStream decodes one JSON value with nothing behind it.
func decodeStream(body io.Reader, decode func(stream) error) error {
	d := stream{body: newBounded(body)}
	d.Decoder = json.NewDecoder(d.body)
	err := decode(d)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return nil
		}
		if err == nil {
			err = errors.New("something follows the JSON")
		}
	}
	if errors.Is(err, errTooLarge) || errors.Is(err, errTooMany) {
		return err
	}
	return fmt.Errorf("%w: %w", errUnusable, err)
}

// each calls f at each member of the object, or element of the list, that comes
// next. Null has none.
func (d stream) each(open json.Delim, f func() error) error {
	switch t, err := d.Token(); {
	case err != nil:
		return err
	case t == nil:
		return nil
	case t != open:
		return fmt.Errorf("no %v where one belongs", open)
	}
	for d.More() {
		d.body.value = maxValue
		if err := f(); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// members calls f with the name of each member of the object that comes next; f reports
// whether it has consumed the value.
func (d stream) members(f func(name string) (consumed bool, err error)) error {
	return d.each('{', func() error {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		consumed, err := f(name)
		if err == nil && !consumed {
			err = d.Decode(new(json.RawMessage))
		}
		return err
	})
}

// odd decodes into v. A value of another kind is not an error: v stays as it is.
func (d stream) odd(v any) error {
	err := d.Decode(v)
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil
	}
	return err
}

// word is a text of the cloud that we compare and show; what is not text is "".
func word(v any) string {
	s, _ := v.(string)
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return clip(s)
		}
	}
	return s
}

// truth is a boolean, however it is written.
func truth(v any) bool { return v == true || v == "true" }
