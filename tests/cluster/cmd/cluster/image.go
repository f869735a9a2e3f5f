package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"strongroom.dev/cluster/internal/image"
	"strongroom.dev/cluster/internal/programs"
	"strongroom.dev/cluster/internal/state"
)

// maxReleaseSize is the promise about the operator's image, as it is pulled.
const maxReleaseSize = 25_000_000

type imageFlags struct {
	kind, binary, connect, version, image, output string
}

func buildImage(args []string) error {
	var f imageFlags
	_, _, err := parse("build-image", args, func(flags *flag.FlagSet) {
		flags.StringVar(&f.kind, "kind", "release", "release: the operator; test: the suites' helper image; volsync: what VolSync runs in its movers")
		flags.StringVar(&f.binary, "binary", "", "release: the static strongroom binary")
		flags.StringVar(&f.connect, "connect", "", "test: the static development Connect server (optional)")
		flags.StringVar(&f.version, "version", "dev", "release: version label and tag")
		flags.StringVar(&f.image, "image", "", "the image's name (default ghcr.io/strongroom/strongroom:VERSION or localhost/…:dev)")
		flags.StringVar(&f.output, "output", "", "the OCI archive to write (default: in the cache)")
	})
	if err != nil {
		return err
	}
	if err := requireRoot(); err != nil {
		return err
	}
	switch f.kind {
	case "release":
		return buildRelease(f)
	case "test":
		return buildTest(f)
	case "volsync":
		return buildVolsync(f)
	}
	return fmt.Errorf("--kind %q: there are release, test and volsync", f.kind)
}

func buildRelease(f imageFlags) error {
	if f.binary == "" {
		return errors.New("--binary PATH: the static strongroom binary")
	}
	if err := programs.Ensure(os.Stdout, programs.ForImages); err != nil {
		return err
	}
	if !programs.IsStatic(f.binary) {
		return fmt.Errorf("%s is not a static binary: it would not run in an empty image", f.binary)
	}
	if err := programs.Build(os.Stdout, programs.Restic); err != nil {
		return err
	}
	name, output, err := target(f, "ghcr.io/strongroom/strongroom:"+f.version, "strongroom.tar")
	if err != nil {
		return err
	}
	if err := image.Release(name, f.version, f.binary, output); err != nil {
		return err
	}
	size, err := report(name, output)
	if err == nil && size > maxReleaseSize {
		err = fmt.Errorf("%s is %.1f MB compressed, more than %d MB", name, float64(size)/1e6, maxReleaseSize/1_000_000)
	}
	return err
}

func buildTest(f imageFlags) error {
	if err := programs.Ensure(os.Stdout, programs.ForTestImage); err != nil {
		return err
	}
	if f.connect != "" && !programs.IsStatic(f.connect) {
		return fmt.Errorf("%s is not a static binary: it would not run in this image", f.connect)
	}
	if err := programs.Build(os.Stdout, programs.RestServer); err != nil {
		return err
	}
	// localhost: a name that no node can take for one to pull.
	name, output, err := target(f, "localhost/strongroom-test:dev", "strongroom-test.tar")
	if err != nil {
		return err
	}
	if err := image.Test(name, f.connect, output); err != nil {
		return err
	}
	_, err = report(name, output)
	return err
}

func buildVolsync(f imageFlags) error {
	if err := programs.Ensure(os.Stdout, programs.ForVolsyncImage); err != nil {
		return err
	}
	if err := programs.Build(os.Stdout, programs.Restic, programs.Volsync); err != nil {
		return err
	}
	name, output, err := target(f, "localhost/volsync-mover:dev", "volsync-mover.tar")
	if err != nil {
		return err
	}
	if err := image.Volsync(name, output); err != nil {
		return err
	}
	_, err = report(name, output)
	return err
}

func target(f imageFlags, name, file string) (string, string, error) {
	if f.image != "" {
		name = f.image
	}
	if f.output != "" {
		output, err := filepath.Abs(f.output)
		return name, output, err
	}
	cache, err := state.Cache()
	return name, filepath.Join(cache, "images", file), err
}

func report(name, output string) (int64, error) {
	size, err := image.PulledSize(output)
	if err != nil {
		return 0, err
	}
	fmt.Printf("%s is in %s: %.1f MB compressed\n", name, output, float64(size)/1e6)
	return size, nil
}
