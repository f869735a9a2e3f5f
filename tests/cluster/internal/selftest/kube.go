package selftest

import (
	"fmt"
	"os/exec"
	"strings"
	"time"

	"strongroom.dev/cluster/internal/node"
	"strongroom.dev/cluster/internal/programs"
	"strongroom.dev/cluster/internal/state"
)

// kube talks to a cluster from the host, as the suites do.
type kube struct {
	cluster state.Cluster
	kubectl string
}

func newKube(c state.Cluster) (kube, error) {
	path, err := programs.Path("kubectl")
	return kube{cluster: c, kubectl: path}, err
}

func (k kube) run(stdin string, args ...string) (string, error) {
	cmd := exec.Command(k.kubectl, append([]string{"--kubeconfig", k.cluster.Kubeconfig()}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

func (k kube) apply(manifests ...string) error {
	_, err := k.run(strings.Join(manifests, "\n---\n"), "apply", "-f", "-")
	return err
}

// field is one value of an object: kind, namespace, name, JSON path.
func (k kube) field(kind, namespace, name, path string) (string, error) {
	return k.run("", "get", kind, "-n", namespace, name, "-o", "jsonpath="+path)
}

// await waits until a field has a value.
func (k kube) await(kind, namespace, name, path, want string) error {
	return eventually(30*time.Second, func() error {
		got, err := k.field(kind, namespace, name, path)
		if err == nil && got != want {
			err = fmt.Errorf("%s %s/%s: %s is %q, not %q", kind, namespace, name, path, got, want)
		}
		return err
	})
}

// awaitContains waits until a field holds a text somewhere.
func (k kube) awaitContains(kind, namespace, name, path, want string) error {
	return eventually(30*time.Second, func() error {
		got, err := k.field(kind, namespace, name, path)
		if err == nil && !strings.Contains(got, want) {
			err = fmt.Errorf("%s %s/%s: %s is %q, without %q", kind, namespace, name, path, got, want)
		}
		return err
	})
}

// awaitEvent waits for an event on an object with a text in its message.
func (k kube) awaitEvent(namespace, name, want string) error {
	return eventually(30*time.Second, func() error {
		got, err := k.run("", "get", "events", "-n", namespace, "--field-selector", "involvedObject.name="+name,
			"-o", "jsonpath={.items[*].message}")
		if err == nil && !strings.Contains(got, want) {
			err = fmt.Errorf("no event on %s/%s says %q; they say: %s", namespace, name, want, got)
		}
		return err
	})
}

func (k kube) remove(kind, namespace, name string) error {
	_, err := k.run("", "delete", kind, "-n", namespace, name, "--timeout=40s", "--ignore-not-found")
	return err
}

// sh runs a shell line in a pod. The image has busybox only, and no links to its commands.
func (k kube) sh(namespace, pod, script string) (string, error) {
	return k.run("", "exec", "-n", namespace, pod, "--", "/bin/busybox", "sh", "-c", script)
}

// claim is the manifest of a claim; source is "", or "VolumeSnapshot/NAME", or "PersistentVolumeClaim/NAME".
func claim(namespace, name, class, mode, source string) string {
	text := fmt.Sprintf(`apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s, namespace: %s}
spec:
  storageClassName: %s
  accessModes: [%s]
  resources: {requests: {storage: 1Gi}}
`, name, namespace, class, mode)
	if kind, from, ok := strings.Cut(source, "/"); ok {
		group := ""
		if kind == "VolumeSnapshot" {
			group = "apiGroup: snapshot.storage.k8s.io, "
		}
		text += fmt.Sprintf("  dataSource: {%skind: %s, name: %s}\n", group, kind, from)
	}
	return text
}

// pod is the manifest of a pod that sleeps, with one claim at /data.
func pod(namespace, name, claim string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: %s
      imagePullPolicy: Never
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: %s}}]
`, name, namespace, node.PauseImage, claim)
}

func snapshot(namespace, name, class, claim string) string {
	return fmt.Sprintf(`apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: %s, namespace: %s}
spec: {volumeSnapshotClassName: %s, source: {persistentVolumeClaimName: %s}}
`, name, namespace, class, claim)
}

// twin is a second, static snapshot on the handle of a first, in another namespace.
func twin(namespace, name, driver, handle string) string {
	return fmt.Sprintf(`apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotContent
metadata: {name: %s}
spec:
  deletionPolicy: Retain
  driver: %s
  source: {snapshotHandle: %s}
  sourceVolumeMode: Filesystem
  volumeSnapshotRef: {name: %s, namespace: %s}
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: %s, namespace: %s}
spec: {source: {volumeSnapshotContentName: %s}}
`, name, driver, handle, name, namespace, name, namespace, name)
}
