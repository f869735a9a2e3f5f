// Package programs builds what the cluster and the suites run, once, into a cache outside of the checkout.
package programs

import "slices"

// Group is what can be asked for on its own.
type Group string

// The groups. Only what is asked for is built.
const (
	Cluster    Group = "cluster"
	Sanity     Group = "sanity"
	Restic     Group = "restic"
	Helm       Group = "helm"
	Kubectl    Group = "kubectl"
	RestServer Group = "rest-server"
	Eso        Group = "eso"
	Volsync    Group = "volsync"
)

// Groups lists all of them, in the order in which they are built.
var Groups = []Group{Cluster, Sanity, Restic, Helm, Kubectl, RestServer, Eso, Volsync}

// KnownGroup tells whether a name is one of them.
func KnownGroup(name string) bool { return slices.Contains(Groups, Group(name)) }

// program is one binary: a package of the module that pins its version.
type program struct {
	name    string
	pkg     string
	module  string   // folder with go.mod, from the root of the checkout
	sources []string // folders of our own that the binary is made of; they are part of the cache key
	beside  []files  // what is laid beside the binary
}

// files are inside a module, and go into a folder of this name.
type files struct{ folder, module, pattern string }

const (
	// definitions is the folder beside a program that has the definitions of its kinds.
	definitions = "crds"
	// scripts is the folder beside a program that has what its images run.
	scripts = "scripts"
)

const (
	clusterModule = "tests/cluster"
	esoModule     = "tests/peers/eso"
	eso           = "github.com/external-secrets/external-secrets"
	volsyncModule = "tests/peers/volsync"
	volsync       = "github.com/backube/volsync"
	// kubeVersion is what the programs report; it must match go.mod.
	kubeVersion = "v1.36.4"
)

var table = map[Group][]program{
	Cluster: {
		{name: "kube-apiserver", pkg: "k8s.io/kubernetes/cmd/kube-apiserver", module: clusterModule},
		{name: "kube-controller-manager", pkg: "k8s.io/kubernetes/cmd/kube-controller-manager", module: clusterModule},
		{name: "kube-scheduler", pkg: "k8s.io/kubernetes/cmd/kube-scheduler", module: clusterModule},
		{name: "kubelet", pkg: "k8s.io/kubernetes/cmd/kubelet", module: clusterModule},
		{name: "kube-proxy", pkg: "k8s.io/kubernetes/cmd/kube-proxy", module: clusterModule},
		kubectl,
		{name: "etcd", pkg: "go.etcd.io/etcd/server/v3", module: clusterModule},
		{name: "csi-provisioner", pkg: "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner", module: clusterModule},
		{name: "csi-attacher", pkg: "github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher", module: clusterModule},
		{name: "csi-snapshotter", pkg: "github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter", module: clusterModule},
		{name: "snapshot-controller", pkg: "github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller", module: clusterModule},
		csiDriver,
		{name: "coredns", pkg: ".", module: clusterModule + "/coredns", sources: []string{clusterModule + "/coredns"}},
	},
	Sanity: {
		csiDriver,
		{name: "csi-sanity", pkg: "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity", module: clusterModule},
	},
	Restic:     {{name: "restic", pkg: "github.com/restic/restic/cmd/restic", module: "image"}},
	Helm:       {{name: "helm", pkg: "helm.sh/helm/v4/cmd/helm", module: clusterModule + "/helm"}},
	Kubectl:    {kubectl},
	RestServer: {{name: "rest-server", pkg: "github.com/restic/rest-server/cmd/rest-server", module: clusterModule + "/rest-server"}},
	Eso: {{
		name: "external-secrets", pkg: eso, module: esoModule, sources: []string{esoModule},
		beside: []files{{definitions, eso, "config/crds/bases/*external-secrets.io_*.yaml"}},
	}},
	Volsync: {{
		name: "volsync", pkg: volsync + "/cmd", module: volsyncModule,
		beside: []files{{definitions, volsync, "config/crd/bases/*.yaml"}, {scripts, volsync, "mover-restic/entry.sh"}},
	}},
}

var kubectl = program{
	name: "kubectl", pkg: "k8s.io/kubernetes/cmd/kubectl", module: clusterModule,
	beside: []files{{definitions, "github.com/kubernetes-csi/external-snapshotter/client/v8", "config/crd/*.k8s.io_*.yaml"}},
}

// csiDriver is ours, so its cache key holds its sources too.
var csiDriver = program{
	name: "csi-driver", pkg: "./cmd/csi-driver", module: clusterModule,
	sources: []string{clusterModule + "/csi", clusterModule + "/cmd/csi-driver", clusterModule + "/internal/fault"},
}
