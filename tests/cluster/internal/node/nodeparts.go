package node

// What runs on a node: the container runtime, the kubelet, and the Services' addresses.

func (p parts) containerd() part {
	return part{name: "containerd", argv: []string{"containerd", "--config", p.cluster.Path("etc", "containerd.toml"), "--log-level", "warn"}}
}

func (p parts) kubelet() part {
	return part{name: "kubelet", argv: []string{
		p.program("kubelet"),
		"--config", p.cluster.Path("etc", "kubelet.yaml"),
		"--kubeconfig", p.kubeconfig("kubelet"),
		"--root-dir", kubeletDir,
		"--hostname-override", nodeName, "--node-ip", nodeIP,
	}}
}

func (p parts) kubeProxy() part {
	return part{name: "kube-proxy", argv: []string{
		p.program("kube-proxy"),
		"--kubeconfig", p.kubeconfig("kube-proxy"),
		"--hostname-override", nodeName,
		"--proxy-mode", "iptables", "--cluster-cidr", "10.244.0.0/24",
		// The zeros keep it from writing sysctls that belong to the host.
		"--conntrack-max-per-core=0", "--conntrack-min=0",
		"--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s",
	}}
}
