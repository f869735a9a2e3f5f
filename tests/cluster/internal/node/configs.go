package node

import (
	"embed"
	"path/filepath"
	"strings"
	"text/template"

	"strongroom.dev/cluster/internal/state"
)

//go:embed templates
var templates embed.FS

//go:embed manifests
var manifests embed.FS

// PauseImage is imported, never pulled: its name leads nowhere.
const PauseImage = "localhost/strongroom-pause:1"

// configFiles maps each template to where the parts expect it.
var configFiles = map[string]string{
	"containerd.toml": "etc/containerd.toml",
	"cni.conflist":    "cni/conf/10-pods.conflist",
	"kubelet.yaml":    "etc/kubelet.yaml",
	"admission.yaml":  "etc/admission.yaml",
	"audit.yaml":      "etc/audit.yaml",
	"Corefile":        "etc/Corefile",
}

func writeConfigs(c state.Cluster) error {
	values := map[string]string{"Dir": c.Dir, "Cgroup": c.Cgroup(), "PauseImage": PauseImage}
	for name, target := range configFiles {
		raw, err := templates.ReadFile("templates/" + name)
		if err != nil {
			return err
		}
		parsed, err := template.New(name).Parse(string(raw))
		if err != nil {
			return err
		}
		var text strings.Builder
		if err := parsed.Execute(&text, values); err != nil {
			return err
		}
		if err := writeFile(c.Path(target), text.String(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func dirOf(path string) string { return filepath.Dir(path) }
