#!/bin/bash
# For a Slurm that does not requeue: N jobs, each after the end of the one before; a link whose run is done ends at once.
#   deploy/slurm/chain.sh N [options of sbatch] deploy/slurm/mpirun.sbatch [arguments of lockstep]
set -euo pipefail
links=${1:?how many jobs?}
shift
before=
for ((link = 1; link <= links; link++)); do
  before=$(sbatch --parsable --no-requeue ${before:+--dependency=afterany:"$before"} "$@")
  before=${before%%;*}
  echo "$before"
done
