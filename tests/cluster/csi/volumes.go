package csi

import (
	"context"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The keys by which csi-provisioner, told to, passes on for whom a volume is made.
const (
	claimNameKey      = "csi.storage.k8s.io/pvc/name"
	claimNamespaceKey = "csi.storage.k8s.io/pvc/namespace"
)

// ceph-csi's limits: a volume whose chain of clones would get longer is flattened, which copies all of its data.
const softCloneDepth = 4

// CreateVolume makes an empty volume, or one from a snapshot or another volume.
func (d *Driver) CreateVolume(ctx context.Context, req *spec.CreateVolumeRequest) (*spec.CreateVolumeResponse, error) {
	if req.GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "volume Name cannot be empty")
	}
	if len(req.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "volume Capabilities cannot be empty")
	}
	for _, capability := range req.GetVolumeCapabilities() {
		if err := d.accepts(capability, req.GetVolumeContentSource() != nil); err != nil {
			return nil, err
		}
	}
	wanted, err := d.wantedVolume(req)
	if err != nil {
		return nil, err
	}
	release, err := d.busy.hold(req.GetName(), wanted.SourceSnapshot+wanted.SourceVolume+"@source")
	if err != nil {
		return nil, err
	}
	defer release()
	fault := d.faults.of("", wanted.Claim)
	if err := fail(fault.Create); err != nil {
		return nil, err
	}
	if err := d.faults.wait(ctx, fault, "create "+wanted.Name); err != nil {
		return nil, err
	}
	if existing, ok := d.records.volume(func(v volume) bool { return v.Name == wanted.Name }); ok {
		if !fits(existing.Bytes, req.GetCapacityRange()) || existing.SourceSnapshot != wanted.SourceSnapshot || existing.SourceVolume != wanted.SourceVolume {
			return nil, status.Errorf(codes.AlreadyExists, "a volume named %s exists with another size or source", wanted.Name)
		}
		return created(existing, req), nil
	}
	if err := d.makeVolume(wanted); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return created(wanted, req), nil
}

func (d *Driver) makeVolume(v volume) error {
	var err error
	switch {
	case v.Shallow: // nothing to make: it is answered at once
	case v.SourceSnapshot != "" || v.SourceVolume != "":
		err = d.backend.clone(v)
	default:
		err = d.backend.create(v)
	}
	if err != nil {
		_ = d.backend.remove(v)
		return err
	}
	return d.records.putVolume(v)
}

// wantedVolume is what a request asks for.
func (d *Driver) wantedVolume(req *spec.CreateVolumeRequest) (volume, error) {
	v := volume{ID: newID(), Name: req.GetName(), Claim: claimOf(req.GetParameters())}
	var err error
	if v.Bytes, err = size(req.GetCapacityRange()); err != nil {
		return v, err
	}
	source := req.GetVolumeContentSource()
	if from := source.GetSnapshot(); from != nil {
		s, ok := d.records.snapshotByID(from.GetSnapshotId())
		if !ok {
			return v, status.Errorf(codes.NotFound, "snapshot %s not found", from.GetSnapshotId())
		}
		v.SourceSnapshot, v.Depth = s.ID, s.Depth+1
		v.Shallow = d.isShallow(req)
		return v.flattened(), needs(v.Bytes, s.Bytes)
	}
	if from := source.GetVolume(); from != nil {
		parent, ok := d.records.volumeByID(from.GetVolumeId())
		if !ok {
			return v, status.Errorf(codes.NotFound, "volume %s not found", from.GetVolumeId())
		}
		if parent.Shallow {
			return v, status.Error(codes.InvalidArgument, "cannot clone a snapshot-backed volume")
		}
		// Ceph puts a temporary clone between the two.
		v.SourceVolume, v.Depth = parent.ID, parent.Depth+2
		return v.flattened(), needs(v.Bytes, parent.Bytes)
	}
	return v, nil
}

// isShallow: CephFS answers a read-only volume from a snapshot without a copy, unless the class says otherwise.
func (d *Driver) isShallow(req *spec.CreateVolumeRequest) bool {
	if d.backend.singleNode() || req.GetParameters()["backingSnapshot"] == "false" {
		return false
	}
	for _, capability := range req.GetVolumeCapabilities() {
		if capability.GetAccessMode().GetMode() != spec.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY {
			return false
		}
	}
	return true
}

func (v volume) flattened() volume {
	if v.Depth >= softCloneDepth {
		v.Depth, v.Flattens = 0, v.Flattens+1
	}
	return v
}

// accepts refuses what the real driver refuses.
func (d *Driver) accepts(capability *spec.VolumeCapability, hasSource bool) error {
	mode := capability.GetAccessMode().GetMode()
	switch mode {
	case spec.VolumeCapability_AccessMode_UNKNOWN:
		return status.Error(codes.InvalidArgument, "unknown access mode")
	case spec.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:
		if !hasSource {
			return status.Error(codes.InvalidArgument, "readOnly accessMode is supported only with content source")
		}
	case spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER, spec.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER:
		if d.backend.singleNode() && capability.GetBlock() == nil {
			return status.Error(codes.InvalidArgument, "multi node access modes are only supported on rbd `block` type volumes")
		}
	}
	if capability.GetBlock() != nil && !d.backend.singleNode() {
		return status.Error(codes.InvalidArgument, "block volume not supported")
	}
	if capability.GetBlock() == nil && capability.GetMount() == nil {
		return status.Error(codes.InvalidArgument, "neither a block nor a mount volume is asked for")
	}
	if fs := capability.GetMount().GetFsType(); d.backend.singleNode() && fs != "" && fs != "ext4" {
		return status.Errorf(codes.InvalidArgument, "file system %s: this driver makes ext4 only", fs)
	}
	return nil
}

func claimOf(parameters map[string]string) string {
	if parameters[claimNameKey] == "" {
		return ""
	}
	return parameters[claimNamespaceKey] + "/" + parameters[claimNameKey]
}

// size rounds up as ceph-csi does: to MiB below one GiB, to GiB above.
func size(wanted *spec.CapacityRange) (int64, error) {
	const mib, gib = 1 << 20, 1 << 30
	bytes := wanted.GetRequiredBytes()
	switch {
	case bytes == 0 && wanted.GetLimitBytes() > 0 && wanted.GetLimitBytes() < gib:
		bytes = wanted.GetLimitBytes() / mib * mib
	case bytes == 0:
		bytes = gib
	case bytes < gib:
		bytes = (bytes + mib - 1) / mib * mib
	default:
		bytes = (bytes + gib - 1) / gib * gib
	}
	if limit := wanted.GetLimitBytes(); limit > 0 && bytes > limit {
		return 0, status.Errorf(codes.OutOfRange, "no size between %d and %d bytes is possible", wanted.GetRequiredBytes(), limit)
	}
	return bytes, nil
}

func fits(bytes int64, wanted *spec.CapacityRange) bool {
	return bytes >= wanted.GetRequiredBytes() && (wanted.GetLimitBytes() == 0 || bytes <= wanted.GetLimitBytes())
}

func needs(bytes, source int64) error {
	if bytes < source {
		return status.Errorf(codes.OutOfRange, "requested volume size %d is less than the size %d of its source", bytes, source)
	}
	return nil
}

func created(v volume, req *spec.CreateVolumeRequest) *spec.CreateVolumeResponse {
	context := map[string]string{}
	for _, key := range []string{"clusterID", "pool", "fsName"} {
		if value, ok := req.GetParameters()[key]; ok {
			context[key] = value
		}
	}
	if v.Shallow {
		context["backingSnapshotID"] = v.SourceSnapshot
	}
	return &spec.CreateVolumeResponse{Volume: &spec.Volume{
		VolumeId: v.ID, CapacityBytes: v.Bytes, ContentSource: req.GetVolumeContentSource(), VolumeContext: context,
	}}
}
