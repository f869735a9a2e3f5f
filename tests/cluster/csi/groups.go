package csi

import (
	"context"
	"slices"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// CreateVolumeGroupSnapshot takes snapshots of several volumes, milliseconds apart.
func (d *Driver) CreateVolumeGroupSnapshot(ctx context.Context, req *spec.CreateVolumeGroupSnapshotRequest) (*spec.CreateVolumeGroupSnapshotResponse, error) {
	if req.GetName() == "" || len(req.GetSourceVolumeIds()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "group snapshot Name and source Volume IDs cannot be empty")
	}
	release, err := d.busy.hold(append([]string{req.GetName()}, req.GetSourceVolumeIds()...)...)
	if err != nil {
		return nil, err
	}
	defer release()
	if existing, ok := d.records.group(func(g group) bool { return g.Name == req.GetName() }); ok {
		described, volumes := d.describeGroup(existing)
		wanted := slices.Sorted(slices.Values(req.GetSourceVolumeIds()))
		if !slices.Equal(volumes, wanted) {
			return nil, status.Errorf(codes.AlreadyExists, "group snapshot %s exists for other volumes", req.GetName())
		}
		return &spec.CreateVolumeGroupSnapshotResponse{GroupSnapshot: described}, nil
	}
	var volumes []volume
	for _, id := range req.GetSourceVolumeIds() {
		v, ok := d.records.volumeByID(id)
		if !ok {
			return nil, status.Errorf(codes.NotFound, "volume %s not found", id)
		}
		fault := d.faults.of(v.ID, v.Claim)
		if err := fail(fault.Snapshot); err != nil {
			return nil, err
		}
		if err := d.faults.wait(ctx, fault, "snapshot "+req.GetName()+v.ID); err != nil {
			return nil, err
		}
		volumes = append(volumes, v)
	}
	g, err := d.takeGroup(req.GetName(), volumes)
	if err != nil {
		return nil, err
	}
	described, _ := d.describeGroup(g)
	return &spec.CreateVolumeGroupSnapshotResponse{GroupSnapshot: described}, nil
}

// takeGroup takes all snapshots or none.
func (d *Driver) takeGroup(name string, volumes []volume) (group, error) {
	g := group{ID: newID(), Name: name, Created: time.Now()}
	for _, v := range volumes {
		s, err := d.takeSnapshot(v, name+"@"+v.ID, g.ID)
		if err != nil {
			for _, id := range g.Snapshots {
				if taken, ok := d.records.snapshotByID(id); ok {
					_ = d.deleteSnapshot(taken)
				}
			}
			return g, err
		}
		g.Snapshots = append(g.Snapshots, s.ID)
	}
	if err := d.records.putGroup(g); err != nil {
		return g, status.Error(codes.Internal, err.Error())
	}
	return g, nil
}

func (d *Driver) describeGroup(g group) (*spec.VolumeGroupSnapshot, []string) {
	described := &spec.VolumeGroupSnapshot{GroupSnapshotId: g.ID, CreationTime: timestamppb.New(g.Created), ReadyToUse: true}
	var volumes []string
	for _, id := range g.Snapshots {
		if s, ok := d.records.snapshotByID(id); ok {
			one := d.describe(s)
			described.Snapshots = append(described.Snapshots, one)
			described.ReadyToUse = described.ReadyToUse && one.ReadyToUse
			volumes = append(volumes, s.Volume)
		}
	}
	slices.Sort(volumes)
	return described, volumes
}

// DeleteVolumeGroupSnapshot removes a group and its snapshots.
func (d *Driver) DeleteVolumeGroupSnapshot(_ context.Context, req *spec.DeleteVolumeGroupSnapshotRequest) (*spec.DeleteVolumeGroupSnapshotResponse, error) {
	if req.GetGroupSnapshotId() == "" {
		return nil, status.Error(codes.InvalidArgument, "group snapshot ID cannot be empty")
	}
	release, err := d.busy.hold(req.GetGroupSnapshotId())
	if err != nil {
		return nil, err
	}
	defer release()
	g, ok := d.records.groupByID(req.GetGroupSnapshotId())
	if !ok {
		return &spec.DeleteVolumeGroupSnapshotResponse{}, nil
	}
	for _, id := range req.GetSnapshotIds() {
		if !slices.Contains(g.Snapshots, id) {
			return nil, status.Errorf(codes.InvalidArgument, "snapshot %s is not part of group snapshot %s", id, g.ID)
		}
	}
	for _, id := range g.Snapshots {
		if s, ok := d.records.snapshotByID(id); ok {
			if err := d.deleteSnapshot(s); err != nil {
				return nil, err
			}
		}
	}
	if err := d.records.dropGroup(g.ID); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &spec.DeleteVolumeGroupSnapshotResponse{}, nil
}

// GetVolumeGroupSnapshot shows a group.
func (d *Driver) GetVolumeGroupSnapshot(_ context.Context, req *spec.GetVolumeGroupSnapshotRequest) (*spec.GetVolumeGroupSnapshotResponse, error) {
	if req.GetGroupSnapshotId() == "" {
		return nil, status.Error(codes.InvalidArgument, "group snapshot ID cannot be empty")
	}
	g, ok := d.records.groupByID(req.GetGroupSnapshotId())
	if !ok {
		return nil, status.Errorf(codes.NotFound, "group snapshot %s not found", req.GetGroupSnapshotId())
	}
	for _, id := range req.GetSnapshotIds() {
		if !slices.Contains(g.Snapshots, id) {
			return nil, status.Errorf(codes.InvalidArgument, "snapshot %s is not part of group snapshot %s", id, g.ID)
		}
	}
	described, _ := d.describeGroup(g)
	return &spec.GetVolumeGroupSnapshotResponse{GroupSnapshot: described}, nil
}
