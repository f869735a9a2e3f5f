#!/bin/sh
# Builds the cluster command (a second, when nothing changed) and runs it from where you are:
#   tests/cluster/cluster.sh up
set -eu
here=$(cd "$(dirname "$0")" && pwd)
STRONGROOM_ROOT=$(cd "$here/../.." && pwd)
cache=${STRONGROOM_CACHE:-$HOME/.cache/strongroom}
export STRONGROOM_ROOT
bin=$cache/bin/cluster-$(printf %s "$here" | cksum | tr -d ' ')
mkdir -p "$cache/bin"
# To a name of its own first: another checkout's command, or a running one, keeps its file.
CGO_ENABLED=0 go -C "$here" build -trimpath -buildvcs=false -o "$bin.$$" ./cmd/cluster
mv "$bin.$$" "$bin"
exec "$bin" "$@"
