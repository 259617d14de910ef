package config_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"otc-route-manager/node/config"
	"otc-route-manager/node/config/configtest"
	"otc-route-manager/otc/otctest"
)

// An environ is what the program reads.
type environ map[string]string

func (e environ) get(name string) string { return e[name] }

// required has all that is required, and nothing else.
func required(t *testing.T) environ {
	kubeconfig := write(t, "kubeconfig", "apiVersion: v1\nkind: Config\ncurrent-context: t\ncontexts: [{name: t, context: {cluster: t}}]\nclusters: [{name: t, cluster: {server: 'http://127.0.0.1:1'}}]\n")
	return environ{
		"OS_AUTH_URL": "https://iam.eu-de.otc.t-systems.com/v3", "OS_REGION_NAME": "eu-de", "OS_DOMAIN_NAME": otctest.Account,
		"OS_PROJECT_NAME": otctest.Project, "OS_USERNAME": otctest.User, "OS_PASSWORD": otctest.Password,
		"ROUTE_TABLE_ID": otctest.TableID, "CLUSTER_CIDR": "10.128.0.0/14", "NODE_NAME": "worker-1", "KUBECONFIG": kubeconfig,
	}
}

// with returns the environment with other values; "" takes one away.
func (e environ) with(pairs ...string) environ {
	e = maps.Clone(e)
	for i := 0; i < len(pairs); i += 2 {
		e[pairs[i]] = pairs[i+1]
	}
	return e
}

// inFile moves a value into a file.
func (e environ) inFile(t *testing.T, name string) environ {
	return e.with(name, "", name+"_FILE", write(t, name, e[name]))
}

func write(t *testing.T, name, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBadValues: whatever asks for it, and wherever it comes from, a bad value
// is one problem, which names it and its cure.
func TestBadValues(t *testing.T) {
	base := required(t)
	for _, bad := range configtest.BadValues() {
		env := base.with(bad.Name, bad.Value)
		_, all := config.Read(env.get)
		_, one := config.Read(env.get, bad.Name)
		if !slices.Equal(all, one) || len(all) != 1 || !strings.HasPrefix(all[0], bad.Name) ||
			!strings.Contains(all[0], bad.Says) || !strings.Contains(all[0], bad.Cure) {
			t.Errorf("%s=%q: got %q and %q; want one problem that says %q and %q", bad.Name, bad.Value, all, one, bad.Says, bad.Cure)
		}
		if strings.Contains(strings.Join(all, ""), "hush") {
			t.Errorf("the report shows a password: %s", all)
		}
		if _, inFile := config.Read(env.inFile(t, bad.Name).get, bad.Name); strings.HasPrefix(bad.Name, "OS_") && !slices.ContainsFunc(inFile, func(p string) bool { return strings.Contains(p, bad.Says) }) {
			t.Errorf("%s in a file, %q: got %q", bad.Name, bad.Value, inFile)
		}
	}
}

func TestProblems(t *testing.T) {
	base := required(t)
	empty, full, fifo := write(t, "empty", ""), write(t, "full", "x"), filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	idToken := base.with("OS_USERNAME", "", "OS_PASSWORD", "", "OS_DOMAIN_NAME", "", "OS_IDENTITY_PROVIDER", "cluster")
	for _, tt := range []struct {
		name string
		env  environ
		want string // all problems, "|" between
	}{
		{"both forms", base.with("OS_USERNAME_FILE", empty), "OS_USERNAME and OS_USERNAME_FILE are both set: leave one out"},
		{"no such file: it is waited for", base.with("OS_PASSWORD", "", "OS_PASSWORD_FILE", "/nonexistent"), ""},
		{"no such file of a setting that nobody waits for", base.with("ROUTE_TABLE_ID", "", "ROUTE_TABLE_ID_FILE", "/nonexistent"),
			"ROUTE_TABLE_ID_FILE: stat /nonexistent: no such file or directory: want the id of the VPC's route table, a UUID (several: comma separated); make create-configmap sets it"},
		{"the project in the ConfigMap, no such key in the Secret", base.with("OS_PROJECT_NAME_FILE", "/nonexistent"), ""},
		{"empty file", base.with("OS_PASSWORD", "", "OS_PASSWORD_FILE", empty),
			"OS_PASSWORD in " + empty + " is missing: want the service user's password; make create-secrets sets it"},
		{"a directory", base.with("OS_PASSWORD", "", "OS_PASSWORD_FILE", "/"),
			"OS_PASSWORD_FILE: / is no regular file, but d---------: want the service user's password; make create-secrets sets it"},
		{"a FIFO", base.with("OS_CACERT", fifo), "OS_CACERT: " + fifo + " is no regular file, but p---------: want a file with certificates in PEM; make create-configmap sets it"},
		{"ID token", idToken, ""},
		{"ID token, without a file yet", idToken.with("OS_ID_TOKEN_FILE", "/nonexistent"), ""},
		{"ID token, a FIFO", idToken.with("OS_ID_TOKEN_FILE", fifo),
			"OS_ID_TOKEN_FILE: " + fifo + " is no regular file, but p---------: want the path of a file that holds a ServiceAccount token; manifests.yaml sets it"},
		{"ID token, the Secret's files absent", idToken.with("OS_USERNAME_FILE", "/nonexistent", "OS_PASSWORD_FILE", "/nonexistent", "OS_DOMAIN_NAME_FILE", "/nonexistent", "OS_PROJECT_NAME_FILE", "/nonexistent"), ""},
		{"ID token and user", idToken.with("OS_USERNAME", "u"), "OS_USERNAME and OS_IDENTITY_PROVIDER are both set: leave one out"},
		{"ID token and password file", idToken.with("OS_PASSWORD_FILE", full), "OS_PASSWORD and OS_IDENTITY_PROVIDER are both set: leave one out"},
		{"ID token and account", idToken.with("OS_DOMAIN_NAME", "d", "OS_USER_DOMAIN_NAME", "d"),
			"OS_DOMAIN_NAME and OS_IDENTITY_PROVIDER are both set: leave one out|OS_USER_DOMAIN_NAME and OS_IDENTITY_PROVIDER are both set: leave one out"},
		{"ID token without a project", idToken.with("OS_PROJECT_NAME", ""),
			"OS_PROJECT_NAME is missing: want the project, for example eu-de_cluster (or set OS_PROJECT_ID); make create-secrets sets it"},
		{"domain and alias differ", base.with("OS_USER_DOMAIN_NAME", "another"),
			`OS_USER_DOMAIN_NAME: "another" is not what OS_DOMAIN_NAME says ("` + otctest.Account + `"): want the account, once; make create-configmap sets it`},
		{"domain and alias", base.with("OS_USER_DOMAIN_NAME", otctest.Account), ""},
		{"alias alone", base.with("OS_DOMAIN_NAME", "", "OS_USER_DOMAIN_NAME", "another"), ""},
		{"project id, and no file with a name", base.with("OS_PROJECT_NAME", "", "OS_PROJECT_NAME_FILE", "/nonexistent", "OS_PROJECT_ID", otctest.ProjectID), ""},
		{"names of other tools", base.with("OS_PROJECT_NAME", "", "OS_TENANT_NAME", "x"),
			"OS_PROJECT_NAME is missing: want the project, for example eu-de_cluster (or set OS_PROJECT_ID); make create-secrets sets it (OS_TENANT_NAME and OS_TENANT_ID are not read)"},
		{"no kubeconfig, no pod", base.with("KUBECONFIG", ""), "KUBECONFIG is not set and this is no pod with a ServiceAccount: unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"},
		{"like placeholders", base.with("OS_PASSWORD", "your-REPLACE-password", "OS_USERNAME", "your-user"), ""},
		{"proxy", base.with("HTTPS_PROXY", "http://svc:p%23ss@proxy.example.com:3128\n", "NO_PROXY", " 172.30.0.1, .svc,*.example.com,[fd01::1]:6443,fd01::1,10.0.0.0/8,api.example.com:6443,\r\n"), ""},
		{"proxy without a scheme", base.with("HTTPS_PROXY", "proxy.example.com:3128/", "NO_PROXY", "*"), ""},
		{"proxy by address", base.with("HTTPS_PROXY", "socks5://[fd01::1]:1080", "NO_PROXY", ""), ""},
		{"proxy, as curl reads it", base.with("https_proxy", "ftp://x"), "HTTPS_PROXY: the proxy's URL has a scheme other than http, https and socks5: " +
			"want a URL such as http://proxy.example.com:3128; in user and password %, #, / and @ are written %25, %23, %2F and %40; make create-configmap sets it"},
	} {
		if _, problems := config.Read(tt.env.get); strings.Join(problems, "|") != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, problems, tt.want)
		}
	}
}

// TestCheck: a part of the settings, without Node and API server.
func TestCheck(t *testing.T) {
	nothing := environ{}
	for _, tt := range []struct {
		what string
		env  environ
		want string // the names in problems
	}{
		{"secret", nothing, "OS_USERNAME OS_PASSWORD OS_DOMAIN_NAME OS_PROJECT_NAME"},
		{"configmap", nothing, "OS_AUTH_URL OS_REGION_NAME ROUTE_TABLE_ID CLUSTER_CIDR"},
		{"secret configmap", nothing, "OS_AUTH_URL OS_USERNAME OS_PASSWORD OS_DOMAIN_NAME OS_PROJECT_NAME OS_REGION_NAME ROUTE_TABLE_ID CLUSTER_CIDR"},
		{"NODE_NAME OS_REGION_NAME", nothing, "OS_REGION_NAME NODE_NAME"},
		{"secret", environ{"OS_USERNAME_FILE": "/nonexistent", "OS_PASSWORD": "p", "OS_DOMAIN_NAME": "d", "OS_PROJECT_NAME": "p"}, "OS_USERNAME_FILE:"},
		{"secret", environ{"OS_IDENTITY_PROVIDER": "x", "OS_PROJECT_NAME": "p"}, ""},
		{"secret", environ{"OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_DOMAIN_NAME": "d", "OS_PROJECT_ID": otctest.ProjectID, "DRY_RUN": "x"}, ""},
		{"DRY_RUN", nothing, ""},
		{"OS_NONSENSE NODE_NAME", nothing, "NODE_NAME OS_NONSENSE:"},
	} {
		_, problems := config.Read(tt.env.get, strings.Fields(tt.what)...)
		for i, p := range problems {
			problems[i], _, _ = strings.Cut(p, " ")
		}
		if got := strings.Join(problems, " "); got != tt.want {
			t.Errorf("%s: problems with %s, want %s", tt.what, got, tt.want)
		}
	}
}

// TestCredentials: files are read at each login, and nothing is sent that the
// start would refuse.
func TestCredentials(t *testing.T) {
	env := required(t).inFile(t, "OS_USERNAME").inFile(t, "OS_PASSWORD")
	cfg, problems := config.Read(env.get)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	file := env["OS_PASSWORD_FILE"]
	for _, tt := range []struct{ content, password, err string }{
		{"rotated\n", "rotated", ""},
		{" two blanks \r\n", " two blanks ", ""},
		{"", "", "is missing"},
		{"\n", "", "is missing"},
		{"your-password\n", "", "is still the placeholder your-password"},
		{"one\ntwo\n", "", "has more than one line"},
		{"bell\a", "", "holds the invisible character U+0007"},
	} {
		if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		want := ""
		if tt.err != "" {
			want = "OS_PASSWORD in " + file + " " + tt.err + ": want the service user's password; make create-secrets sets it"
		}
		got, err := cfg.OTC.Credentials()
		if got.Secret.Reveal() != tt.password || err == nil && (want != "" || got.User != otctest.User) || err != nil && err.Error() != want {
			t.Errorf("%q: got %q, %q, %v; want %q and %q", tt.content, got.User, got.Secret.Reveal(), err, tt.password, want)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.OTC.Credentials(); err == nil || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), " more)") {
		t.Errorf("without the file: %v", err)
	}
	if err := os.Remove(env["OS_USERNAME_FILE"]); err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.OTC.Credentials(); err == nil || !strings.HasSuffix(err.Error(), "make create-secrets sets it (and 1 more)") {
		t.Errorf("without both files: %v", err)
	}
}

// TestIDToken: the file is read at each login, and waited for.
func TestIDToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "id-token")
	env := required(t).with("OS_USERNAME", "", "OS_PASSWORD", "", "OS_DOMAIN_NAME", "", "OS_IDENTITY_PROVIDER", " cluster\n", "OS_ID_TOKEN_FILE", file)
	cfg, problems := config.Read(env.get)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	got, err := cfg.OTC.Credentials()
	if want := "OS_ID_TOKEN_FILE: stat " + file + ": no such file or directory"; err == nil || err.Error() != want || got.IdentityProvider != "cluster" {
		t.Errorf("got %v, want %s", err, want)
	}
	for content, want := range map[string]string{"": "", "a.b.c": "a.b.c", "d.e.f\n": "d.e.f"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := cfg.OTC.Credentials(); err != nil || got.Secret.Reveal() != want || got.IdentityProvider != "cluster" || got.ProjectName != otctest.Project {
			t.Errorf("%q: got %+v, %q, %v", content, got, got.Secret.Reveal(), err)
		}
	}
}

func TestBlanksAroundAPassword(t *testing.T) {
	for value, warnings := range map[string]int{"hush": 0, " hush": 1, "hush\u00a0\n": 1, "hu sh": 0} {
		cfg, problems := config.Read(required(t).with("OS_PASSWORD", value).get)
		if len(problems) > 0 || len(cfg.Warnings) != warnings || strings.Contains(strings.Join(cfg.Warnings, ""), "hush") {
			t.Errorf("%q: warnings %q, problems %q; want %d warnings", value, cfg.Warnings, problems, warnings)
		}
	}
}

func TestValues(t *testing.T) {
	base := required(t)
	const endpoint = "https://gateway.example.com:8443/otc/v1"
	cloud := httptest.NewTLSServer(nil)
	defer cloud.Close()
	ca := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cloud.Certificate().Raw})))
	for name, tt := range map[string]struct {
		env  environ
		want []any
	}{
		"defaults": {base.with("OS_AUTH_URL", "https://iam.eu-de.otc.t-systems.com"), []any{
			"https://iam.eu-de.otc.t-systems.com/v3", otctest.User, otctest.Account, otctest.Project, "", false, "", "[" + otctest.TableID + "]",
			"[10.128.0.0/14]", 8080, 5 * time.Second, 15 * time.Minute, false, slog.LevelInfo, "text",
			"[{OS_PROJECT_NAME " + otctest.Project + "} {OS_REGION_NAME eu-de} {ROUTE_TABLE_ID " + otctest.TableID + "} {CLUSTER_CIDR 10.128.0.0/14} " +
				"{KUBE_OWN_NODE false} {DRY_RUN false} {DRIFT_CHECK_INTERVAL 15m} {DRIFT_REPAIR false} {ORPHAN_CLEANUP false}]", ""}},
		"as people write": {base.with("OS_AUTH_URL", base["OS_AUTH_URL"]+"/\n", "OS_USERNAME", " u\t", "OS_DOMAIN_NAME", " d\n", "OS_PROJECT_NAME", "p ",
			"OS_PROJECT_ID", strings.ToUpper(otctest.ProjectID), "OS_CACERT", ca, "OTC_VPC_ENDPOINT", endpoint+"/", "ROUTE_TABLE_ID", " "+strings.ToUpper(otctest.TableID)+" ",
			"CLUSTER_CIDR", "10.128.0.0/14 , fd01::/48", "METRICS_PORT", " 9", "STARTUP_JITTER", "24h", "DRIFT_CHECK_INTERVAL", "10s", "DRY_RUN", "True\n", "KUBE_OWN_NODE", " True", "LOG_LEVEL", "WARN", "LOG_FORMAT", "JSON"), []any{
			"https://iam.eu-de.otc.t-systems.com/v3", "u", "d", "p", otctest.ProjectID, true, endpoint, "[" + otctest.TableID + "]",
			"[10.128.0.0/14 fd01::/48]", 9, 24 * time.Hour, 10 * time.Second, true, slog.LevelWarn, "json",
			"[{OS_PROJECT_NAME p} {OS_PROJECT_ID " + strings.ToUpper(otctest.ProjectID) + "} {OS_REGION_NAME eu-de} {ROUTE_TABLE_ID " + strings.ToUpper(otctest.TableID) + "} " +
				"{CLUSTER_CIDR 10.128.0.0/14 , fd01::/48} {KUBE_OWN_NODE True} {DRY_RUN True} {DRIFT_CHECK_INTERVAL 10s} {DRIFT_REPAIR false} {ORPHAN_CLEANUP false}]", "system:node:" + base["NODE_NAME"]}},
	} {
		c, problems := config.Read(tt.env.get)
		if len(problems) > 0 {
			t.Errorf("%s: %q", name, problems)
			continue
		}
		login, _ := c.OTC.Credentials()
		got := []any{c.OTC.AuthURL, login.User, login.Account, login.ProjectName, login.ProjectID, c.OTC.RootCAs != nil, c.OTC.VPCEndpoint, fmt.Sprint(c.Node.Tables),
			fmt.Sprint(c.OTC.Allowed), c.Port, c.Node.StartupJitter, c.Node.DriftInterval, c.Node.DryRun, c.LogLevel, c.LogFormat, fmt.Sprint(c.Shown), c.Kube.Impersonate.UserName}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s:\ngot  %v\nwant %v", name, got, tt.want)
		}
	}
}

// TestPrivateCA: the file's certificates are added to the system's, so that the cloud's
// public endpoints stay trusted.
func TestPrivateCA(t *testing.T) {
	cloud := httptest.NewTLSServer(nil)
	defer cloud.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cloud.Certificate().Raw})
	want, err := x509.SystemCertPool()
	if err != nil || !want.AppendCertsFromPEM(ca) {
		t.Fatal(err)
	}
	cfg, problems := config.Read(required(t).with("OS_CACERT", write(t, "ca.pem", string(ca))).get)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if got, err := cfg.OTC.RootCAs(); err != nil || !got.Equal(want) {
		t.Errorf("got other roots than the system's and the file's, %v", err)
	}
}

// TestProxy asks net/http, which reads the environment once in a process and ignores
// what it cannot read: each value that is accepted is used.
func TestProxy(t *testing.T) {
	const child = "PROXY_CHILD"
	if os.Getenv(child) != "" {
		config.Prepare()
		r, _ := http.NewRequest("GET", "https://iam.eu-de.otc.t-systems.com/v3", nil)
		u, err := http.ProxyFromEnvironment(r)
		fmt.Printf("%v %v\n", u, err)
		os.Exit(0)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ env, want string }{
		{"HTTPS_PROXY=http://127.0.0.1:3128", "http://127.0.0.1:3128"},
		{"HTTPS_PROXY=http://127.0.0.1:3128\n", "http://127.0.0.1:3128"},
		{"HTTPS_PROXY=127.0.0.1:3128 \r", "http://127.0.0.1:3128"},
		{"https_proxy=http://127.0.0.1:3128\r\n", "http://127.0.0.1:3128"},
		{"HTTPS_PROXY=http://svc:p%23ss@proxy:3128/\n", "http://svc:p%23ss@proxy:3128/"},
		{"HTTPS_PROXY=socks5://[fd01::1]:1080", "socks5://[fd01::1]:1080"},
		{"HTTPS_PROXY=proxy\x00NO_PROXY=iam.eu-de.otc.t-systems.com\n", "<nil>"},
		{"HTTPS_PROXY=proxy\x00no_proxy=.t-systems.com\r\n", "<nil>"},
		{"HTTPS_PROXY=proxy\x00NO_PROXY=172.30.0.1, *.otc.t-systems.com", "<nil>"},
		{"HTTPS_PROXY=proxy\x00NO_PROXY=172.30.0.1,10.0.0.0/8", "http://proxy"},
	} {
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestProxy$")
		cmd.Env = append(strings.Split(tt.env, "\x00"), child+"=1")
		env := environ{}
		for _, e := range cmd.Env {
			name, value, _ := strings.Cut(e, "=")
			env[name] = value
		}
		_, problems := config.Read(env.get, "HTTPS_PROXY", "NO_PROXY")
		out, err := cmd.CombinedOutput()
		if got := string(out); err != nil || got != tt.want+" <nil>\n" || len(problems) > 0 {
			t.Errorf("%q: got %q, %v, problems %q; want the proxy %s", tt.env, got, err, problems, tt.want)
		}
	}
}

// TestPlaceholders: whatever manifests.yaml has where a value belongs is refused.
func TestPlaceholders(t *testing.T) {
	manifests, err := os.ReadFile("../../manifests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^#? *([A-Z_]+): (your-[a-z-]+|REPLACE)\b`).FindAllStringSubmatch(string(manifests), -1)
	if len(found) < 6 {
		t.Fatalf("manifests.yaml has %q", found)
	}
	for _, m := range found {
		if _, problems := config.Read(environ{m[1]: m[2]}.get, m[1]); len(problems) != 1 || !strings.Contains(problems[0], "placeholder "+m[2]) {
			t.Errorf("%s=%s: got %q", m[1], m[2], problems)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("https://iam.eu-de.otc.t-systems.com/v3", "10.128.0.0/14,fd01::/48", otctest.TableID, "15m", "8080")
	f.Add("http://127.0.0.1:5000", "0.0.0.0/0", "x,y", "-1s", "99999")
	f.Add("https://user:secret@host", "::ffff:10.0.0.0/104", ",", "0", "")
	f.Fuzz(func(t *testing.T, url, cidr, table, interval, port string) {
		env := environ{"OS_AUTH_URL": url, "CLUSTER_CIDR": cidr, "ROUTE_TABLE_ID": table, "DRIFT_CHECK_INTERVAL": interval, "METRICS_PORT": port,
			"OS_USERNAME": "u", "OS_PASSWORD": "p4ssw0rd", "OS_DOMAIN_NAME": "d", "OS_PROJECT_NAME": "p", "OS_REGION_NAME": "r", "NODE_NAME": "n", "KUBECONFIG": "/nonexistent"}
		c, problems := config.Read(env.get)
		if strings.Contains(strings.Join(problems, "\n"), "p4ssw0rd") && !strings.Contains(url+cidr+table+interval+port, "p4ssw0rd") {
			t.Error("the report shows the password")
		}
		if len(problems) > 1 { // the kubeconfig is always one
			return
		}
		for i, p := range c.Node.Ranges {
			if p != p.Masked() || p.Bits() == 0 || slices.ContainsFunc(c.Node.Ranges[:i], p.Overlaps) {
				t.Errorf("CLUSTER_CIDR %q gives %v", cidr, c.Node.Ranges)
			}
		}
		if len(c.Node.Ranges) == 0 || len(c.Node.Tables) == 0 || !strings.HasSuffix(c.OTC.AuthURL, "/v3") || c.Port < 1 || c.Node.DriftInterval < 0 {
			t.Errorf("accepted: %+v %v %d", c.Node, c.OTC.AuthURL, c.Port)
		}
	})
}

// FuzzCredentials: a value means the same in the environment and in a file, and
// what comes out is a part of it that stays as it is when it is read once more.
func FuzzCredentials(f *testing.F) {
	for _, bad := range configtest.BadValues() {
		f.Add(bad.Value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		file := write(t, "value", value)
		both := func(env environ) (string, string, error) {
			env = env.with("OS_DOMAIN_NAME", "d", "OS_PROJECT_NAME", "p")
			c, _ := config.Read(env.get, "secret")
			login, err := c.OTC.Credentials()
			return login.User, login.Secret.Reveal(), err
		}
		user, password, err := both(environ{"OS_USERNAME": value, "OS_PASSWORD": value})
		fileUser, filePassword, fileErr := both(environ{"OS_USERNAME_FILE": file, "OS_PASSWORD_FILE": file})
		if user != fileUser || password != filePassword || (err == nil) != (fileErr == nil) {
			t.Errorf("%q: %q and %q, in a file %q and %q (%v, %v)", value, user, password, fileUser, filePassword, err, fileErr)
		}
		if err != nil {
			return // one of the two is refused, and so nothing is sent
		}
		again, same, _ := both(environ{"OS_USERNAME": user, "OS_PASSWORD": password})
		if user != again || password != same || !strings.Contains(value, password) || user != strings.TrimSpace(password) {
			t.Errorf("%q: %q and %q, once more %q and %q", value, user, password, again, same)
		}
	})
}
