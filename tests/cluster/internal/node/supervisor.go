package node

import (
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"strongroom.dev/cluster/internal/state"
)

// Supervise starts everything in the order in which one part needs another, and then keeps it alive.
// It returns only when the start failed.
func Supervise(c state.Cluster) error {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	keeper := newKeeper(c)
	if err := start(c, keeper); err != nil {
		log.Printf("failed: %v", err)
		keeper.update(func(s *state.Status) { s.Phase, s.Error = state.Failed, err.Error() })
		return err
	}
	keeper.update(func(s *state.Status) { s.Phase, s.Step = state.Ready, "" })
	log.Printf("ready after %.1f s", time.Since(keeper.begin).Seconds())
	select {}
}

func start(c state.Cluster, k *keeper) error {
	k.step("folders, network, certificates")
	var config state.Config
	if err := state.ReadJSON(c.Path("config.json"), &config); err != nil {
		return err
	}
	if err := prepare(c, config); err != nil {
		return err
	}
	p := parts{cluster: c, config: config}

	k.step("etcd, container runtime, storage")
	k.keep(p.etcd())
	k.keep(p.containerd())
	for _, kind := range storageKinds {
		k.keep(p.csiDriver(kind))
	}
	imported := make(chan error, 1)
	go func() { imported <- importPause(config) }()
	if err := await("etcd", dial("tcp", "127.0.0.1:2379")); err != nil {
		return err
	}

	k.step("API server")
	k.keep(p.apiServer())
	api, err := newAPI(c)
	if err != nil {
		return err
	}
	if err := await("the API server", api.ready); err != nil {
		return err
	}

	k.step("controllers and node")
	k.keep(p.kubelet())
	k.keep(p.controllerManager())
	k.keep(p.scheduler())
	k.keep(p.kubeProxy())
	k.keep(p.coreDNS())
	if err := startStorage(k, p); err != nil {
		return err
	}
	if err := <-imported; err != nil {
		return err
	}

	k.step("waiting for the node")
	if err := await("the node", api.usable); err != nil {
		return err
	}
	return await("cluster DNS", dial("tcp", nodeIP+":53"))
}

func prepare(c state.Cluster, config state.Config) error {
	if err := serveProxy(os.NewFile(proxyFD, "proxy")); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	if err := prepareMounts(c); err != nil {
		return err
	}
	if err := prepareNetwork(); err != nil {
		return err
	}
	if err := writeConfigs(c); err != nil {
		return err
	}
	return writeIdentities(c, config.HostAddress)
}

// startStorage brings what storage consists of in the API, and what watches it.
func startStorage(k *keeper, p parts) error {
	// On a very slow machine a first request may time out.
	if err := await("the API for custom resources", func() error { return applyFile(p, p.config.CRDs, "") }); err != nil {
		return err
	}
	if err := await("the API for storage", func() error { return applyEmbedded(p, "storage.yaml") }); err != nil {
		return err
	}
	for _, kind := range storageKinds {
		k.keep(p.provisioner(kind))
		k.keep(p.attacher(kind))
	}
	// The CRDs take a moment until they are served.
	if err := await("the snapshot API", func() error { return applyEmbedded(p, "snapshots.yaml") }); err != nil {
		return err
	}
	k.keep(p.snapshotController())
	for _, kind := range storageKinds {
		k.keep(p.snapshotter(kind))
	}
	return nil
}

func applyEmbedded(p parts, name string) error {
	raw, err := manifests.ReadFile("manifests/" + name)
	if err != nil {
		return err
	}
	return applyFile(p, "-", string(raw))
}

// applyFile may be called again after it failed half way.
func applyFile(p parts, path, stdin string) error {
	return kubectl(p, stdin, "apply", "--server-side", "--validate=false", "-f", path)
}

func kubectl(p parts, stdin string, args ...string) error {
	cmd := exec.Command(p.program("kubectl"), append([]string{"--kubeconfig", p.cluster.InsideKubeconfig()}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if raw, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", args[0], err, raw)
	}
	return nil
}

// importPause puts the one image on the node without which no pod starts.
func importPause(config state.Config) error {
	if err := await("containerd", dial("unix", "/run/containerd/containerd.sock")); err != nil {
		return err
	}
	raw, err := exec.Command("ctr", "-n", "k8s.io", "images", "import", config.PauseImage).CombinedOutput()
	if err != nil {
		return fmt.Errorf("import the pause image: %w: %s", err, raw)
	}
	return nil
}

func dial(network, address string) func() error {
	return func() error {
		conn, err := net.DialTimeout(network, address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	}
}

// patience is long because a machine may be slow and busy; a part that dies is in the status meanwhile.
const patience = 5 * time.Minute

// await asks often, because every wait adds to the time until the cluster can be used.
func await(what string, ready func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s was not ready after %s: %w", what, patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
