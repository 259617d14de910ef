package otctest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	domainID      = "c3e1f0a94b7d4f0db2e6a1c85d9f7b30"
	stampLayout   = "2006-01-02T15:04:05.000000Z"
	maxLoginBody  = 32 << 10
	tokenLetters  = "MII" // how the base64 of a signed message begins
	unknownScope  = "The project is unknown or the user may not use it."
	refusedLogin  = "The user name or password is wrong."
	staleIAMToken = "X-Auth-Token is invalid in the request"
)

type user struct {
	password string
	failures []time.Time
	locked   time.Time // until then
}

type project struct{ name, id string }

type token struct {
	user      string
	projectID string // "": for the whole account
	region    string // that it is good for; "": any
	expires   time.Time
}

// AddUser adds a user of the account, or changes the password of one.
func (s *Server) AddUser(name, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.users[name]; u != nil {
		u.password = password
		return
	}
	s.users[name] = &user{password: password}
}

// SetPassword changes the password of [User]. Tokens stay valid: the cloud
// takes up to 30 minutes to revoke them, which is RevokeTokens here.
func (s *Server) SetPassword(p string) { s.AddUser(User, p) }

// AddProject adds a project.
func (s *Server) AddProject(name, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.projects = append(s.projects, project{name, id})
}

// RevokeTokens makes every token issued so far invalid.
func (s *Server) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Tokens returns the tokens that are still valid, in no order.
func (s *Server) Tokens() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for name, t := range s.tokens {
		if time.Now().Before(t.expires) {
			all = append(all, name)
		}
	}
	return all
}

// token returns the valid token that the call carries.
func (s *Server) token(c *call) (*token, bool) {
	t := s.tokens[c.Header.Get("X-Auth-Token")]
	return t, t != nil && time.Now().Before(t.expires)
}

type named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type loginBody struct {
	Auth *struct {
		Identity struct {
			Methods  []string `json:"methods"`
			Password struct {
				User struct {
					Name     string `json:"name"`
					Password string `json:"password"`
					Domain   named  `json:"domain"`
				} `json:"user"`
			} `json:"password"`
		} `json:"identity"`
		Scope scope `json:"scope"`
	} `json:"auth"`
}

type scope struct {
	Project *struct {
		named
		Domain *named `json:"domain"`
	} `json:"project"`
}

// project returns the project of a scope, or the zero project if the scope names none.
func (s *Server) project(sc scope) (project, bool) {
	want := sc.Project
	if want == nil {
		return project{}, true
	}
	i := slices.IndexFunc(s.projects, func(p project) bool {
		return (want.ID == p.id || want.ID == "" && want.Name == p.name) &&
			(want.Domain == nil || want.Domain.Name == Account || want.Domain.ID == domainID)
	})
	if i < 0 {
		return project{}, false
	}
	return s.projects[i], true
}

// login is POST /v3/auth/tokens.
func (s *Server) login(c *call) answer {
	var body loginBody
	if a, bad := c.readLogin(&body); bad {
		return a
	}
	asked := body.Auth.Identity.Password.User
	if asked.Domain.Name != Account || !slices.Contains(body.Auth.Identity.Methods, "password") {
		return c.fail(ShapeIAM, http.StatusUnauthorized, "", refusedLogin)
	}
	u := s.users[asked.Name]
	if u == nil {
		return c.fail(ShapeIAM, http.StatusUnauthorized, "", refusedLogin)
	}
	if a, refused := u.check(c, asked.Password); refused {
		return a
	}
	p, ok := s.project(body.Auth.Scope)
	if !ok {
		return c.fail(ShapeIAM, c.knobs.UnknownProject, "", unknownScope)
	}
	return s.issue(c, asked.Name, "password", p)
}

// readLogin decodes the body and refuses one that is no login.
func (c *call) readLogin(body *loginBody) (answer, bool) {
	const bad = http.StatusBadRequest
	if n := len(c.Body); n == 0 || n > maxLoginBody {
		return c.fail(0, bad, "IAM.1101", "The request body is empty or too large."), true
	}
	if !strings.HasPrefix(c.Header.Get("Content-Type"), "application/json") {
		return c.fail(0, bad, "IAM.0007", "The content type is not application/json."), true
	}
	if err := json.Unmarshal(c.Body, body); err != nil || body.Auth == nil {
		return c.fail(0, bad, "IAM.0011", "The request body is no login."), true
	}
	if u := body.Auth.Identity.Password.User; u.Name == "" || u.Password == "" || u.Domain.Name == "" {
		return c.fail(0, bad, "IAM.0072", "The name, password or domain of the user is missing."), true
	}
	return answer{}, false
}

// check compares the password. Too many failures lock the user, and then even
// the right password is refused. A success forgets earlier failures.
func (u *user) check(c *call, password string) (answer, bool) {
	now, k := time.Now(), c.knobs
	const refused = http.StatusUnauthorized
	if now.Before(u.locked) {
		return c.fail(0, refused, "IAM.0061", ""), true
	}
	if password == u.password {
		u.failures = nil
		return answer{}, false
	}
	u.failures = slices.DeleteFunc(u.failures, func(at time.Time) bool { return now.Sub(at) >= k.LockoutWindow })
	u.failures = append(u.failures, now)
	if k.LockoutFailures > 0 && len(u.failures) >= k.LockoutFailures {
		u.failures, u.locked = nil, now.Add(k.LockoutTime)
		return c.fail(0, refused, "IAM.0061", ""), true
	}
	if k.LoginCodes {
		return c.fail(0, refused, "IAM.0062", ""), true
	}
	return c.fail(ShapeIAM, refused, "", refusedLogin), true
}

// issue answers a login with a new token. Older ones stay valid.
func (s *Server) issue(c *call, name, method string, p project) answer {
	now := time.Now().UTC()
	t := &token{user: name, projectID: p.id, region: region(c.Host), expires: now.Add(c.knobs.TokenLifetime)}
	secret := tokenText(c.serial, c.knobs.TokenSize)
	s.tokens[secret] = t
	account := object{"id": domainID, "name": Account, "xdomain_id": Account[3:], "xdomain_type": "TSI"}
	body := object{
		"issued_at": now.Format(stampLayout), "expires_at": t.expires.Format(stampLayout),
		"methods": []string{method},
		"roles":   []object{{"id": "0", "name": "op_gated_example"}, {"id": compactID("te_admin"), "name": "te_admin"}},
		"user": object{"id": compactID(name), "name": name, "domain": account,
			"password_expires_at": now.AddDate(0, 6, 0).Format("2006-01-02T15:04:05.000000")},
	}
	if p.id == "" {
		body["domain"] = account
	} else {
		body["project"] = object{"id": p.id, "name": p.name, "domain": account}
	}
	if !c.knobs.NoCatalog && c.Query.Get("nocatalog") == "" {
		body["catalog"] = c.catalog(p.id)
	}
	a := c.reply(http.StatusCreated, object{"token": body})
	a.header.Set("X-Subject-Token", secret)
	return a
}

// tokenText returns text of the given size, or of 40 bytes, that no other
// request is given.
func tokenText(serial, size int) string {
	var b strings.Builder
	b.WriteString(tokenLetters)
	for i := 0; b.Len() < size || i == 0; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "token %d %d", serial, i))
		b.WriteString(base64.StdEncoding.EncodeToString(sum[:30]))
	}
	return b.String()[:max(size, 40)]
}

// compactID returns an id without hyphens that depends on nothing but the name.
func compactID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

// uuid returns an id that depends on nothing but the name.
func uuid(name string) string {
	h := compactID(name)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}
