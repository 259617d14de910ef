package controlplane

import (
	_ "embed"
	"fmt"
	"os"
	"slices"
)

//go:embed kwok.yaml
var heartbeat []byte

// inRoot runs the rest of its arguments in a mount namespace whose root folder, $0, has all that
// the machine's has and one more program, $1.
const inRoot = `mount -t tmpfs none "$0" || exit
for d in /*; do
	if [ -L "$d" ]; then cp -P "$d" "$0$d"; elif [ -d "$d" ]; then mkdir "$0$d" && mount --rbind "$d" "$0$d"; fi || exit
done
cp "$1" "$0/" && shift && exec chroot "$0" "$@"`

// KubeletHost is where the fake kubelets listen. The API server asks a Node for logs and the like
// only if it has this address as its InternalDNS, whatever its InternalIP.
const KubeletHost = "localhost"

// startKwok starts the fake kubelets.
func (c *ControlPlane) startKwok() error {
	stages, err := os.ReadFile(c.cfg.Programs.Path(kwokStages))
	if err != nil {
		return err
	}
	all := slices.Concat(stages, heartbeat, []byte(c.cfg.KwokConfig))
	if err := os.WriteFile(c.file("kwok.yaml"), all, 0o644); err != nil {
		return err
	}
	command, err := c.rooted([]string{c.cfg.Programs.Path("kwok"),
		"--kubeconfig", c.Kubeconfig(),
		"--config", c.file("kwok.yaml"),
		"--manage-all-nodes",
		"--node-port", fmt.Sprint(c.kwokPort),
		"--server-address", fmt.Sprintf("127.0.0.1:%d", c.kwokPort),
		"--tls-cert-file", c.file("pki/kubelet.crt"),
		"--tls-private-key-file", c.file("pki/kubelet.key"),
		"--node-lease-duration-seconds", "40"})
	if err != nil {
		return err
	}
	kwok, err := StartProcess(c.cfg.Dir, "kwok", nil, command[0], command[1:]...)
	if err != nil {
		return err
	}
	c.others = append(c.others, kwok)
	return nil
}

// rooted returns a command that runs command where PodProgram lies in the root folder.
func (c *ControlPlane) rooted(command []string) ([]string, error) {
	if c.cfg.PodProgram == "" {
		return command, nil
	}
	root := c.file("root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	return slices.Concat(Unshare(), []string{"sh", "-c", inRoot, root, c.cfg.PodProgram}, command), nil
}

// Unshare returns the beginning of a command line that runs the rest in a mount namespace of its
// own, where it may mount. The process stays the same one.
func Unshare() []string {
	if os.Geteuid() == 0 {
		return []string{"/usr/bin/unshare", "--mount"}
	}
	return []string{"/usr/bin/unshare", "--mount", "--map-root-user"}
}
