package csi

import (
	"context"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// DeleteVolume removes a volume; one that is gone is fine, one that is mounted is not.
func (d *Driver) DeleteVolume(_ context.Context, req *spec.DeleteVolumeRequest) (*spec.DeleteVolumeResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, status.Error(codes.InvalidArgument, "empty volume ID in request")
	}
	release, err := d.busy.hold(req.GetVolumeId(), req.GetVolumeId()+"@source")
	if err != nil {
		return nil, err
	}
	defer release()
	v, ok := d.records.volumeByID(req.GetVolumeId())
	if !ok {
		return &spec.DeleteVolumeResponse{}, nil
	}
	if err := fail(d.faults.of(v.ID, v.Claim).Delete); err != nil {
		return nil, err
	}
	if d.backend.inUse(v) {
		return nil, status.Errorf(codes.Internal, "volume %s is still being used", v.ID)
	}
	if err := d.backend.remove(v); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := d.records.dropVolume(v.ID); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if v.Shallow {
		err = d.removeIfLast(v.SourceSnapshot)
	}
	return &spec.DeleteVolumeResponse{}, err
}

// ControllerPublishVolume does nothing but look whether the volume is used by another node.
func (d *Driver) ControllerPublishVolume(_ context.Context, req *spec.ControllerPublishVolumeRequest) (*spec.ControllerPublishVolumeResponse, error) {
	if req.GetVolumeId() == "" || req.GetNodeId() == "" || req.GetVolumeCapability() == nil {
		return nil, status.Error(codes.InvalidArgument, "volume ID, node ID and capability are needed")
	}
	if _, ok := d.records.volumeByID(req.GetVolumeId()); !ok {
		return nil, status.Errorf(codes.NotFound, "volume %s not found", req.GetVolumeId())
	}
	if req.GetNodeId() != d.config.Node {
		return nil, status.Errorf(codes.NotFound, "node %s not found", req.GetNodeId())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if other, ok := d.published[req.GetVolumeId()]; ok && other != req.GetNodeId() {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is attached to node %s", req.GetVolumeId(), other)
	}
	d.published[req.GetVolumeId()] = req.GetNodeId()
	return &spec.ControllerPublishVolumeResponse{}, nil
}

// ControllerUnpublishVolume forgets the node.
func (d *Driver) ControllerUnpublishVolume(_ context.Context, req *spec.ControllerUnpublishVolumeRequest) (*spec.ControllerUnpublishVolumeResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, status.Error(codes.InvalidArgument, "empty volume ID in request")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.published, req.GetVolumeId())
	return &spec.ControllerUnpublishVolumeResponse{}, nil
}

// ValidateVolumeCapabilities answers whether a volume could be used in a way.
func (d *Driver) ValidateVolumeCapabilities(_ context.Context, req *spec.ValidateVolumeCapabilitiesRequest) (*spec.ValidateVolumeCapabilitiesResponse, error) {
	if req.GetVolumeId() == "" || len(req.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "volume ID and capabilities are needed")
	}
	v, ok := d.records.volumeByID(req.GetVolumeId())
	if !ok {
		return nil, status.Errorf(codes.NotFound, "volume %s not found", req.GetVolumeId())
	}
	for _, capability := range req.GetVolumeCapabilities() {
		if err := d.accepts(capability, v.SourceSnapshot+v.SourceVolume != ""); err != nil {
			return &spec.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
		}
	}
	return &spec.ValidateVolumeCapabilitiesResponse{Confirmed: &spec.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeCapabilities: req.GetVolumeCapabilities(), VolumeContext: req.GetVolumeContext(), Parameters: req.GetParameters(),
	}}, nil
}

// ControllerExpandVolume makes a volume bigger.
func (d *Driver) ControllerExpandVolume(_ context.Context, req *spec.ControllerExpandVolumeRequest) (*spec.ControllerExpandVolumeResponse, error) {
	if req.GetVolumeId() == "" || req.GetCapacityRange() == nil {
		return nil, status.Error(codes.InvalidArgument, "volume ID and capacity range are needed")
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
	if v.Shallow {
		return nil, status.Error(codes.InvalidArgument, "cannot expand snapshot-backed volume")
	}
	bytes, err := size(req.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	if bytes <= v.Bytes {
		return &spec.ControllerExpandVolumeResponse{CapacityBytes: v.Bytes, NodeExpansionRequired: v.Grown}, nil
	}
	v.Bytes = bytes
	nodeStep, err := d.backend.resize(v)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	v.Grown = nodeStep
	if err := d.records.putVolume(v); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &spec.ControllerExpandVolumeResponse{CapacityBytes: v.Bytes, NodeExpansionRequired: nodeStep}, nil
}
