package selftest

import (
	"fmt"
	"os"
	"strings"
	"time"

	"strongroom.dev/cluster/internal/state"
)

const (
	rbdDriver    = "rook-ceph.rbd.csi.ceph.com"
	cephfsDriver = "rook-ceph.cephfs.csi.ceph.com"
	app, ours    = "app", "ours"
)

// storageSuite checks on one cluster what the drivers do in Kubernetes.
func storageSuite(b *bench) error {
	c, err := scratch("a")
	if err != nil {
		return err
	}
	defer b.discard(c)
	if _, err := self("up", "--name", c.Name); err != nil {
		return err
	}
	if b.kube, err = newKube(c); err != nil {
		return err
	}
	for _, namespace := range []string{app, ours} {
		if _, err := b.kube.run("", "create", "namespace", namespace); err != nil {
			return err
		}
	}
	b.checks([]check{
		{"pods run on both kinds of volume and write to them", podsRun},
		{"a snapshot gets ready and restores with inode numbers and ctime", snapshotRestores},
		{"a twin in another namespace restores, and leaves the snapshot alone", twinRestores},
		{"CephFS: a ReadOnlyMany volume is shallow, read-only, and keeps the snapshot", shallowVolume},
		{"RBD: ReadOnlyMany of a dirty journal is refused, and so is ReadWriteMany", rbdRefusals},
		{"a clone of a claim has its data", claimClone},
		{"a group snapshot is made, used and deleted", groupSnapshot},
		{"a full volume is full", capacityLimited},
		{"a raw block volume can be written", rawBlock},
	})
	b.checks(faultChecks)
	return nil
}

func podsRun(b *bench) error {
	if err := b.kube.apply(
		claim(app, "block", "ceph-block", "ReadWriteOnce", ""), claim(app, "files", "ceph-filesystem", "ReadWriteMany", ""),
		pod(app, "on-block", "block"), pod(app, "on-files", "files")); err != nil {
		return err
	}
	for _, name := range []string{"on-block", "on-files"} {
		if err := b.kube.await("pod", app, name, "{.status.phase}", "Running"); err != nil {
			return err
		}
		if _, err := b.kube.sh(app, name, "cd /data; echo hello > file; /bin/busybox mkdir d; /bin/busybox ln file d/link; /bin/busybox sync"); err != nil {
			return err
		}
	}
	return nil
}

// inodes shows what restic compares: inode number, links, ctime.
const inodes = "cd /data; for f in file d d/link; do /bin/busybox stat -c '%n %i %h %z %s' $f; done; /bin/busybox cat file"

func snapshotRestores(b *bench) error {
	for _, kind := range []struct{ pod, claim, class, snapshots, mode string }{
		{"on-block", "block", "ceph-block", "csi-ceph-blockpool", "ReadWriteOnce"},
		{"on-files", "files", "ceph-filesystem", "csi-ceph-filesystem", "ReadWriteMany"},
	} {
		before, err := b.kube.sh(app, kind.pod, inodes)
		if err != nil {
			return err
		}
		name := "of-" + kind.claim
		if err := b.kube.apply(snapshot(app, name, kind.snapshots, kind.claim)); err != nil {
			return err
		}
		if err := b.kube.await("volumesnapshot", app, name, "{.status.readyToUse} {.status.restoreSize}", "true 1Gi"); err != nil {
			return err
		}
		// What happens later is not in it.
		if _, err := b.kube.sh(app, kind.pod, "echo later > /data/later; /bin/busybox sync"); err != nil {
			return err
		}
		restored := "from-" + kind.claim
		if err := b.kube.apply(claim(app, restored, kind.class, kind.mode, "VolumeSnapshot/"+name), pod(app, restored, restored)); err != nil {
			return err
		}
		if err := b.kube.await("pod", app, restored, "{.status.phase}", "Running"); err != nil {
			return err
		}
		if err := sameData(b, app, restored, before); err != nil {
			return err
		}
	}
	return nil
}

func sameData(b *bench, namespace, pod, want string) error {
	got, err := b.kube.sh(namespace, pod, inodes)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("restored:\n%s\nbut it was:\n%s", got, want)
	}
	if _, err := b.kube.sh(namespace, pod, "! test -e /data/later"); err != nil {
		return fmt.Errorf("the restored volume holds what was written after the snapshot: %w", err)
	}
	return nil
}

// handleOf is the storage's own name of a snapshot.
func handleOf(b *bench, namespace, name string) (string, error) {
	content, err := b.kube.field("volumesnapshot", namespace, name, "{.status.boundVolumeSnapshotContentName}")
	if err != nil {
		return "", err
	}
	return b.kube.field("volumesnapshotcontent", "default", content, "{.status.snapshotHandle}")
}

func twinRestores(b *bench) error {
	before, err := b.kube.sh(app, "from-block", inodes)
	if err != nil {
		return err
	}
	handle, err := handleOf(b, app, "of-block")
	if err != nil {
		return err
	}
	if err := b.kube.apply(twin(ours, "twin", rbdDriver, handle),
		claim(ours, "staging", "ceph-block", "ReadWriteOnce", "VolumeSnapshot/twin"), pod(ours, "mover", "staging")); err != nil {
		return err
	}
	if err := b.kube.await("pod", ours, "mover", "{.status.phase}", "Running"); err != nil {
		return err
	}
	if err := sameData(b, ours, "mover", before); err != nil {
		return err
	}
	for _, object := range [][2]string{{"pod", "mover"}, {"pvc", "staging"}, {"volumesnapshot", "twin"}, {"volumesnapshotcontent", "twin"}} {
		if err := b.kube.remove(object[0], ours, object[1]); err != nil {
			return err
		}
	}
	if _, err := os.Stat(record(b.kube.cluster, "rbd", "snapshots", handle)); err != nil {
		return fmt.Errorf("the real snapshot went with its twin: %w", err)
	}
	if err := b.kube.remove("volumesnapshot", app, "of-block"); err != nil {
		return err
	}
	return awaitGone(record(b.kube.cluster, "rbd", "snapshots", handle))
}

// record is the driver's own file on a volume or snapshot.
func record(c state.Cluster, kind, table, handle string) string {
	return c.Path("csi", kind, "records", table, handle+".json")
}

func awaitGone(path string) error {
	return eventually(20*time.Second, func() error {
		if _, err := os.Stat(path); err == nil {
			return fmt.Errorf("%s is still there", path)
		}
		return nil
	})
}

func shallowVolume(b *bench) error {
	handle, err := handleOf(b, app, "of-files")
	if err != nil {
		return err
	}
	if err := b.kube.apply(twin(ours, "shallow", cephfsDriver, handle),
		claim(ours, "shallow", "ceph-filesystem", "ReadOnlyMany", "VolumeSnapshot/shallow"), pod(ours, "shallow", "shallow")); err != nil {
		return err
	}
	if err := b.kube.await("pod", ours, "shallow", "{.status.phase}", "Running"); err != nil {
		return err
	}
	if _, err := b.kube.sh(ours, "shallow", "! echo x > /data/x 2>/dev/null && /bin/busybox grep -q hello /data/file"); err != nil {
		return err
	}
	if err := b.kube.apply(snapshot(ours, "of-shallow", "csi-ceph-filesystem", "shallow")); err != nil {
		return err
	}
	if err := b.kube.awaitContains("volumesnapshot", ours, "of-shallow", "{.status.error.message}", "cannot snapshot a snapshot-backed volume"); err != nil {
		return err
	}
	// The app's snapshot can be deleted; its data stays for as long as it is read.
	if err := b.kube.remove("volumesnapshot", app, "of-files"); err != nil {
		return err
	}
	if text, err := b.kube.sh(ours, "shallow", "/bin/busybox cat /data/file"); err != nil || text != "hello" {
		return fmt.Errorf("after its snapshot was deleted the volume reads %q (%v)", text, err)
	}
	for _, object := range [][2]string{{"volumesnapshot", "of-shallow"}, {"pod", "shallow"}, {"pvc", "shallow"}, {"volumesnapshot", "shallow"}, {"volumesnapshotcontent", "shallow"}} {
		if err := b.kube.remove(object[0], ours, object[1]); err != nil {
			return err
		}
	}
	return awaitGone(record(b.kube.cluster, "cephfs", "snapshots", handle))
}

func rbdRefusals(b *bench) error {
	if err := b.kube.apply(snapshot(app, "dirty", "csi-ceph-blockpool", "block")); err != nil {
		return err
	}
	if err := b.kube.await("volumesnapshot", app, "dirty", "{.status.readyToUse}", "true"); err != nil {
		return err
	}
	if err := b.kube.apply(
		claim(app, "rox", "ceph-block", "ReadOnlyMany", "VolumeSnapshot/dirty"), pod(app, "rox", "rox"),
		claim(app, "rwx", "ceph-block", "ReadWriteMany", "")); err != nil {
		return err
	}
	if err := b.kube.awaitEvent(app, "rox", "MountVolume.MountDevice failed"); err != nil {
		return err
	}
	if err := b.kube.awaitEvent(app, "rwx", "multi node access modes are only supported on rbd"); err != nil {
		return err
	}
	_, err := b.kube.run("", "delete", "-n", app, "pod/rox", "pvc/rox", "pvc/rwx", "volumesnapshot/dirty", "--timeout=40s")
	return err
}

func claimClone(b *bench) error {
	if err := b.kube.apply(claim(app, "clone", "ceph-block", "ReadWriteOnce", "PersistentVolumeClaim/block"), pod(app, "clone", "clone")); err != nil {
		return err
	}
	if err := b.kube.await("pod", app, "clone", "{.status.phase}", "Running"); err != nil {
		return err
	}
	if text, err := b.kube.sh(app, "clone", "/bin/busybox cat /data/later"); err != nil || text != "later" {
		return fmt.Errorf("the clone reads %q (%v)", text, err)
	}
	_, err := b.kube.run("", "delete", "-n", app, "pod/clone", "pvc/clone", "--timeout=40s")
	return err
}

func groupSnapshot(b *bench) error {
	const group = `apiVersion: groupsnapshot.storage.k8s.io/v1
kind: VolumeGroupSnapshot
metadata: {name: group, namespace: app}
spec:
  volumeGroupSnapshotClassName: csi-ceph-blockpool
  source: {selector: {matchLabels: {group: "yes"}}}
`
	if _, err := b.kube.run("", "label", "-n", app, "pvc/block", "pvc/from-block", "group=yes"); err != nil {
		return err
	}
	if err := b.kube.apply(group); err != nil {
		return err
	}
	if err := b.kube.await("volumegroupsnapshot", app, "group", "{.status.readyToUse}", "true"); err != nil {
		return err
	}
	names := ""
	if err := eventually(20*time.Second, func() (err error) {
		names, err = b.kube.run("", "get", "volumesnapshot", "-n", app, "-o", "jsonpath={.items[?(@.status.readyToUse==true)].metadata.name}")
		if err == nil && len(strings.Fields(names)) != 2 {
			err = fmt.Errorf("the group's ready snapshots are %q", names)
		}
		return err
	}); err != nil {
		return err
	}
	if err := b.kube.apply(claim(app, "from-group", "ceph-block", "ReadWriteOnce", "VolumeSnapshot/"+strings.Fields(names)[0])); err != nil {
		return err
	}
	if err := b.kube.await("pvc", app, "from-group", "{.status.phase}", "Bound"); err != nil {
		return err
	}
	_, err := b.kube.run("", "delete", "-n", app, "volumegroupsnapshot/group", "pvc/from-group", "--timeout=40s")
	return err
}

func capacityLimited(b *bench) error {
	for name, reason := range map[string]string{"on-block": "No space left on device", "on-files": "Disk quota exceeded"} {
		text, err := b.kube.sh(app, name, "/bin/busybox dd if=/dev/zero of=/data/big bs=1M count=1100 2>&1; /bin/busybox rm /data/big; /bin/busybox sync")
		if err != nil {
			return err
		}
		if !strings.Contains(text, reason) && !strings.Contains(text, "quota") {
			return fmt.Errorf("1100 MiB went into a volume of 1 GiB of %s: %s", name, text)
		}
	}
	return nil
}

func rawBlock(b *bench) error {
	block := strings.Replace(claim(app, "raw", "ceph-block", "ReadWriteOnce", ""), "spec:", "spec:\n  volumeMode: Block", 1)
	user := strings.Replace(pod(app, "raw", "raw"), "volumeMounts: [{name: data, mountPath: /data}]", "volumeDevices: [{name: data, devicePath: /dev/raw}]", 1)
	if err := b.kube.apply(block, user); err != nil {
		return err
	}
	if err := b.kube.await("pod", app, "raw", "{.status.phase}", "Running"); err != nil {
		return err
	}
	text, err := b.kube.sh(app, "raw", "echo block > /dev/raw; /bin/busybox head -c 5 /dev/raw")
	if err != nil || text != "block" {
		return fmt.Errorf("the device reads %q (%v)", text, err)
	}
	_, err = b.kube.run("", "delete", "-n", app, "pod/raw", "pvc/raw", "--timeout=40s")
	return err
}
