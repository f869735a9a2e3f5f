package node

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"strongroom.dev/cluster/internal/state"
)

// api asks the API server the few questions that tell whether the cluster can be used.
type api struct{ client *http.Client }

func newAPI(c state.Cluster) (*api, error) {
	ca, err := os.ReadFile(c.Path("pki", "ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	cert, err := tls.LoadX509KeyPair(c.Path("pki", "admin.crt"), c.Path("pki", "admin.key"))
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}}
	return &api{&http.Client{Transport: transport, Timeout: 5 * time.Second}}, nil
}

func (a *api) get(path string, into any) error {
	resp, err := a.client.Get("https://127.0.0.1:6443" + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(raw, into)
}

func (a *api) ready() error { return a.get("/readyz", nil) }

// usable tells whether a pod with a CSI volume could be started now.
func (a *api) usable() error {
	var node struct {
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := a.get("/api/v1/nodes/"+nodeName, &node); err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == "Ready" && condition.Status != "True" {
			return fmt.Errorf("node not ready: %s", condition.Message)
		}
	}
	var csiNode struct {
		Spec struct {
			Drivers []struct{ Name string }
		}
	}
	if err := a.get("/apis/storage.k8s.io/v1/csinodes/"+nodeName, &csiNode); err != nil {
		return err
	}
	if found, want := len(csiNode.Spec.Drivers), len(storageKinds); found != want {
		return fmt.Errorf("%d of %d CSI drivers registered", found, want)
	}
	return a.get("/api/v1/namespaces/default/serviceaccounts/default", nil)
}
