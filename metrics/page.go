package metrics

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html"
	"strings"
)

// pageHTML holds the page and, after lines "<!-- part NAME -->", its parts.
//
//go:embed page.html
var pageHTML string

// markup is HTML that is ready to be written. Every other value is text and is
// escaped on its way into a part.
type markup string

// values fill the {{placeholders}} of a part.
type values map[string]any

// A page renders a Status. It stands in for html/template, whose reflection
// would add 3.6 MB to the binary.
type page struct {
	parts  map[string]string
	policy string // Content-Security-Policy
}

func newPage() page {
	doc, rest, _ := strings.Cut(pageHTML, "<!-- part ")
	parts := map[string]string{"page": doc}
	for part := range strings.SplitSeq(rest, "<!-- part ") {
		name, text, _ := strings.Cut(part, " -->\n")
		parts[name] = text
	}
	return page{parts: parts, policy: policy(doc)}
}

// policy allows the page's own style sheet and script, by their hashes, and the
// script to read the page again. Nothing else.
func policy(doc string) string {
	return "default-src 'none'; style-src " + hash(doc, "style") + "; script-src " + hash(doc, "script") +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// hash returns the source expression of what the first such element holds.
func hash(doc, element string) string {
	_, rest, _ := strings.Cut(doc, "<"+element+">")
	text, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// fill returns a part with its placeholders replaced in one sweep, so that a
// value which looks like a placeholder stays what it is.
func (p page) fill(part string, v values) markup {
	pairs := make([]string, 0, 2*len(v))
	for name, value := range v {
		pairs = append(pairs, "{{"+name+"}}", escape(value))
	}
	return markup(strings.NewReplacer(pairs...).Replace(p.parts[part]))
}

// text fills a part whose one placeholder is {{text}}. An empty text needs no part.
func (p page) text(part, text string) markup {
	if text == "" {
		return ""
	}
	return p.fill(part, values{"text": text})
}

func escape(value any) string {
	if m, ok := value.(markup); ok {
		return string(m)
	}
	return html.EscapeString(oneLine(fmt.Sprint(value)))
}

// each renders a part for every item, or the other part if there is none.
func each[T any](p page, part, none string, items []T, v func(T) values) markup {
	if len(items) == 0 {
		return p.fill(none, nil)
	}
	var all strings.Builder
	for _, item := range items {
		all.WriteString(string(p.fill(part, v(item))))
	}
	return markup(all.String())
}
