package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"otc-route-manager/node/e2e/controlplane"
	"otc-route-manager/otc/otctest"
)

// TestPasswordRotated starts the program before there is a Secret: it reports what it lacks, and
// goes on when the Secret comes. Then the password changes in the cloud and, later, in the Secret. In
// between the program is refused, once. Then the same process logs in with the new one.
func TestPasswordRotated(t *testing.T) {
	t.Parallel()
	const fresh = "another-invented-password"
	plane := startPlane(t, controlplane.Config{})
	install(t, plane)
	w := newWorker(t, plane, newCloud(t), 1, "10.128.2.0/23")
	files := filepath.Join(w.folder(), "secret")
	w.launch(nil, binary, w.kubeconfig(plane.Address()), "OS_USERNAME_FILE="+filepath.Join(files, "OS_USERNAME"), "OS_PASSWORD_FILE="+filepath.Join(files, "OS_PASSWORD"))
	t.Cleanup(w.end)
	eventually(t, 10*time.Second, func(context.Context) error {
		if !hasParts(w.Output(), "could not log in: iam login: OS_USERNAME_FILE: stat "+files+"…no such file…make create-secrets sets it (and 1 more)") {
			return errors.New("it is not reported that the Secret is missing")
		}
		return nil
	})
	w.storePassword(otctest.Password)
	w.mount(1)
	w.routed(time.Minute, "10.128.2.0/23")

	w.cloud.SetPassword(fresh)
	w.cloud.RevokeTokens()
	w.annotate("10.131.6.0/23")
	eventually(t, 10*time.Second, func(context.Context) error {
		if w.cloud.Count(otctest.OpLogin) != 2 {
			return errors.New("the program has not tried to log in again")
		}
		return nil
	})
	w.storePassword(fresh)
	w.mount(2)
	w.routed(90*time.Second, "10.131.6.0/23")
	if n := w.cloud.Count(otctest.OpLogin); n != 3 {
		t.Errorf("%d logins, want 3: the first, the refused one, and one with the new password", n)
	}
}

// storePassword puts user and password into the Secret.
func (w *worker) storePassword(password string) {
	w.t.Helper()
	secret := `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"` + secretName + `","namespace":"` + namespace + `"},
		"stringData":{"OS_USERNAME":"` + otctest.User + `","OS_PASSWORD":"` + password + `"}}`
	if out := w.plane.Kubectl(w.t.Context(), secret, "apply", "-f", "-"); out.Code != 0 {
		w.t.Fatal(out.Stderr)
	}
}

// mount shows the Secret's keys as files in the folder "secret" the way a kubelet does: a new
// version is a new folder, and one link is moved to it.
func (w *worker) mount(version int) {
	w.t.Helper()
	secret, err := w.plane.Client().CoreV1().Secrets(namespace).Get(w.t.Context(), secretName, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	folder := filepath.Join(w.folder(), "secret")
	data := filepath.Join(folder, "..version"+string(rune('0'+version)))
	err = os.MkdirAll(data, 0o755)
	for name, value := range secret.Data {
		err = errors.Join(err, os.WriteFile(filepath.Join(data, name), value, 0o444))
		if version == 1 {
			err = errors.Join(err, os.Symlink(filepath.Join("..data", name), filepath.Join(folder, name)))
		}
	}
	next := filepath.Join(folder, "..next")
	if err := errors.Join(err, os.Symlink(filepath.Base(data), next), os.Rename(next, filepath.Join(folder, "..data"))); err != nil {
		w.t.Fatal(err)
	}
}
