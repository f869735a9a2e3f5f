#!/bin/sh
# What `check` runs as PID 1 of the emulated machine.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
groups=/sys/fs/cgroup

# seen is what a cluster must leave as it was: groups, processes, mounts, loop devices, interfaces.
seen() {
	find $groups -type d | sort
	# The machine's own root holds the kernel's threads too, and loses nothing by passing controllers on.
	if [ -e $groups/cgroup.type ]; then
		echo "passed on: $(cat $groups/cgroup.subtree_control)"
		echo "processes in the root: $(wc -l <$groups/cgroup.procs)"
	fi
	ps -eo ppid,args --no-headers | awk '$1 != 2' | sort
	cat /proc/mounts
	losetup -a
	ls /sys/class/net
}

same() {
	seen >/run/after
	diff -u /run/before /run/after || { echo "v2: something is left behind"; return 1; }
	echo "v2: as before: $(wc -l </run/before) lines on groups, processes, mounts, loop devices and interfaces"
}

up() { "$CLUSTER" up --name "$1" || { tail -n 5 "$STRONGROOM_CACHE/clusters/$1"/logs/[b-z]*.log; return 1; }; }

# app NAME: a pod with a volume and a memory limit runs in that cluster.
app() {
	eval "$("$CLUSTER" env --name "$1")"
	until kubectl apply -f "$here/pod.yaml"; do sleep 5; done
	kubectl wait --for=condition=Ready --timeout=900s pod/app || { kubectl describe pod app; return 1; }
	kubectl get pod,pvc
	kubectl exec app -- busybox df /data
	grep -x 67108864 $groups/strongroom-"$1"/kubepods/*/pod*/memory.max
}

# crash NAME: its PID 1 is killed, and everything in it dies.
crash() { kill -9 "$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$STRONGROOM_CACHE/clusters/$1/init.json")"; }

machine() {
	seen >/run/before
	up v2
	app v2
	"$CLUSTER" down --name v2
	same
}

# As in a container: its root is an ordinary group, and there are processes in it.
container() {
	mkdir $groups/box
	# shellcheck disable=SC2016 # the inner shell's
	sh -c 'echo $$ >/sys/fs/cgroup/box/cgroup.procs && exec unshare --cgroup --mount "$0" boxed' "$0"
	rmdir $groups/box
}

boxed() {
	umount $groups
	mount -t cgroup2 cgroup2 $groups
	seen >/run/before
	up v2
	app v2
	# Another cluster comes, dies and goes: the first one stays as it is.
	"$CLUSTER" up --name other &
	up=$!
	until [ -e "$STRONGROOM_CACHE/clusters/other/init.json" ]; do sleep 1; done
	crash other
	wait $up || echo "v2: as it should"
	"$CLUSTER" down --name other
	echo "v2: groups in the container: $(cd $groups && echo */), processes in its root: $(wc -l <$groups/cgroup.procs)"
	kubectl exec app -- busybox touch /data/file
	crash v2
	"$CLUSTER" down --name v2
	same
}

if [ $# -gt 0 ]; then
	"$@"
	exit
fi
trap 'busybox poweroff -f' EXIT
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /lib/modules
mount -t devpts devpts /dev/pts
for dir in /dev/shm /run "$STRONGROOM_CACHE/clusters"; do
	mount -t tmpfs tmpfs "$dir"
done
mount --bind "$MODULES" /lib/modules
mount -t cgroup2 cgroup2 $groups
ip link set lo up
echo "v2: Linux $(uname -r), controllers: $(cat $groups/cgroup.controllers)"
# As systemd does it: else no group of the machine has anything to pass on.
echo "+cpu +memory +pids" >$groups/cgroup.subtree_control
"$LEFTOVERS" -test.v -test.run TheKernelAgrees
for round in $ROUNDS; do
	echo "v2: round $round"
	"$round"
done
echo "v2: passed: $ROUNDS"
