#!/usr/bin/env bash
# Configures and builds: build/lockstep, or build/tests too with `deploy/build.sh all`.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${LOCKSTEP_CACHE:-$HOME/.cache/lockstep}
target=${1:-lockstep}

export CCACHE_DIR=${CCACHE_DIR:-$cache/ccache}
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros
# Debian has no nvcc in its archive; the one of the wheels is used with or without a toolkit here.
env -u CUDACXX cmake -S "$root" -B "$root/build" -G Ninja --log-level=WARNING \
  -DLOCKSTEP_VENV="$cache/venv" \
  -DCMAKE_C_COMPILER=/usr/bin/gcc -DCMAKE_CXX_COMPILER=/usr/bin/g++ \
  -DCMAKE_CXX_COMPILER_LAUNCHER=ccache \
  -DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=mold -DCMAKE_SHARED_LINKER_FLAGS=-fuse-ld=mold >&2
cmake --build "$root/build" --target "$target" >&2
