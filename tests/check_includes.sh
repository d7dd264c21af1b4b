#!/usr/bin/env bash
# Includes go one way: runner -> jobs -> comm, runner -> monitoring -> comm; and some folders know no torch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=0

# forbid WHAT FILES...: none of the files may include what matches.
forbid() {
  local what=$1
  shift
  ls "$@" > /dev/null || failed=1
  if grep -nE "#include [<\"]($what)" "$@"; then
    failed=1
  fi
}

forbid '(runner|jobs|monitoring)/' comm/*.h comm/*.cpp
shopt -s globstar
forbid '(runner|monitoring)/' jobs/**/*.h jobs/**/*.cpp
forbid '(runner|jobs)/' monitoring/*.h monitoring/*.cpp
torch='(ATen|torch|c10)/'
forbid "$torch" jobs/pixels/* jobs/random.* jobs/settings.h jobs/batch_maker.h jobs/job_recipe.h jobs/rsb/rsb_recipe.* \
  jobs/rsb/rsb_batches.* jobs/rsb/mixing.* comm/bucket_plan.* comm/tree_sum.* comm/*communicator.* monitoring/* \
  runner/recipe.* runner/sampler.* runner/schedules.* runner/loader.* runner/run_plan.* \
  runner/checkpoints/checkpoint_store.* runner/data/* runner/liveness/*

[ "$failed" -eq 0 ] || echo "these includes point the wrong way (docs/architecture.md)" >&2
exit "$failed"
