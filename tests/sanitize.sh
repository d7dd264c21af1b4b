#!/usr/bin/env bash
# Builds the unit tests under sanitizers and runs them: `tests/sanitize.sh address` (AddressSanitizer, leaks, undefined
# behaviour) or `tests/sanitize.sh thread`. Each has a build folder of its own, build/sanitize-KIND.
# With `all` behind it the tests that link LibTorch too, which take minutes to build.
set -euo pipefail

kind=${1:-}
case "$kind" in
  address) sanitizers=address,undefined ;;
  thread) sanitizers=thread ;;
  *) sed -n '2,4s/^# *//p' "$0" >&2; exit 2 ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/sanitize-$kind
# Those without LibTorch; under `thread` those that have threads.
tests=(comm_test jobs_test monitoring_test runner_test)
[ "$kind" = address ] || tests=(comm_test monitoring_test runner_test)
[ "${2:-}" != all ] || tests+=(comm_torch_test jobs_torch_test runner_torch_test)

LOCKSTEP_BUILD=$build LOCKSTEP_SANITIZE=$sanitizers "$root/deploy/build.sh" "${tests[@]}"
export ASAN_OPTIONS=detect_leaks=1:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
# Not under sanitizers, whose own memory grows: what a loader takes; nor what loads hwloc's plugin for PCI, which leaks, and
# is gone before the leak can be given its name.
export GTEST_FILTER="-DataPath.TakesNoMoreMemoryAfterTwentyEpochs:CoresNear.*"
# A process that has a thread of the sanitizer's may not take a user namespace of its own, in which this one mounts.
[ "$kind" != thread ] || GTEST_FILTER+=:CheckpointStore.AFullDiskAtAnyStageHarmsNothing
# Nor does it take functions in several clones, so that kernels of eight and sixteen numbers round differently; nor count memory.
[ "$kind" != thread ] || GTEST_FILTER+=":Shapes/Product.IsTorchs/*:Jobs/StepMemory.*"
# What fontconfig keeps of the fonts that it has looked up; and memory that stays since others may be writing to it yet.
printf 'leak:libfontconfig\nleak:SumArena::~SumArena\n' > "$build/known_leaks"
export LSAN_OPTIONS=suppressions=$build/known_leaks:print_suppressions=0
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
# It does not see how the threads of GCC's OpenMP wait for each other.
[ "$kind" != thread ] || export OMP_NUM_THREADS=1
for test in "${tests[@]}"; do
  echo "== $test under $sanitizers"
  "$build/tests/$test"
done
