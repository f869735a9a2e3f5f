package node

import (
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"os"

	"strongroom.dev/cluster/internal/state"
)

const (
	insideServer = "https://" + nodeIP + ":6443"
	masters      = "system:masters"
)

// clients are the identities of the parts. Each has a name of its own, so that the audit log tells them apart.
var clients = map[string]pkix.Name{
	"kube-controller-manager": {CommonName: "system:kube-controller-manager"},
	"kube-scheduler":          {CommonName: "system:kube-scheduler"},
	"kubelet":                 {CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"}},
	"kube-proxy":              {CommonName: "system:kube-proxy"},
	"coredns":                 {CommonName: "cluster:coredns", Organization: []string{masters}},
	"snapshot-controller":     {CommonName: "cluster:snapshot-controller", Organization: []string{masters}},
	"csi-rbd":                 {CommonName: "cluster:csi-rbd", Organization: []string{masters}},
	"csi-cephfs":              {CommonName: "cluster:csi-cephfs", Organization: []string{masters}},
}

// writeIdentities makes every certificate and kubeconfig of the cluster.
func writeIdentities(c state.Cluster, hostAddress string) error {
	ca, err := newAuthority(c.Path("pki"))
	if err != nil {
		return err
	}
	if err := ca.writeTokenKeys(); err != nil {
		return err
	}
	if err := writeServers(ca); err != nil {
		return err
	}
	for name, subject := range clients {
		p, err := ca.issue(subject, nil)
		if err != nil {
			return err
		}
		if err := writeKubeconfig(c.Path("kubeconfigs", name), insideServer, ca, p); err != nil {
			return err
		}
	}
	admin, err := ca.issue(pkix.Name{CommonName: "admin", Organization: []string{masters}}, nil)
	if err != nil {
		return err
	}
	if err := ca.write("admin", admin); err != nil {
		return err
	}
	if err := writeKubeconfig(c.InsideKubeconfig(), insideServer, ca, admin); err != nil {
		return err
	}
	return writeKubeconfig(c.Kubeconfig(), "https://"+hostAddress, ca, admin)
}

func writeServers(ca *authority) error {
	names := []string{"localhost", nodeName, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	apiServer, err := ca.issue(pkix.Name{CommonName: "kube-apiserver"}, names, "127.0.0.1", nodeIP, serviceIP)
	if err != nil {
		return err
	}
	if err := ca.write("apiserver", apiServer); err != nil {
		return err
	}
	// The API server's own client certificate for the kubelet (logs, exec).
	toKubelet, err := ca.issue(pkix.Name{CommonName: "kube-apiserver-kubelet-client", Organization: []string{masters}}, nil)
	if err != nil {
		return err
	}
	if err := ca.write("apiserver-kubelet", toKubelet); err != nil {
		return err
	}
	kubelet, err := ca.issue(pkix.Name{CommonName: "kubelet"}, []string{nodeName}, nodeIP)
	if err != nil {
		return err
	}
	return ca.write("kubelet-serving", kubelet)
}

// writeKubeconfig puts everything into the file, so that it can be copied.
func writeKubeconfig(path, server string, ca *authority, p pair) error {
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: strongroom
clusters: [{name: strongroom, cluster: {server: "%s", certificate-authority-data: %s}}]
users: [{name: strongroom, user: {client-certificate-data: %s, client-key-data: %s}}]
contexts: [{name: strongroom, context: {cluster: strongroom, user: strongroom}}]
`, server, base64.StdEncoding.EncodeToString(ca.pem), base64.StdEncoding.EncodeToString(p.cert), base64.StdEncoding.EncodeToString(p.key))
	return writeFile(path, text, 0o600)
}

func writeFile(path, text string, mode os.FileMode) error {
	if err := os.MkdirAll(dirOf(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), mode)
}
