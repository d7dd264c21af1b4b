#!/usr/bin/env bash
# Configures and builds: build/lockstep, or build/tests too with `deploy/build.sh all`; or the targets that are named.
# LOCKSTEP_SANITIZE (address,undefined or thread) is for tests/sanitize.sh, LOCKSTEP_BUILD another folder than build/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${LOCKSTEP_CACHE:-$HOME/.cache/lockstep}
build=${LOCKSTEP_BUILD:-$root/build}
[ $# -gt 0 ] || set -- lockstep

export CCACHE_DIR=${CCACHE_DIR:-$cache/ccache}
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros
# Debian has no nvcc in its archive; the one of the wheels is used with or without a toolkit here.
env -u CUDACXX cmake -S "$root" -B "$build" -G Ninja --log-level=WARNING \
  -DLOCKSTEP_VENV="$cache/venv" -DLOCKSTEP_SANITIZE="${LOCKSTEP_SANITIZE:-}" \
  -DCMAKE_C_COMPILER=/usr/bin/gcc -DCMAKE_CXX_COMPILER=/usr/bin/g++ \
  -DCMAKE_CXX_COMPILER_LAUNCHER=ccache \
  -DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=mold -DCMAKE_SHARED_LINKER_FLAGS=-fuse-ld=mold >&2
cmake --build "$build" --target "$@" >&2
