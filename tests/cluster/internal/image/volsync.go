package image

import (
	"path/filepath"

	"strongroom.dev/cluster/internal/programs"
)

// volsyncTools is what VolSync's script calls besides restic, each from its Debian package.
var volsyncTools = []string{
	"bash", "awk", "basename", "cat", "cp", "cut", "date", "dirname", "grep", "ls", "mktemp", "realpath", "rm", "sleep",
	"sync", "timeout", "touch",
}

// Volsync builds the image of VolSync's movers: its own script as it lies in its module, and the restic that is pinned
// here.
func Volsync(name, output string) error {
	root, err := programs.Root()
	if err != nil {
		return err
	}
	restic, err := programs.Path("restic")
	if err != nil {
		return err
	}
	script, err := programs.Script("volsync", "entry.sh")
	if err != nil {
		return err
	}
	return withContext(func(context string) error {
		files := map[string]string{"bin/restic": restic, "etc/ssl/certs/ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt"}
		if err := copyFiles(filepath.Join(context, "rootfs"), files); err != nil {
			return err
		}
		if err := addTools(context, volsyncTools...); err != nil {
			return err
		}
		if err := copyFiles(context, map[string]string{"entry.sh": script}); err != nil {
			return err
		}
		return spec{
			name: name, context: context, output: output,
			containerfile: filepath.Join(root, "tests", "cluster", "Containerfile.volsync"),
		}.build()
	})
}
