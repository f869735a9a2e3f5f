package node

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// prepareNetwork gives the node an address on a bridge of its own network namespace. Nothing leads
// outside: the default route is there because kubelet and API server look for one.
func prepareNetwork() error {
	batch := strings.Join([]string{
		"link set lo up",
		"link add br0 type bridge",
		"addr add " + nodeIP + "/24 dev br0",
		"link set br0 up",
		"route add default via 10.0.0.254 dev br0",
	}, "\n")
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch)
	if raw, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set up the network: %w: %s", err, raw)
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}
