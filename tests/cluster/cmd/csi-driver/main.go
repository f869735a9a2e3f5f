// Command csi-driver is the storage of the test cluster: see package csi.
package main

import (
	"flag"
	"log"

	"strongroom.dev/cluster/csi"
)

func main() {
	var config csi.Config
	flag.StringVar(&config.Kind, "kind", "rbd", "rbd or cephfs: which driver to behave like")
	flag.StringVar(&config.Name, "name", "", "the driver's name in the API")
	flag.StringVar(&config.Node, "node", "n1", "the node's name")
	flag.StringVar(&config.Socket, "socket", "", "where to listen")
	flag.StringVar(&config.Root, "root", "", "folder for the pool and the records")
	flag.StringVar(&config.Registration, "registration", "", "socket for the kubelet's plugin watcher (empty: no kubelet)")
	flag.StringVar(&config.Faults, "faults", "", "file that tells which claims misbehave")
	flag.BoolVar(&config.ListSnapshots, "list-snapshots", false, "offer ListSnapshots, which ceph-csi does not")
	flag.Parse()
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	log.Fatal(csi.Run(config))
}
