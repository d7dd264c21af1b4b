#!/usr/bin/env bash
# Feeds made-up bytes to all that reads tars, indices, safetensors and pictures, under the address and undefined-behaviour
# sanitizers: `tests/fuzz/run.sh [SECONDS]` (20). What ends it is kept in the folder that it names.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
seconds=${1:-20}
build=${LOCKSTEP_FUZZ_BUILD:-$root/build/fuzz}
lockstep=${LOCKSTEP:-$root/build/lockstep}
mkdir -p "$build"

# Sound files to start from, the first byte as fuzz.cpp wants it.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$lockstep" data make "$scratch/set" --train 2 --validation 1 --side 24 >/dev/null
"$lockstep" data pack "$scratch/set/train" "$scratch/shards" --pictures 4 >/dev/null 2>&1
mkdir -p "$build/corpus"
seed() { # KIND FILES...
  local kind=$1
  shift
  for file in "$@"; do
    { printf "%b" "\\x$kind" && cat "$file"; } >"$build/corpus/seed-$kind-$(basename "$file")"
  done
}
seed 00 "$scratch"/shards/*.tar
seed 01 "$scratch"/shards/index.safetensors
seed 02 "$scratch"/shards/index.safetensors
find "$scratch/set/train" -name '*.jpg' | head -n 3 | while read -r file; do seed 03 "$file"; done
"$lockstep" preview --image "$(find "$scratch/set/train" -name '*.jpg' | head -n 1)" --op Invert=0 --out "$scratch/a.png"
seed 03 "$scratch/a.png"


cmake -S "$root/tests/fuzz" -B "$build" -G Ninja -DCMAKE_CXX_COMPILER=clang++ >/dev/null
cmake --build "$build" >&2
cd "$build"
./lockstep_fuzz -max_total_time="$seconds" -max_len=20000 -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 \
  -artifact_prefix="$build/" corpus 2>&1 | tail -n 12
