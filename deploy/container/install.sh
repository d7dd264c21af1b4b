#!/usr/bin/env bash
# Builds Lockstep in an image and leaves in PREFIX [/opt/lockstep] a tree that needs nothing of the build: the programs,
# LibTorch, recipes, manual pages. Dockerfile and lockstep.def both call it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
prefix=${1:-/opt/lockstep}

"$root/deploy/setup.sh" build
"$root/deploy/build.sh"
cmake --install "$root/build" --prefix "$prefix" --strip
cmake --install "$root/build" --prefix "$prefix" --component libtorch
