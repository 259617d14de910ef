package metrics

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strings"
	"sync"
)

// What page.html puts into its <style> and its <script>.
var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

// A page writes the status page.
type page struct {
	parsed func() *template.Template
	policy string // Content-Security-Policy
}

// newPage returns a page whose template is parsed at the first visit: a pod whose page
// is never opened does not pay for it in memory.
func newPage() page {
	return page{
		parsed: sync.OnceValue(func() *template.Template {
			return template.Must(template.New("page").Parse(pageHTML))
		}),
		policy: policy(),
	}
}

// policy allows the page's own style sheet and script, by their hashes, and the
// script to read the page again. Nothing else.
func policy() string {
	return "default-src 'none'; style-src " + hash(pageCSS) + "; script-src " + hash(pageJS) +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// write answers with the page for v. html/template escapes every value; what has no
// glyph, in any value, is replaced afterwards.
func (p page) write(w http.ResponseWriter, v view) {
	var out bytes.Buffer
	if err := p.parsed().Execute(&out, v); err != nil {
		http.Error(w, oneLine(err.Error()), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", p.policy)
	w.Write([]byte(strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return printable(r)
	}, out.String())))
}
