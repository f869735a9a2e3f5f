package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"strongroom.dev/cluster/internal/state"
)

const (
	nodeName   = "n1"
	nodeIP     = "10.0.0.1"
	serviceIP  = "10.96.0.1" // the first address of the Service range is the API server's
	kubeletDir = "/var/lib/kubelet"
)

// prepareMounts gives the node folders of its own where programs insist on fixed paths.
func prepareMounts(c state.Cluster) error {
	if err := unix.Sethostname([]byte(nodeName)); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.MkdirAll("/run/lock", 0o755); err != nil {
		return err
	}
	binds := map[string]string{
		kubeletDir:            c.Path("kubelet"),
		"/var/lib/cni":        c.Path("cni", "state"),
		"/var/log/containers": c.Path("logs", "containers"),
	}
	for target, source := range binds {
		if err := bindFolder(source, target); err != nil {
			return err
		}
	}
	// Without this, what CSI mounts below it does not reach the pods.
	if err := unix.Mount("", kubeletDir, "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share %s: %w", kubeletDir, err)
	}
	hosts := fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", nodeIP, nodeName)
	if err := replaceFile(c, "/etc/hosts", hosts); err != nil {
		return err
	}
	resolv := fmt.Sprintf("nameserver %s\nsearch svc.cluster.local cluster.local\n", nodeIP)
	return replaceFile(c, "/etc/resolv.conf", resolv)
}

// bindFolder leaves at most an empty folder behind on the host.
func bindFolder(source, target string) error {
	for _, dir := range []string{source, target} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", target, err)
	}
	return nil
}

// replaceFile shows other content under a path of /etc, for this mount namespace only.
func replaceFile(c state.Cluster, target, content string) error {
	// systemd makes resolv.conf a link into /run, which is ours: there a file can simply be written.
	if link, err := os.Readlink(target); err == nil {
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(target), link)
		}
		if strings.HasPrefix(link, "/run/") {
			if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
				return err
			}
			return os.WriteFile(link, []byte(content), 0o644)
		}
	}
	source := c.Path("etc", filepath.Base(target))
	if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(source, []byte(content), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", target, err)
	}
	return nil
}
