package node

import "strongroom.dev/cluster/internal/state"

// parts knows the command line of everything that the cluster consists of.
type parts struct {
	cluster state.Cluster
	config  state.Config
}

func (p parts) program(name string) string { return p.config.Programs[name] }

func (p parts) pki(name string) string { return p.cluster.Path("pki", name) }

func (p parts) kubeconfig(name string) string { return p.cluster.Path("kubeconfigs", name) }

func (p parts) etcd() part {
	return part{name: "etcd", argv: []string{
		p.program("etcd"),
		"--data-dir", p.cluster.Path("etcd"),
		"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
		"--listen-peer-urls", "http://127.0.0.1:2380", "--initial-advertise-peer-urls", "http://127.0.0.1:2380",
		"--initial-cluster", "default=http://127.0.0.1:2380",
		"--unsafe-no-fsync", "--log-level", "warn",
	}}
}

func (p parts) apiServer() part {
	return part{name: "kube-apiserver", argv: []string{
		p.program("kube-apiserver"),
		"--etcd-servers", "http://127.0.0.1:2379",
		"--bind-address", "0.0.0.0", "--advertise-address", nodeIP, "--secure-port", "6443",
		"--tls-cert-file", p.pki("apiserver.crt"), "--tls-private-key-file", p.pki("apiserver.key"),
		"--client-ca-file", p.pki("ca.crt"),
		"--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction",
		"--admission-control-config-file", p.cluster.Path("etc", "admission.yaml"),
		"--allow-privileged",
		"--service-cluster-ip-range", "10.96.0.0/16",
		"--service-account-issuer", "https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file", p.pki("sa.pub"), "--service-account-signing-key-file", p.pki("sa.key"),
		"--kubelet-client-certificate", p.pki("apiserver-kubelet.crt"), "--kubelet-client-key", p.pki("apiserver-kubelet.key"),
		"--kubelet-certificate-authority", p.pki("ca.crt"),
		"--kubelet-preferred-address-types", "InternalIP",
		"--audit-policy-file", p.cluster.Path("etc", "audit.yaml"),
		// Blocking: a request is answered only when it is in the log, so a test that counts loses nothing.
		"--audit-log-path", p.cluster.AuditLog(), "--audit-log-format", "json", "--audit-log-mode", "blocking",
		"--audit-log-maxsize", "100000",
	}}
}

func (p parts) controllerManager() part {
	return part{name: "kube-controller-manager", argv: []string{
		p.program("kube-controller-manager"),
		"--kubeconfig", p.kubeconfig("kube-controller-manager"),
		"--authentication-kubeconfig", p.kubeconfig("kube-controller-manager"),
		"--authorization-kubeconfig", p.kubeconfig("kube-controller-manager"),
		"--use-service-account-credentials", "--service-account-private-key-file", p.pki("sa.key"),
		"--root-ca-file", p.pki("ca.crt"),
		"--bind-address", "127.0.0.1", "--leader-elect=false",
		// It makes a service account for each of its controllers first; by default it holds itself back.
		"--kube-api-qps", "200", "--kube-api-burst", "400",
	}}
}

func (p parts) scheduler() part {
	return part{name: "kube-scheduler", argv: []string{
		p.program("kube-scheduler"),
		"--kubeconfig", p.kubeconfig("kube-scheduler"),
		"--authentication-kubeconfig", p.kubeconfig("kube-scheduler"),
		"--authorization-kubeconfig", p.kubeconfig("kube-scheduler"),
		"--bind-address", "127.0.0.1", "--leader-elect=false",
	}}
}

func (p parts) coreDNS() part {
	return part{name: "coredns", argv: []string{p.program("coredns"), "-conf", p.cluster.Path("etc", "Corefile"), "-quiet"}}
}
