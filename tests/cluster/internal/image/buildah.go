// Package image builds the few images that the suites need, and the operator's own, without a registry.
package image

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// spec is one image to build: every file of context is available to the Containerfile.
type spec struct {
	name          string
	containerfile string
	context       string
	buildArgs     map[string]string
	output        string // an OCI archive
}

// acceptAll is the policy that buildah wants even where nothing is ever pulled.
const acceptAll = `{"default": [{"type": "insecureAcceptAnything"}]}`

// build runs buildah with storage of its own, which is gone afterwards.
func (s spec) build() error {
	work, err := os.MkdirTemp("", "strongroom-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	policy := filepath.Join(work, "policy.json")
	if err := os.WriteFile(policy, []byte(acceptAll), 0o644); err != nil {
		return err
	}
	storage := []string{"--storage-driver", "vfs", "--root", filepath.Join(work, "root"), "--runroot", filepath.Join(work, "run")}
	// The timestamp makes the same input give the same image.
	bud := append(storage, "bud", "--isolation", "chroot", "--timestamp", "0", "--signature-policy", policy,
		"-f", s.containerfile, "-t", s.name)
	for key, value := range s.buildArgs {
		bud = append(bud, "--build-arg", key+"="+value)
	}
	if err := buildah(append(bud, s.context)...); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.output), 0o755); err != nil {
		return err
	}
	tmp := s.output + ".tmp"
	os.Remove(tmp) // buildah adds to an archive that exists
	push := append(append([]string{}, storage...), "push", "--signature-policy", policy, s.name, "oci-archive:"+tmp+":"+s.name)
	if err := buildah(push...); err != nil {
		return err
	}
	return os.Rename(tmp, s.output)
}

func buildah(args ...string) error {
	if raw, err := exec.Command("buildah", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("buildah: %w\n%s", err, raw)
	}
	return nil
}

// PulledSize is what a node downloads for an OCI archive: its compressed layers and its configuration.
func PulledSize(archive string) (int64, error) {
	files := map[string][]byte{}
	file, err := os.Open(archive)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		if header.Size < 1<<20 { // manifests are small, layers are not needed here
			if files[filepath.Clean(header.Name)], err = io.ReadAll(reader); err != nil {
				return 0, err
			}
		}
	}
	type blob struct {
		Digest string
		Size   int64
	}
	var index struct{ Manifests []blob }
	if err := json.Unmarshal(files["index.json"], &index); err != nil || len(index.Manifests) != 1 {
		return 0, fmt.Errorf("%s is no OCI archive with one image (%v)", archive, err)
	}
	var manifest struct {
		Config blob
		Layers []blob
	}
	digest := index.Manifests[0].Digest
	if err := json.Unmarshal(files["blobs/sha256/"+digest[len("sha256:"):]], &manifest); err != nil {
		return 0, err
	}
	size := index.Manifests[0].Size + manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return size, nil
}
