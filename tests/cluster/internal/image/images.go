package image

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"strongroom.dev/cluster/internal/node"
	"strongroom.dev/cluster/internal/programs"
	"strongroom.dev/cluster/internal/state"
)

const busybox = "/bin/busybox"

// Pause builds, once, the image that holds a pod's namespaces. It only has to stay alive.
func Pause() (string, error) {
	cache, err := state.Cache()
	if err != nil {
		return "", err
	}
	raw, err := os.ReadFile(busybox)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	output := filepath.Join(cache, fmt.Sprintf("pause-%x.tar", sum[:8]))
	if _, err := os.Stat(output); err == nil {
		return output, nil
	}
	unlock, err := state.LockFile(filepath.Join(cache, "build.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	return output, withContext(func(context string) error {
		if err := copyFile(busybox, filepath.Join(context, "busybox")); err != nil {
			return err
		}
		containerfile := filepath.Join(context, "Containerfile")
		text := "FROM scratch\nCOPY busybox /bin/busybox\nENTRYPOINT [\"/bin/busybox\", \"sleep\", \"2147483647\"]\n"
		if err := os.WriteFile(containerfile, []byte(text), 0o644); err != nil {
			return err
		}
		return spec{name: node.PauseImage, containerfile: containerfile, context: context, output: output}.build()
	})
}

// Release builds the operator's image from a static binary, restic and the machine's CA certificates.
func Release(name, version, binary, output string) error {
	root, err := programs.Root()
	if err != nil {
		return err
	}
	restic, err := programs.Path("restic")
	if err != nil {
		return err
	}
	return withContext(func(context string) error {
		files := map[string]string{
			"strongroom":          binary,
			"restic":              restic,
			"ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt",
		}
		if err := copyFiles(context, files); err != nil {
			return err
		}
		if err := os.Mkdir(filepath.Join(context, "tmp"), 0o777); err != nil {
			return err
		}
		return spec{
			name: name, context: context, output: output,
			containerfile: filepath.Join(root, "image", "Containerfile"),
			buildArgs:     map[string]string{"VERSION": version},
		}.build()
	})
}

// Test builds the image of the suites' helpers: a shell, the tools that show what a volume holds, the
// development Connect server where one is given, and rest-server.
func Test(name, connect, output string) error {
	root, err := programs.Root()
	if err != nil {
		return err
	}
	restServer, err := programs.Path("rest-server")
	if err != nil {
		return err
	}
	return withContext(func(context string) error {
		bin := filepath.Join(context, "rootfs", "bin")
		files := map[string]string{"busybox": busybox, "rest-server": restServer}
		if connect != "" {
			files["connect"] = connect
		}
		if err := copyFiles(bin, files); err != nil {
			return err
		}
		if err := linkApplets(bin); err != nil {
			return err
		}
		if err := addTools(context, "getfattr", "setfattr", "getfacl", "setfacl"); err != nil {
			return err
		}
		return spec{
			name: name, context: context, output: output,
			containerfile: filepath.Join(root, "tests", "cluster", "Containerfile.test"),
		}.build()
	})
}

// addTools puts commands of this machine into an image, and the folder that they need.
func addTools(context string, tools ...string) error {
	for _, tool := range tools {
		if err := copyDynamic(tool, filepath.Join(context, "rootfs")); err != nil {
			return err
		}
	}
	return os.Mkdir(filepath.Join(context, "tmp"), 0o777)
}

// linkApplets gives each of busybox's commands a name of its own.
func linkApplets(bin string) error {
	raw, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return err
	}
	for _, applet := range strings.Fields(string(raw)) {
		if applet == "busybox" {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(bin, applet)); err != nil {
			return err
		}
	}
	return nil
}

// copyDynamic copies a program and the libraries that it is linked with: Debian has no static ones of these.
func copyDynamic(tool, rootfs string) error {
	path, err := exec.LookPath(tool)
	if err != nil {
		return err
	}
	raw, err := exec.Command("ldd", path).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", path, err)
	}
	files := map[string]string{filepath.Join("bin", tool): path}
	for _, field := range strings.Fields(string(raw)) {
		if strings.HasPrefix(field, "/") {
			files[field] = field
		}
	}
	return copyFiles(rootfs, files)
}

func withContext(use func(dir string) error) error {
	dir, err := os.MkdirTemp("", "strongroom-context-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return use(dir)
}

// copyFiles copies into dir: name there → source.
func copyFiles(dir string, files map[string]string) error {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		target := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := copyFile(files[name], target); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(source, target string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(target, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return err
}
