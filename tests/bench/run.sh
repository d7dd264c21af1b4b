#!/usr/bin/env bash
# Times everything beside its peer on this machine, which should have nothing else to do: the table on stdout, all figures in
# docs/measurements/steps.json and data.json. The data path with a folder of pictures (class folders of JPEGs) alone.
#   tests/bench/run.sh [PICTURES]      DINO=CHECKOUT for the official DINO code
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${LOCKSTEP_CACHE:-$HOME/.cache/lockstep}/venv/bin/python
"$root/deploy/build.sh"
"$python" "$root/tests/bench/steps.py" --json "$root/docs/measurements/steps.json"
[ $# -eq 0 ] || "$python" "$root/tests/bench/data.py" "$1" --json "$root/docs/measurements/data.json"
