package programs

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Package is a Debian package and the file that shows that it is there.
type Package struct {
	Name  string
	Probe string // a command's name, or a path
	// Static asks for a binary without an interpreter: it has to run in an empty image.
	Static bool
}

// ForCluster is what a running cluster needs of the machine.
var ForCluster = []Package{
	{Name: "containerd", Probe: "containerd"},
	{Name: "runc", Probe: "runc"},
	{Name: "containernetworking-plugins", Probe: "/usr/lib/cni/bridge"},
	{Name: "iptables", Probe: "iptables"},
	{Name: "conntrack", Probe: "conntrack"},
	{Name: "iproute2", Probe: "ip"},
	{Name: "kmod", Probe: "modprobe"},
	{Name: "util-linux", Probe: "nsenter"},
	{Name: "mount", Probe: "mount"},
	{Name: "xfsprogs", Probe: "mkfs.xfs"},
	{Name: "btrfs-progs", Probe: "btrfs"},
	{Name: "e2fsprogs", Probe: "mkfs.ext4"},
	{Name: "busybox-static", Probe: "/bin/busybox", Static: true},
	{Name: "buildah", Probe: "buildah"},
}

// ForStorage is what the CSI driver needs of the machine.
var ForStorage = []Package{
	{Name: "util-linux", Probe: "losetup"},
	{Name: "mount", Probe: "mount"},
	{Name: "xfsprogs", Probe: "mkfs.xfs"},
	{Name: "btrfs-progs", Probe: "btrfs"},
	{Name: "e2fsprogs", Probe: "mkfs.ext4"},
}

// ForImages is what building images needs.
var ForImages = []Package{
	{Name: "buildah", Probe: "buildah"},
	{Name: "ca-certificates", Probe: "/etc/ssl/certs/ca-certificates.crt"},
}

// ForTestImage adds what goes into the test image.
var ForTestImage = append([]Package{
	{Name: "busybox-static", Probe: "/bin/busybox", Static: true},
	{Name: "attr", Probe: "getfattr"},
	{Name: "acl", Probe: "setfacl"},
}, ForImages...)

// ForVolsyncImage adds what VolSync's script calls.
var ForVolsyncImage = append([]Package{
	{Name: "bash", Probe: "bash"},
	{Name: "coreutils", Probe: "realpath"},
	{Name: "grep", Probe: "grep"},
	{Name: "mawk", Probe: "awk"},
}, ForImages...)

// Ensure installs what is missing where that is possible, and else names it with the command that does.
func Ensure(out io.Writer, packages []Package) error {
	// A user's PATH often lacks the folders of root's programs.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
	names := missingPackages(packages)
	if len(names) == 0 {
		return nil
	}
	hint := "apt-get update && apt-get install --no-install-recommends " + strings.Join(names, " ")
	if os.Geteuid() != 0 {
		return fmt.Errorf("missing on this machine: %s\ninstall as root: %s", strings.Join(names, " "), hint)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("missing on this machine: %s, and there is no apt-get to install them (on Debian: %s)",
			strings.Join(names, " "), hint)
	}
	fmt.Fprintf(out, "installing Debian packages: %s\n", strings.Join(names, " "))
	if err := install(names); err != nil {
		return fmt.Errorf("%w\ntry it by hand: %s", err, hint)
	}
	if left := missingPackages(packages); len(left) > 0 {
		return fmt.Errorf("installed, but still not found: %s", strings.Join(left, " "))
	}
	return nil
}

func missingPackages(packages []Package) []string {
	var names []string
	for _, p := range packages {
		if !p.present() {
			names = append(names, p.Name)
		}
	}
	return names
}

func (p Package) present() bool {
	path, err := exec.LookPath(p.Probe)
	if filepath.IsAbs(p.Probe) {
		_, err = os.Stat(p.Probe)
		path = p.Probe
	}
	return err == nil && (!p.Static || IsStatic(path))
}

// IsStatic tells whether a program runs without a dynamic linker, as in an empty image.
func IsStatic(path string) bool {
	file, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	for _, prog := range file.Progs {
		if prog.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}

// policy keeps dpkg from starting the services of what is installed: the host's containerd is none of our business.
const policy = "/usr/sbin/policy-rc.d"

func install(names []string) error {
	if _, err := os.Stat(policy); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
			return err
		}
		defer os.Remove(policy)
	}
	args := append([]string{"install", "-y", "--no-install-recommends"}, names...)
	if apt(args...) == nil {
		return nil
	}
	// The package lists are missing or old.
	if err := apt("update"); err != nil {
		return err
	}
	return apt(args...)
}

func apt(args ...string) error {
	cmd := exec.Command("apt-get", append([]string{"-q", "-o", "DPkg::Lock::Timeout=300"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if raw, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, tail(string(raw), 8))
	}
	return nil
}
