#!/bin/sh
# Builds the cluster command (nothing, when nothing changed) and runs it from where you are:
#   tests/cluster/cluster.sh up
# Whoever calls it often asks for the built command itself:
#   tests/cluster/cluster.sh program
set -eu
here=$(cd "$(dirname "$0")" && pwd)
STRONGROOM_ROOT=$(cd "$here/../.." && pwd)
cache=${STRONGROOM_CACHE:-$HOME/.cache/strongroom}
export STRONGROOM_ROOT
bin=$cache/bin/cluster-$(printf %s "$here" | cksum | tr -d ' ')
mkdir -p "$cache/bin"
# One at a time, and always to the same file, which is not linked anew then. One that runs keeps its file.
CGO_ENABLED=0 flock "$bin.lock" go -C "$here" build -trimpath -buildvcs=false -o "$bin" ./cmd/cluster
if [ "${1-}" = program ]; then
  echo "$bin"
  exit
fi
exec "$bin" "$@"
