package programs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"strongroom.dev/cluster/internal/state"
)

// Root finds the checkout: STRONGROOM_ROOT, or the folder above the working directory that holds tests/cluster/go.mod.
func Root() (string, error) {
	if dir := os.Getenv("STRONGROOM_ROOT"); dir != "" {
		return dir, nil
	}
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, clusterModule, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no checkout of Strongroom at or above %s: go there, or set STRONGROOM_ROOT", start)
		}
	}
}

// Path is where a program lies in the cache, whether it is built or not.
func Path(name string) (string, error) {
	for _, group := range Groups {
		for _, p := range table[group] {
			if p.name == name {
				return p.path()
			}
		}
	}
	return "", fmt.Errorf("no program is named %q", name)
}

// Paths maps the names of a group's programs to their files.
func Paths(group Group) (map[string]string, error) {
	paths := map[string]string{}
	for _, p := range table[group] {
		path, err := p.path()
		if err != nil {
			return nil, err
		}
		paths[p.name] = path
	}
	return paths, nil
}

// BinFolders are the folders of the programs that are built already.
func BinFolders() ([]string, error) {
	var folders []string
	seen := map[string]bool{}
	for _, group := range Groups {
		paths, err := Paths(group)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			folder := filepath.Dir(path)
			if _, err := os.Stat(path); err == nil && !seen[folder] {
				seen[folder] = true
				folders = append(folders, folder)
			}
		}
	}
	slices.Sort(folders)
	return folders, nil
}

// CRDs is the folder in the cache with the snapshot CRDs.
func CRDs() (string, error) {
	path, err := Path("kubectl")
	if err != nil {
		return "", err
	}
	return beside(path, definitions), nil
}

// Script is a script that comes with a program, for one of its images.
func Script(program, name string) (string, error) {
	path, err := Path(program)
	if err != nil {
		return "", err
	}
	return filepath.Join(beside(path, scripts), name), nil
}

// beside is a folder that lies beside a program's.
func beside(path, folder string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(path)), folder)
}

func (p program) path() (string, error) {
	cache, err := state.Cache()
	if err != nil {
		return "", err
	}
	key, err := p.key()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, key, "bin", p.name), nil
}

// key changes when what the program is made of changes: the module's pins, and our own sources.
func (p program) key() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := addFile(sum, filepath.Join(root, p.module, name)); err != nil {
			return "", err
		}
	}
	for _, folder := range p.sources {
		if err := addFolder(sum, filepath.Join(root, folder)); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

func addFolder(w io.Writer, folder string) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") || !strings.HasSuffix(path, ".go") {
			return err
		}
		return addFile(w, path)
	})
}

func addFile(w io.Writer, path string) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is missing: is this a whole checkout?", path)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s %d\n", filepath.Base(path), len(raw))
	_, err = w.Write(raw)
	return err
}
