#!/usr/bin/env bash
# Sets up, builds and runs all the tests. `tests/run.sh REGEX` runs those whose name matches.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/deploy/setup.sh"
"$root/deploy/build.sh" all

# Tests that something must reach in time run alone.
cd "$root/build"
ctest --output-on-failure --no-tests=error --parallel "$(nproc)" ${1:+--tests-regex "$1"}
