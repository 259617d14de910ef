package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"otc-route-manager/otc/otctest"
)

// TestDryRun: nothing is sent, by password or ID token, and each call is listed; what is
// wrong with the settings is reported at once.
func TestDryRun(t *testing.T) {
	var sent atomic.Int32
	iam := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { sent.Add(1) }))
	defer iam.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	password := "OS_USERNAME=a OS_PASSWORD=b OS_DOMAIN_NAME=c"
	for settings, want := range map[string]string{
		password: "   1  POST " + iam.URL + "/v3/auth/tokens\n",
		"OS_IDENTITY_PROVIDER=cluster-1 OS_ID_TOKEN_FILE=" + token: "   1  POST " + iam.URL + "/v3.0/OS-AUTH/id-token/tokens\n",
		password + " LIVE_CIDR=10.0.0.0/8":                         "LIVE_CIDR: want",
		password + " OS_PASSWORD=":                                 "OS_PASSWORD is missing",
	} {
		env := map[string]string{"OS_AUTH_URL": iam.URL, "OS_REGION_NAME": "eu-de", "OS_PROJECT_NAME": "eu-de_x", "DRY_RUN": "true",
			"LIVE_ROUTE_TABLE": "3d5e7f90-1a2b-4c3d-8e4f-5a6b7c8d9e0f", "LIVE_INSTANCE": otctest.TableID, "LIVE_CIDR": "10.99.0.0/24"}
		for _, s := range strings.Fields(settings) {
			name, value, _ := strings.Cut(s, "=")
			env[name] = value
		}
		var out bytes.Buffer
		err := run(t.Context(), func(name string) string { return env[name] }, &out, &out)
		if err != nil {
			out.WriteString(err.Error())
		}
		if !strings.Contains(out.String(), want) || strings.HasPrefix(want, " ") != strings.Contains(out.String(), "\nat the end\n") {
			t.Errorf("%s: got %s", settings, out.String())
		}
	}
	if n := sent.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
