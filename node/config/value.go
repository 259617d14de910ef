package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"otc-route-manager/metrics/status"
	"otc-route-manager/otc"
)

// errMissing says that there is no value.
var errMissing = errors.New("is missing")

// value returns a setting's value, given directly or as the content of the file
// that <NAME>_FILE names. The error says what is wrong and what to do; it is
// errMissing if there is no value, and fs.ErrNotExist if there is no such file.
func (s Setting) value(getenv func(string) string) (string, error) {
	name, raw := s.Name, getenv(s.Name)
	if s.lowerCase && raw == "" {
		raw = getenv(strings.ToLower(s.Name))
	}
	path := ""
	if s.inFile() {
		path = strings.TrimSpace(getenv(s.Name + "_FILE"))
	}
	if path != "" {
		content, err := readFile(path)
		given := strings.TrimSpace(raw) != ""
		switch {
		case given && errors.Is(err, fs.ErrNotExist): // the Secret has no such key
		case given:
			return "", errBoth(s.Name, s.Name+"_FILE")
		case err != nil:
			return "", s.problem(s.Name+"_FILE:", err)
		default:
			name, raw = s.Name+" in "+path, string(content)
		}
	}
	v, err := s.clean(raw)
	if err != nil {
		return "", s.problem(name, err)
	}
	return v, nil
}

func errBoth(one, other string) error {
	return fmt.Errorf("%s and %s are both set: leave one out", one, other)
}

// readFile reads a file, unless reading it could wait for a writer.
func readFile(path string) ([]byte, error) {
	if err := regular(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// regular returns an error unless the path is that of a regular file.
func regular(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file, but %s", path, info.Mode().Type())
	}
	return err
}

// problem says what is wrong with what is named, and what to do.
func (s Setting) problem(name string, err error) error {
	return fmt.Errorf("%s %w: want %s%s", name, err, s.Want, s.owner())
}

// clean is the only place that says what a text means as a value, wherever it
// comes from: a trailing newline is cut, and so are blanks around it, except
// those of a password. What cannot have been meant is an error.
func (s Setting) clean(raw string) (string, error) {
	v := strings.TrimRight(raw, "\r\n")
	trimmed := strings.TrimSpace(v)
	if !s.Private {
		v = trimmed
	}
	i := strings.IndexFunc(v, func(r rune) bool { return !unicode.IsGraphic(r) })
	switch {
	case trimmed == "":
		return "", errMissing
	case slices.Contains(placeholders(), trimmed):
		return "", fmt.Errorf("is still the placeholder %s", trimmed)
	case strings.ContainsAny(v, "\r\n"):
		return "", errors.New("has more than one line")
	case !utf8.ValidString(v):
		return "", errors.New("is not UTF-8")
	case i >= 0:
		r, _ := utf8.DecodeRuneInString(v[i:])
		return "", fmt.Errorf("holds the invisible character %U", r)
	}
	return v, nil
}

// placeholders are what manifests.yaml and README.md have where a value belongs.
func placeholders() []string {
	return []string{"REPLACE", "your-service-user", "your-password", "your-domain", "your-project"}
}

// A reader fills a Config and collects what is wrong.
type reader struct {
	getenv   func(string) string
	starts   bool // all settings are read, at the start
	cfg      Config
	problems []string
}

func (r *reader) problem(text string) { r.problems = append(r.problems, text) }

// read takes one setting, or its default.
func (r *reader) read(s Setting) {
	v, err := s.value(r.getenv)
	noFile := errors.Is(err, fs.ErrNotExist)
	absent := noFile || errors.Is(err, errMissing)
	switch {
	case s.password && r.isSet(identityProvider):
		if !absent {
			r.problem(errBoth(s.Name, identityProvider).Error())
		}
		return
	case errors.Is(err, errMissing) && !s.Required:
		v = s.Default
	case absent && r.isSet(s.alternative), noFile && s.Object == Secret && r.starts: // each login reports it until it comes
		return
	case err != nil:
		r.problem(err.Error() + r.hint(s.Name))
		return
	}
	if v != "" {
		r.store(s, v)
	}
}

// store puts a value down where it belongs.
func (r *reader) store(s Setting, v string) {
	if s.Private && strings.TrimSpace(v) != v {
		r.cfg.Warnings = append(r.cfg.Warnings, s.Name+" begins or ends with a blank, which is sent as a part of it; if that is not meant, leave it out"+s.owner())
	}
	if s.shown {
		r.cfg.Shown = append(r.cfg.Shown, status.Setting{Name: s.Name, Value: v})
	}
	if s.parse == nil {
		return
	}
	parts := []string{v}
	if s.list {
		parts = strings.Split(v, ",")
	}
	for _, part := range parts {
		if s.list {
			part = strings.TrimSpace(part)
		}
		if err := s.parse(part); err != nil {
			r.problem(s.problem(s.Name+":", err).Error())
		}
	}
}

// hint names what other tools read instead of a variable.
func (r *reader) hint(name string) string {
	if name == "OS_PROJECT_NAME" && r.getenv("OS_TENANT_NAME")+r.getenv("OS_TENANT_ID") != "" {
		return " (OS_TENANT_NAME and OS_TENANT_ID are not read)"
	}
	return ""
}

// isSet reports whether the setting of that name has a value. "" has none.
func (r *reader) isSet(name string) bool {
	if name == "" {
		return false
	}
	_, err := setting(name).value(r.getenv)
	return !errors.Is(err, errMissing)
}

const identityProvider = "OS_IDENTITY_PROVIDER"

// credentials returns what reads the settings of the login again, at each login: a
// changed Secret needs no restart. What the start would refuse is an error.
func credentials(getenv func(string) string) func() (otc.Credentials, error) {
	var names []string
	for _, s := range Settings() {
		if s.login {
			names = append(names, s.Name)
		}
	}
	return func() (otc.Credentials, error) {
		c, problems := Read(getenv, names...)
		switch n := len(problems); {
		case n > 1:
			return c.login, fmt.Errorf("%s (and %d more)", problems[0], n-1)
		case n == 1:
			return c.login, errors.New(problems[0])
		case c.login.IdentityProvider == "":
			return c.login, nil
		}
		token, err := readFile(c.idTokenFile)
		c.login.Secret = otc.NewSecret(strings.TrimSpace(string(token)))
		if err != nil {
			return c.login, fmt.Errorf("OS_ID_TOKEN_FILE: %w", err)
		}
		return c.login, nil
	}
}
