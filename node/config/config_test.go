package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"otc-route-manager/otc/otctest"
)

// environ has all that is required, and nothing else.
func environ(t *testing.T) map[string]string {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	write(t, kubeconfig, "apiVersion: v1\nkind: Config\ncurrent-context: t\ncontexts: [{name: t, context: {cluster: t}}]\nclusters: [{name: t, cluster: {server: 'http://127.0.0.1:1'}}]\n")
	return map[string]string{
		"OS_AUTH_URL": "https://iam.eu-de.otc.t-systems.com/v3", "OS_REGION_NAME": "eu-de", "OS_DOMAIN_NAME": otctest.Account,
		"OS_PROJECT_NAME": otctest.Project, "OS_USERNAME": otctest.User, "OS_PASSWORD": otctest.Password,
		"ROUTE_TABLE_ID": otctest.TableID, "CLUSTER_CIDR": "10.128.0.0/14", "NODE_NAME": "worker-1", "KUBECONFIG": kubeconfig,
	}
}

func getenv(env map[string]string) func(string) string {
	return func(name string) string { return env[name] }
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	env := environ(t)
	dir := t.TempDir()
	for _, name := range []string{"OS_USERNAME", "OS_PASSWORD", "OS_DOMAIN_NAME", "OS_PROJECT_NAME", "OS_AUTH_URL", "OS_REGION_NAME", "ROUTE_TABLE_ID"} {
		path := filepath.Join(dir, name)
		write(t, path, env[name]+"\n")
		env[name+"_FILE"] = path
		delete(env, name)
	}
	s, problems := Read(getenv(env))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if s.OTC.DomainName != otctest.Account || s.Node.Tables[0] != otctest.TableID {
		t.Errorf("got %q and %v", s.OTC.DomainName, s.Node.Tables)
	}
	write(t, env["OS_PASSWORD_FILE"], "rotated\n")
	if user, password, err := s.OTC.Credentials(); err != nil || user != otctest.User || password.Reveal() != "rotated" {
		t.Errorf("after a rotation: got %q, %q, %v", user, password.Reveal(), err)
	}
	if err := os.Remove(env["OS_PASSWORD_FILE"]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.OTC.Credentials(); err == nil || !strings.Contains(err.Error(), "OS_PASSWORD_FILE") {
		t.Errorf("without the file: got %v", err)
	}
	if _, problems := Read(getenv(env)); len(problems) != 1 || !strings.HasPrefix(problems[0], "OS_PASSWORD_FILE: ") {
		t.Errorf("a missing file: got %q, want one problem", problems)
	}
}

func TestDefaults(t *testing.T) {
	env := environ(t)
	env["OS_AUTH_URL"] = "https://iam.eu-de.otc.t-systems.com"
	s, problems := Read(getenv(env))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	got := strings.TrimSpace(fmt.Sprintln(s.OTC.AuthURL, s.Port, s.Node.StartupJitter, s.Node.DriftInterval, s.Node.DriftRepair, s.Node.DryRun, s.Node.OrphanCleanup, s.LogLevel, s.LogFormat))
	if want := "https://iam.eu-de.otc.t-systems.com/v3 8080 5s 15m0s false false false INFO text"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("https://iam.eu-de.otc.t-systems.com/v3", "10.128.0.0/14,fd01::/48", otctest.TableID, "15m", "8080")
	f.Add("http://127.0.0.1:5000", "0.0.0.0/0", "x,y", "-1s", "99999")
	f.Add("https://user:secret@host", "::ffff:10.0.0.0/104", ",", "0", "")
	f.Fuzz(func(t *testing.T, url, cidr, table, interval, port string) {
		env := map[string]string{"OS_AUTH_URL": url, "CLUSTER_CIDR": cidr, "ROUTE_TABLE_ID": table, "DRIFT_CHECK_INTERVAL": interval, "METRICS_PORT": port,
			"OS_USERNAME": "u", "OS_PASSWORD": "p4ssw0rd", "OS_DOMAIN_NAME": "d", "OS_PROJECT_NAME": "p", "OS_REGION_NAME": "r", "NODE_NAME": "n", "KUBECONFIG": "/nonexistent"}
		s, problems := Read(getenv(env))
		if strings.Contains(strings.Join(problems, "\n"), "p4ssw0rd") && !strings.Contains(url+cidr+table+interval+port, "p4ssw0rd") {
			t.Error("the report shows the password")
		}
		if len(problems) > 1 { // the kubeconfig is always one
			return
		}
		for _, p := range s.Node.Ranges {
			if p != p.Masked() || p.Bits() == 0 {
				t.Errorf("CLUSTER_CIDR %q gives %v", cidr, p)
			}
		}
		if len(s.Node.Ranges) == 0 || len(s.Node.Tables) == 0 || !strings.HasSuffix(s.OTC.AuthURL, "/v3") || s.Port < 1 || s.Node.DriftInterval < 0 {
			t.Errorf("accepted: %+v %v %d", s.Node, s.OTC.AuthURL, s.Port)
		}
	})
}
