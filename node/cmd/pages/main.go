// Command pages looks at the status page of the real program in a real browser,
// in the situations that an operator should recognise at a glance, such as a conflict
// or a refused login. It checks what a reader sees, that the page tells no secret, runs
// no script but its own, asks nobody else for anything, fits a phone and lets an id be
// copied while it reads itself again. It leaves pictures of it for people.
//
// It ends with status 1 if something is not as it should be.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"otc-route-manager/node/cmd/internal/stage"
	"otc-route-manager/otc/otctest"
)

// patience is how long one situation may take.
const patience = 2 * time.Minute

func main() {
	bin := flag.String("bin", "./otc-route-manager", "the program whose page to look at")
	chromium := flag.String("chromium", "chromium", "the browser")
	out := flag.String("out", "dist/pages", "the folder for the pictures")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *chromium, *out); err != nil {
		fmt.Fprintln(os.Stderr, "✘", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, chromium, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	b, err := launch(ctx, chromium)
	if err != nil {
		return err
	}
	defer b.close()
	failed := 0
	for _, s := range situations() {
		faults, err := look(ctx, b, bin, filepath.Join(out, s.name), s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for _, fault := range faults {
			fmt.Printf("✘ %s: %s\n", s.name, fault)
		}
		if len(faults) == 0 {
			fmt.Printf("✔ %s: %s-*.png\n", s.name, filepath.Join(out, s.name))
		}
		failed += len(faults)
	}
	if failed > 0 {
		return fmt.Errorf("%d things are not as they should be", failed)
	}
	return nil
}

// look brings the situation about, looks at the page and returns what is wrong
// with it.
func look(ctx context.Context, b *browser, bin, picture string, s situation) (faults []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	w, err := stage.NewWorld()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	w.Kube.Put(stage.Worker())
	s.set(w)
	p, err := stage.Start(bin, w.Environment(s.environment...), func(string) {})
	if err != nil {
		return nil, err
	}
	if err = s.comesAbout(ctx, w, p); err == nil {
		faults, err = examine(ctx, b, w, picture, s)
	}
	if _, stopErr := p.Stop(); err == nil {
		err = stopErr
	}
	if err == nil && s.stays {
		gone, err := b.watch(ctx, gone, picture+"-gone.png")
		return append(faults, gone...), err
	}
	return faults, err
}

// comesAbout returns when the page shows the situation.
func (s situation) comesAbout(ctx context.Context, w *stage.World, p *stage.Program) error {
	says := func(words string) error {
		return p.Until(ctx, words, func() bool {
			status, page := w.Fetch("/")
			return status == http.StatusOK && strings.Contains(page, words)
		})
	}
	if s.then != nil {
		if err := says("confirmed"); err != nil {
			return err
		}
		s.then(w)
	}
	return says(s.until)
}

// A sight is what the browser makes of the page.
type sight struct {
	Text, HTML, Title string
	Actors            []string // elements that could do something
}

// sightOf is the expression for it.
const sightOf = `({text: document.body.innerText, html: document.documentElement.outerHTML, title: document.title,
	actors: [...document.querySelectorAll("*")].filter(e => e.matches("script:not(head > :not([src])), img, iframe, form, button, object, embed") ||
		[...e.attributes].some(a => a.name.startsWith("on"))).map(e => e.outerHTML)})`

// examine opens the page, compares it with what it should be and takes pictures.
func examine(ctx context.Context, b *browser, w *stage.World, picture string, s situation) (faults []string, err error) {
	requests, faults, err := b.open(ctx, w.Pages+"/")
	if err != nil {
		return nil, err
	}
	if !slices.Contains(requests, w.Pages+"/") {
		faults = append(faults, "the browser does not tell its requests")
	}
	for _, r := range requests {
		if r != w.Pages+"/" && !strings.HasPrefix(r, "data:") {
			faults = append(faults, "the page asks for "+r)
		}
	}
	var page sight
	if err := b.eval(ctx, sightOf, &page); err != nil {
		return nil, err
	}
	faults = append(faults, page.faults(s.see, append(w.Cloud.Tokens(), otctest.Password, otctest.UserData))...)
	wide, err := shoot(ctx, b, picture)
	if err == nil && s.stays {
		moved, err := stay(ctx, b, picture)
		return append(append(faults, wide...), moved...), err
	}
	return append(faults, wide...), err
}

// What a reader does or sees on a page that stays open. Each is an expression that is
// true when it has come about.
const (
	copies = `getSelection().selectAllChildren(document.querySelector("dd code")), true`
	copied = `window.id = getSelection().toString(), !document.getElementById("note").hidden`
	works  = `window.page = document.getElementById("page"), document.querySelector("nav a").focus(), getSelection().removeAllRanges(), true`
	fresh  = `document.getElementById("page") != window.page && document.getElementById("note").hidden`
	kept   = `window.id.length == 36 && document.activeElement == document.querySelector("nav a")`
	gone   = `!document.getElementById("note").hidden && document.title.startsWith("? ") && document.body.innerText.includes("does not answer")`
)

// stay copies an id and holds a link's focus while the page reads itself again, and
// returns what is lost by that.
func stay(ctx context.Context, b *browser, picture string) (faults []string, err error) {
	for _, expression := range []string{copies, copied, works, fresh, kept} {
		shot := ""
		if expression == copied {
			shot = picture + "-copying.png"
		}
		missed, err := b.watch(ctx, expression, shot)
		if faults = append(faults, missed...); err != nil {
			return faults, err
		}
	}
	return faults, nil
}

// refreshed is longer than the page waits before it reads itself again.
const refreshed = 15 * time.Second

// watch waits until the expression is true, and takes a picture then unless that has
// no name. If it does not come true that is a fault.
func (b *browser) watch(ctx context.Context, expression, picture string) (faults []string, err error) {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for late := time.After(refreshed); ; {
		var seen bool
		if err := b.eval(ctx, expression, &seen); err != nil {
			return nil, err
		}
		if seen && picture != "" {
			return nil, b.shoot(ctx, picture)
		}
		if seen {
			return nil, nil
		}
		select {
		case <-again.C:
		case <-late:
			return []string{"this does not come true: " + expression}, nil
		}
	}
}

// faults returns what is wrong with the page, given what a reader must see and
// what nobody may.
func (p sight) faults(see, secrets []string) (faults []string) {
	text := strings.Join(strings.Fields(p.Text), " ")
	for _, words := range see {
		if !strings.Contains(text, words) {
			faults = append(faults, fmt.Sprintf("a reader does not see %q in %q", words, text))
		}
	}
	for _, a := range p.Actors {
		faults = append(faults, "the page holds "+a)
	}
	for _, secret := range secrets {
		if strings.Contains(p.HTML, secret) {
			faults = append(faults, "the page tells a secret")
		}
	}
	if !strings.HasSuffix(p.Title, stage.NodeName+" · OTC Route Manager") {
		faults = append(faults, "the title is "+p.Title)
	}
	return faults
}

// shoot takes the pictures. What is wider than a phone is a fault.
func shoot(ctx context.Context, b *browser, picture string) (faults []string, err error) {
	for _, v := range []struct {
		name          string
		width, height int
		scheme        string
	}{{"light", 1280, 900, "light"}, {"dark", 1280, 900, "dark"}, {"phone", 390, 844, "light"}, {"phone-dark", 390, 844, "dark"}} {
		if err := b.view(ctx, v.width, v.height, v.scheme); err != nil {
			return nil, err
		}
		var width int
		if err := b.eval(ctx, "document.documentElement.scrollWidth", &width); err != nil {
			return nil, err
		}
		if width > v.width {
			faults = append(faults, fmt.Sprintf("the page is %d pixels wide on a screen of %d", width, v.width))
		}
		if err := b.shoot(ctx, picture+"-"+v.name+".png"); err != nil {
			return nil, err
		}
	}
	return faults, nil
}
