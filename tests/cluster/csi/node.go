package csi

import (
	"context"
	"os"
	"path/filepath"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// NodeStageVolume mounts a volume once for the node.
func (d *Driver) NodeStageVolume(ctx context.Context, req *spec.NodeStageVolumeRequest) (*spec.NodeStageVolumeResponse, error) {
	if req.GetVolumeId() == "" || req.GetStagingTargetPath() == "" || req.GetVolumeCapability() == nil {
		return nil, status.Error(codes.InvalidArgument, "volume ID, staging path and capability are needed")
	}
	release, err := d.busy.hold(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer release()
	v, ok := d.records.volumeByID(req.GetVolumeId())
	if !ok {
		return nil, status.Errorf(codes.NotFound, "volume %s not found", req.GetVolumeId())
	}
	fault := d.faults.of(v.ID, v.Claim)
	if err := fail(fault.Stage); err != nil {
		return nil, err
	}
	if err := d.faults.wait(ctx, fault, "stage "+v.ID); err != nil {
		return nil, err
	}
	if err := d.stage(v, req); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &spec.NodeStageVolumeResponse{}, nil
}

func (d *Driver) stage(v volume, req *spec.NodeStageVolumeRequest) error {
	target := req.GetStagingTargetPath()
	block := req.GetVolumeCapability().GetBlock() != nil
	readOnly := v.Shallow ||
		req.GetVolumeCapability().GetAccessMode().GetMode() == spec.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	if !mounted(target) {
		if err := os.MkdirAll(target, 0o750); err != nil {
			return err
		}
		if err := d.backend.stage(v, target, block, readOnly, req.GetVolumeCapability().GetMount().GetMountFlags()); err != nil {
			return err
		}
	}
	if block || readOnly {
		return nil
	}
	if err := d.prepareRoot(v, target); err != nil {
		return err
	}
	d.startUse(v.ID, target)
	return nil
}

// prepareRoot is what a volume needs before pods may write.
func (d *Driver) prepareRoot(v volume, target string) error {
	// ceph-csi lets everyone write into a volume's root, whatever mode that had.
	if err := os.Chmod(target, 0o777); err != nil {
		return err
	}
	if !v.Grown && v.SourceSnapshot == "" && v.SourceVolume == "" {
		return nil
	}
	// A clone may be bigger than its source.
	if err := d.backend.grow(v, target); err != nil {
		return err
	}
	v.Grown = false
	return d.records.putVolume(v)
}

// NodeUnstageVolume undoes NodeStageVolume.
func (d *Driver) NodeUnstageVolume(_ context.Context, req *spec.NodeUnstageVolumeRequest) (*spec.NodeUnstageVolumeResponse, error) {
	if req.GetVolumeId() == "" || req.GetStagingTargetPath() == "" {
		return nil, status.Error(codes.InvalidArgument, "volume ID and staging path are needed")
	}
	release, err := d.busy.hold(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer release()
	d.endUse(req.GetVolumeId())
	v, ok := d.records.volumeByID(req.GetVolumeId())
	if !ok {
		v.ID = req.GetVolumeId()
	}
	if err := d.backend.unstage(v, req.GetStagingTargetPath()); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &spec.NodeUnstageVolumeResponse{}, nil
}

// NodePublishVolume shows a staged volume to one pod.
func (d *Driver) NodePublishVolume(_ context.Context, req *spec.NodePublishVolumeRequest) (*spec.NodePublishVolumeResponse, error) {
	if req.GetVolumeId() == "" || req.GetTargetPath() == "" || req.GetStagingTargetPath() == "" || req.GetVolumeCapability() == nil {
		return nil, status.Error(codes.InvalidArgument, "volume ID, staging path, target path and capability are needed")
	}
	v, ok := d.records.volumeByID(req.GetVolumeId())
	if !ok {
		return nil, status.Errorf(codes.NotFound, "volume %s not found", req.GetVolumeId())
	}
	if mounted(req.GetTargetPath()) {
		return &spec.NodePublishVolumeResponse{}, nil
	}
	if err := d.claimTarget(req); err != nil {
		return nil, err
	}
	if err := d.publish(v, req); err != nil {
		d.dropTarget(req.GetVolumeId(), req.GetTargetPath())
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &spec.NodePublishVolumeResponse{}, nil
}

// claimTarget keeps a volume for a single writer (ReadWriteOncePod) from being shown to a second pod.
func (d *Driver) claimTarget(req *spec.NodePublishVolumeRequest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	others := d.targets[req.GetVolumeId()]
	mode := req.GetVolumeCapability().GetAccessMode().GetMode()
	if mode == spec.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER && len(others) > 0 && !others[req.GetTargetPath()] {
		return status.Errorf(codes.FailedPrecondition, "volume %s is published elsewhere, and has a single writer", req.GetVolumeId())
	}
	if others == nil {
		others = map[string]bool{}
		d.targets[req.GetVolumeId()] = others
	}
	others[req.GetTargetPath()] = true
	return nil
}

func (d *Driver) dropTarget(volumeID, target string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.targets[volumeID], target)
	if len(d.targets[volumeID]) == 0 {
		delete(d.targets, volumeID)
	}
}

func (d *Driver) publish(v volume, req *spec.NodePublishVolumeRequest) error {
	target := req.GetTargetPath()
	if req.GetVolumeCapability().GetBlock() == nil {
		if err := os.MkdirAll(target, 0o750); err != nil {
			return err
		}
		return bind(req.GetStagingTargetPath(), target, req.GetReadonly() || v.Shallow)
	}
	device, err := d.backend.device(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	if err := os.WriteFile(target, nil, 0o640); err != nil {
		return err
	}
	return bind(device, target, false)
}

// NodeUnpublishVolume undoes NodePublishVolume.
func (d *Driver) NodeUnpublishVolume(_ context.Context, req *spec.NodeUnpublishVolumeRequest) (*spec.NodeUnpublishVolumeResponse, error) {
	if req.GetVolumeId() == "" || req.GetTargetPath() == "" {
		return nil, status.Error(codes.InvalidArgument, "volume ID and target path are needed")
	}
	if err := unmount(req.GetTargetPath()); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := os.Remove(req.GetTargetPath()); err != nil && !os.IsNotExist(err) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	d.dropTarget(req.GetVolumeId(), req.GetTargetPath())
	return &spec.NodeUnpublishVolumeResponse{}, nil
}

// NodeExpandVolume grows the file system after the volume was made bigger.
func (d *Driver) NodeExpandVolume(_ context.Context, req *spec.NodeExpandVolumeRequest) (*spec.NodeExpandVolumeResponse, error) {
	if req.GetVolumeId() == "" || req.GetVolumePath() == "" {
		return nil, status.Error(codes.InvalidArgument, "volume ID and path are needed")
	}
	v, ok := d.records.volumeByID(req.GetVolumeId())
	if !ok {
		return nil, status.Errorf(codes.NotFound, "volume %s not found", req.GetVolumeId())
	}
	if err := d.backend.grow(v, req.GetVolumePath()); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	v.Grown = false
	if err := d.records.putVolume(v); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &spec.NodeExpandVolumeResponse{CapacityBytes: v.Bytes}, nil
}

// NodeGetVolumeStats tells how full a mounted volume is.
func (d *Driver) NodeGetVolumeStats(_ context.Context, req *spec.NodeGetVolumeStatsRequest) (*spec.NodeGetVolumeStatsResponse, error) {
	if req.GetVolumeId() == "" || req.GetVolumePath() == "" {
		return nil, status.Error(codes.InvalidArgument, "volume ID and path are needed")
	}
	v, ok := d.records.volumeByID(req.GetVolumeId())
	if !ok || !mounted(req.GetVolumePath()) {
		return nil, status.Errorf(codes.NotFound, "volume %s is not at %s", req.GetVolumeId(), req.GetVolumePath())
	}
	var inodes unix.Statfs_t
	if err := unix.Statfs(req.GetVolumePath(), &inodes); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	usage := []*spec.VolumeUsage{{Unit: spec.VolumeUsage_BYTES, Total: v.Bytes}}
	if used, err := d.backend.used(v, req.GetVolumePath()); err == nil { // not for a raw block volume
		usage[0].Used, usage[0].Available = used, max(0, v.Bytes-used)
	}
	usage = append(usage, &spec.VolumeUsage{
		Unit: spec.VolumeUsage_INODES, Total: int64(inodes.Files), Available: int64(inodes.Ffree), Used: int64(inodes.Files - inodes.Ffree),
	})
	return &spec.NodeGetVolumeStatsResponse{Usage: usage}, nil
}
