package node

import (
	"fmt"
	"path/filepath"
)

// storageKind is one of the two drivers: the same program, with another name and another file system.
type storageKind struct {
	kind   string // rbd or cephfs
	driver string
	port   int // the first of three for the sidecars' health endpoints; they have no others to share
}

var storageKinds = []storageKind{
	{kind: "rbd", driver: "rook-ceph.rbd.csi.ceph.com", port: 9810},
	{kind: "cephfs", driver: "rook-ceph.cephfs.csi.ceph.com", port: 9820},
}

func (k storageKind) socket() string {
	return filepath.Join(kubeletDir, "plugins", k.driver, "csi.sock")
}

func (p parts) csiDriver(k storageKind) part {
	return part{name: "csi-driver-" + k.kind, argv: []string{
		p.program("csi-driver"),
		"--kind", k.kind, "--name", k.driver, "--node", nodeName,
		"--socket", k.socket(),
		"--root", p.cluster.Path("csi", k.kind),
		"--registration", filepath.Join(kubeletDir, "plugins_registry", k.driver+"-reg.sock"),
		"--faults", p.cluster.Path("faults", k.driver+".json"),
	}}
}

func (p parts) sidecar(k storageKind, program string, offset int, flags ...string) part {
	argv := []string{
		p.program(program),
		"--kubeconfig", p.kubeconfig("csi-" + k.kind),
		"--csi-address", k.socket(),
		"--http-endpoint", fmt.Sprintf("127.0.0.1:%d", k.port+offset),
		// A test that clears a fault should not wait for minutes until it is tried again.
		"--retry-interval-start", "500ms", "--retry-interval-max", "5s",
		"--kube-api-qps", "100", "--kube-api-burst", "200",
	}
	return part{
		name: program + "-" + k.kind,
		argv: append(argv, flags...),
		env:  []string{"POD_NAMESPACE=kube-system"},
	}
}

func (p parts) provisioner(k storageKind) part {
	return p.sidecar(k, "csi-provisioner", 0,
		// The driver learns the claim's name this way, and faults are told by claim.
		"--extra-create-metadata", "--feature-gates=Topology=false", "--timeout", "30s",
		"--default-fstype", "ext4")
}

func (p parts) attacher(k storageKind) part {
	return p.sidecar(k, "csi-attacher", 1, "--timeout", "30s")
}

func (p parts) snapshotter(k storageKind) part {
	return p.sidecar(k, "csi-snapshotter", 2,
		"--extra-create-metadata", "--feature-gates=CSIVolumeGroupSnapshot=true", "--timeout", "30s")
}

func (p parts) snapshotController() part {
	return part{name: "snapshot-controller", argv: []string{
		p.program("snapshot-controller"),
		"--kubeconfig", p.kubeconfig("snapshot-controller"),
		"--feature-gates=CSIVolumeGroupSnapshot=true",
		"--http-endpoint", "127.0.0.1:9830",
		"--retry-interval-start", "500ms", "--retry-interval-max", "5s",
	}}
}
