# shellcheck shell=bash disable=SC2154
# What mpirun.sbatch and srun.sbatch do when they have said what they differ in: `options` of run.sh. They also set `run_sh`,
# `each` (ranks of a node), and trap USR2, which sets `asked` and goes on to `launcher`.

# shellcheck source=deploy/launcher.sh
. "$(dirname "$run_sh")/launcher.sh" || exit 2

task=${SLURM_ARRAY_TASK_ID:-0}
run=${RUN:?name the folder of the run}
run=${run//%a/$task}
set -- "${@//%a/$task}"

hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/$/:$each/" | paste -sd,)

launch() {
  code=75
  [ -z "$asked" ] || return
  # shellcheck disable=SC2086  # options are words
  "$run_sh" -np "${RANKS:-$((SLURM_JOB_NUM_NODES * each))}" --host "$hosts" $options \
    -- "${RECIPE:?name the recipe}" "$run" "$@" &
  launcher=$!
  [ -z "$asked" ] || kill -USR2 "$launcher"   # since it was looked at
  wait_for_launcher
}
launch "$@"

# A run that was killed before it saved anything, on the disk or in a node's memory, begins again.
if [ "$code" -eq 66 ] && never_saved; then
  mv "$run" "$run.unsaved-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}"
  launch "$@"
fi

if [ "$code" -eq 75 ]; then
  echo "saved; back into the queue"
  scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}" || true   # a link of a chain ends here
fi
exit "$code"
