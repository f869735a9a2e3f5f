package selftest

import (
	"fmt"
	"strings"
	"time"
)

// faultChecks: the storage misbehaves when told to, and recovers when the cause is gone.
var faultChecks = []check{
	{"fault: a snapshot that never gets ready", neverReady},
	{"fault: a snapshot that reports an error", snapshotError},
	{"fault: a volume that cannot be made, for one claim", createError},
	{"fault: a volume that cannot be mounted", stageError},
	{"fault: a volume that is slow", slowVolume},
	{"fault: a volume that is full, while it is in use", fullVolume},
}

func setFault(b *bench, target string, flags ...string) error {
	_, err := self(append([]string{"fault", "--name", b.kube.cluster.Name, "set", target}, flags...)...)
	return err
}

func clearFaults(b *bench) error {
	_, err := self("fault", "--name", b.kube.cluster.Name, "clear")
	return err
}

func neverReady(b *bench) error {
	if err := setFault(b, app+"/block", "-snapshot", "never-ready"); err != nil {
		return err
	}
	if err := b.kube.apply(snapshot(app, "stuck", "csi-ceph-blockpool", "block")); err != nil {
		return err
	}
	if err := b.kube.await("volumesnapshot", app, "stuck", "{.status.readyToUse}", "false"); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	if err := b.kube.await("volumesnapshot", app, "stuck", "{.status.readyToUse}", "false"); err != nil {
		return err
	}
	if err := clearFaults(b); err != nil {
		return err
	}
	if err := b.kube.await("volumesnapshot", app, "stuck", "{.status.readyToUse}", "true"); err != nil {
		return err
	}
	return b.kube.remove("volumesnapshot", app, "stuck")
}

func snapshotError(b *bench) error {
	if err := setFault(b, app+"/block", "-snapshot", "error: pool is near full"); err != nil {
		return err
	}
	if err := b.kube.apply(snapshot(app, "bad", "csi-ceph-blockpool", "block")); err != nil {
		return err
	}
	if err := b.kube.awaitContains("volumesnapshot", app, "bad", "{.status.error.message}", "pool is near full"); err != nil {
		return err
	}
	if err := clearFaults(b); err != nil {
		return err
	}
	if err := b.kube.await("volumesnapshot", app, "bad", "{.status.readyToUse}", "true"); err != nil {
		return err
	}
	return b.kube.remove("volumesnapshot", app, "bad")
}

func createError(b *bench) error {
	if err := setFault(b, app+"/unlucky", "-create", "error: no such pool"); err != nil {
		return err
	}
	if err := b.kube.apply(claim(app, "unlucky", "ceph-block", "ReadWriteOnce", ""), claim(app, "lucky", "ceph-block", "ReadWriteOnce", "")); err != nil {
		return err
	}
	if err := b.kube.awaitEvent(app, "unlucky", "no such pool"); err != nil {
		return err
	}
	if err := b.kube.await("pvc", app, "lucky", "{.status.phase}", "Bound"); err != nil {
		return err
	}
	if err := clearFaults(b); err != nil {
		return err
	}
	return b.kube.await("pvc", app, "unlucky", "{.status.phase}", "Bound")
}

func stageError(b *bench) error {
	if err := setFault(b, app+"/unlucky", "-stage", "error: rbd: map failed"); err != nil {
		return err
	}
	if err := b.kube.apply(pod(app, "unlucky", "unlucky")); err != nil {
		return err
	}
	if err := b.kube.awaitEvent(app, "unlucky", "rbd: map failed"); err != nil {
		return err
	}
	if err := clearFaults(b); err != nil {
		return err
	}
	if err := b.kube.await("pod", app, "unlucky", "{.status.phase}", "Running"); err != nil {
		return err
	}
	_, err := b.kube.run("", "delete", "-n", app, "pod/unlucky", "pvc/unlucky", "pvc/lucky", "--timeout=40s")
	return err
}

func slowVolume(b *bench) error {
	if err := setFault(b, ours+"/*", "-delay", "3s"); err != nil {
		return err
	}
	begin := time.Now()
	if err := b.kube.apply(claim(ours, "slow", "ceph-filesystem", "ReadWriteOnce", "")); err != nil {
		return err
	}
	if err := b.kube.await("pvc", ours, "slow", "{.status.phase}", "Bound"); err != nil {
		return err
	}
	if took := time.Since(begin); took < 3*time.Second {
		return fmt.Errorf("a slow volume was there after %s", took)
	}
	if err := clearFaults(b); err != nil {
		return err
	}
	return b.kube.remove("pvc", ours, "slow")
}

func fullVolume(b *bench) error {
	const write = "/bin/busybox dd if=/dev/zero of=/data/more bs=1M count=8 2>&1; /bin/busybox sync; /bin/busybox rm -f /data/more"
	for claim, pod := range map[string]string{"block": "on-block", "files": "on-files"} {
		if err := setFault(b, app+"/"+claim, "-full"); err != nil {
			return err
		}
		if err := eventually(10*time.Second, func() error {
			text, err := b.kube.sh(app, pod, write)
			if err == nil && !strings.Contains(text, "No space left") && !strings.Contains(text, "quota") {
				err = fmt.Errorf("%s is not full: %s", claim, text)
			}
			return err
		}); err != nil {
			return err
		}
		if err := clearFaults(b); err != nil {
			return err
		}
		if err := eventually(10*time.Second, func() error {
			text, err := b.kube.sh(app, pod, write)
			if err == nil && !strings.Contains(text, "8+0 records out") {
				err = fmt.Errorf("%s is still full: %s", claim, text)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
