// Package csi is a CSI driver that behaves as ceph-csi's two do where a backup operator can tell the
// difference, on files of one machine. As "rbd" its volumes are ext4 images that are cloned by reflink;
// as "cephfs" they are btrfs subvolumes.
package csi

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Config is what the command line says.
type Config struct {
	Kind string // rbd or cephfs
	Name string // the driver's name in the API
	Node string
	// Socket is where the driver listens.
	Socket string
	// Root holds the pool and the records.
	Root string
	// Registration is the socket on which the kubelet looks for new drivers; empty without a kubelet.
	Registration string
	// Faults is the file that tells which claims misbehave; empty for none.
	Faults string
	// ListSnapshots offers ListSnapshots, which ceph-csi does not: without it the external snapshotter
	// believes in any pre-provisioned handle, and such a snapshot shows no restoreSize.
	ListSnapshots bool
}

// Driver is one running driver.
type Driver struct {
	spec.UnimplementedIdentityServer
	spec.UnimplementedControllerServer
	spec.UnimplementedGroupControllerServer
	spec.UnimplementedNodeServer

	config  Config
	backend backend
	records *records
	busy    busy
	faults  *faults

	mu     sync.Mutex
	staged map[string]string  // volume id → staging path, of what is mounted for writing
	full   map[string]filling // volume id → what keeps it full
	// targets are the paths at which a volume is published on the node.
	targets map[string]map[string]bool
	// published remembers which node a volume was attached to.
	published map[string]string
}

// Run serves until it fails.
func Run(config Config) error {
	d := &Driver{
		config: config, faults: newFaults(config.Faults),
		staged: map[string]string{}, full: map[string]filling{}, published: map[string]string{},
		targets: map[string]map[string]bool{},
	}
	var err error
	if d.records, err = openRecords(filepath.Join(config.Root, "records")); err != nil {
		return err
	}
	pool := filepath.Join(config.Root, "pool")
	switch config.Kind {
	case "rbd":
		d.backend = &rbd{pool: pool}
	case "cephfs":
		d.backend = &cephfs{pool: pool}
	default:
		return fmt.Errorf("kind %q: there are rbd and cephfs", config.Kind)
	}
	if err := d.backend.open(filepath.Join(config.Root, "pool.img")); err != nil {
		return err
	}
	go d.keepFull(500 * time.Millisecond)
	failed := make(chan error, 2)
	go func() { failed <- d.serve(config.Socket) }()
	if config.Registration != "" {
		go func() { failed <- d.serveRegistration() }()
	}
	return <-failed
}

func (d *Driver) serve(socket string) error {
	listener, err := listen(socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(logCalls))
	spec.RegisterIdentityServer(server, d)
	spec.RegisterControllerServer(server, d)
	spec.RegisterGroupControllerServer(server, d)
	spec.RegisterNodeServer(server, d)
	log.Printf("%s (%s) listens on %s", d.config.Name, d.config.Kind, socket)
	return server.Serve(listener)
}

func listen(socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	return net.Listen("unix", socket)
}

// logCalls writes one line for each call that changes something or fails. Requests hold no secrets here.
func logCalls(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	begin := time.Now()
	resp, err := handler(ctx, req)
	method := filepath.Base(info.FullMethod)
	if err != nil {
		log.Printf("%s %v: %v (%s)", method, req, err, time.Since(begin).Round(time.Millisecond))
	} else if loud[method] {
		log.Printf("%s %v (%s)", method, req, time.Since(begin).Round(time.Millisecond))
	}
	return resp, err
}

var loud = map[string]bool{
	"CreateVolume": true, "DeleteVolume": true, "CreateSnapshot": true, "DeleteSnapshot": true, "ControllerExpandVolume": true,
	"CreateVolumeGroupSnapshot": true, "DeleteVolumeGroupSnapshot": true, "NodeStageVolume": true, "NodeUnstageVolume": true,
}

// registrar answers the kubelet, which finds drivers by their sockets.
type registrar struct {
	registration.UnimplementedRegistrationServer
	d *Driver
}

func (d *Driver) serveRegistration() error {
	listener, err := listen(d.config.Registration)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	registration.RegisterRegistrationServer(server, registrar{d: d})
	return server.Serve(listener)
}

func (r registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: r.d.config.Name,
		Endpoint: r.d.config.Socket, SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (r registrar) NotifyRegistrationStatus(_ context.Context, status *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		log.Printf("the kubelet did not register the driver: %s", status.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}
