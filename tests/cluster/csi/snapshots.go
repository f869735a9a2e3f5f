package csi

import (
	"context"
	"slices"
	"strconv"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"strongroom.dev/cluster/internal/fault"
)

// CreateSnapshot takes a snapshot of one volume.
func (d *Driver) CreateSnapshot(ctx context.Context, req *spec.CreateSnapshotRequest) (*spec.CreateSnapshotResponse, error) {
	if req.GetName() == "" || req.GetSourceVolumeId() == "" {
		return nil, status.Error(codes.InvalidArgument, "snapshot Name and source Volume ID cannot be empty")
	}
	release, err := d.busy.hold(req.GetName(), req.GetSourceVolumeId())
	if err != nil {
		return nil, err
	}
	defer release()
	if existing, ok := d.records.snapshot(func(s snapshot) bool { return s.Name == req.GetName() }); ok {
		if existing.Volume != req.GetSourceVolumeId() {
			return nil, status.Errorf(codes.AlreadyExists, "snapshot %s exists for another volume", req.GetName())
		}
		return &spec.CreateSnapshotResponse{Snapshot: d.describe(existing)}, fail(d.faults.of(existing.Volume, existing.Claim).Snapshot)
	}
	v, ok := d.records.volumeByID(req.GetSourceVolumeId())
	if !ok {
		return nil, status.Errorf(codes.NotFound, "volume %s not found", req.GetSourceVolumeId())
	}
	misbehave := d.faults.of(v.ID, v.Claim)
	if err := fail(misbehave.Snapshot); err != nil {
		return nil, err
	}
	if err := d.faults.wait(ctx, misbehave, "snapshot "+req.GetName()); err != nil {
		return nil, err
	}
	s, err := d.takeSnapshot(v, req.GetName(), "")
	if err != nil {
		return nil, err
	}
	return &spec.CreateSnapshotResponse{Snapshot: d.describe(s)}, nil
}

func (d *Driver) takeSnapshot(v volume, name, group string) (snapshot, error) {
	if v.Shallow {
		return snapshot{}, status.Error(codes.InvalidArgument, "cannot snapshot a snapshot-backed volume")
	}
	s := snapshot{
		ID: newID(), Name: name, Volume: v.ID, Claim: v.Claim, Bytes: v.Bytes,
		Created: time.Now(), Group: group, Depth: v.Depth + 1,
	}
	if err := d.backend.snapshot(v.ID, s.ID); err != nil {
		return s, status.Error(codes.Internal, err.Error())
	}
	if err := d.records.putSnapshot(s); err != nil {
		return s, status.Error(codes.Internal, err.Error())
	}
	return s, nil
}

func (d *Driver) describe(s snapshot) *spec.Snapshot {
	return &spec.Snapshot{
		SnapshotId: s.ID, SourceVolumeId: s.Volume, SizeBytes: s.Bytes, GroupSnapshotId: s.Group,
		CreationTime: timestamppb.New(s.Created),
		ReadyToUse:   d.faults.of(s.Volume, s.Claim).Snapshot != fault.NeverReady,
	}
}

// DeleteSnapshot removes a snapshot. CephFS keeps the data for as long as a shallow volume reads it; for
// everyone else the snapshot is gone, and the call succeeds.
func (d *Driver) DeleteSnapshot(_ context.Context, req *spec.DeleteSnapshotRequest) (*spec.DeleteSnapshotResponse, error) {
	if req.GetSnapshotId() == "" {
		return nil, status.Error(codes.InvalidArgument, "snapshot ID cannot be empty")
	}
	release, err := d.busy.hold(req.GetSnapshotId(), req.GetSnapshotId()+"@source")
	if err != nil {
		return nil, err
	}
	defer release()
	s, ok := d.records.snapshotByID(req.GetSnapshotId())
	if !ok {
		return &spec.DeleteSnapshotResponse{}, nil
	}
	if _, exists := d.records.groupByID(s.Group); exists {
		return nil, status.Errorf(codes.InvalidArgument, "snapshot %s is part of group snapshot %s", s.ID, s.Group)
	}
	if err := d.deleteSnapshot(s); err != nil {
		return nil, err
	}
	return &spec.DeleteSnapshotResponse{}, nil
}

func (d *Driver) deleteSnapshot(s snapshot) error {
	if err := fail(d.faults.of(s.Volume, s.Claim).DeleteSnapshot); err != nil {
		return err
	}
	s.Deleted = true
	if err := d.records.putSnapshot(s); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return d.removeIfLast(s.ID)
}

// removeIfLast removes a deleted snapshot's data once no shallow volume reads it.
func (d *Driver) removeIfLast(id string) error {
	if _, visible := d.records.snapshotByID(id); visible {
		return nil
	}
	if _, used := d.records.volume(func(v volume) bool { return v.Shallow && v.SourceSnapshot == id }); used {
		return nil
	}
	if err := d.backend.removeSnapshot(id); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if err := d.records.dropSnapshot(id); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// ListSnapshots is served whether it is offered or not.
func (d *Driver) ListSnapshots(_ context.Context, req *spec.ListSnapshotsRequest) (*spec.ListSnapshotsResponse, error) {
	all := slices.DeleteFunc(d.records.allSnapshots(), func(s snapshot) bool {
		return req.GetSnapshotId() != "" && s.ID != req.GetSnapshotId() ||
			req.GetSourceVolumeId() != "" && s.Volume != req.GetSourceVolumeId()
	})
	start := 0
	if token := req.GetStartingToken(); token != "" {
		var err error
		if start, err = strconv.Atoi(token); err != nil || start < 0 || start > len(all) {
			return nil, status.Errorf(codes.Aborted, "starting token %q is not valid", token)
		}
	}
	end := len(all)
	resp := &spec.ListSnapshotsResponse{}
	if limit := int(req.GetMaxEntries()); limit > 0 && start+limit < end {
		end = start + limit
		resp.NextToken = strconv.Itoa(end)
	}
	for _, s := range all[start:end] {
		resp.Entries = append(resp.Entries, &spec.ListSnapshotsResponse_Entry{Snapshot: d.describe(s)})
	}
	return resp, nil
}
