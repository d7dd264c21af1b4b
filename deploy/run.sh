#!/usr/bin/env bash
# Trains by mpirun and starts again what a cluster broke: a new run, or one that is there already.
#   deploy/run.sh [--again-when-stopped] -np N [--host a:8,b:8,spare:8] [options of mpirun] -- RECIPE RUN [options of train]
# Starts again after the codes 70, 71, 72 (a hang, a collective, a lost rank), 134, 135, 137, 139 (a rank that was killed or
# crashed), 143 where srun ended the others while they started, 205 and 255 (mpirun lost a host), without the hosts that the
# post-mortem suspects, or that were lost, where --host has slots enough without them; after 75 (stopped as asked) with
# --again-when-stopped; never after others. Gives up after 3 starts in a row that came no further.
# --srun launches by srun, inside a job of Slurm; options are then srun's.
# LOCKSTEP names the program [lockstep], MPIRUN the launcher [mpirun].
set -u

# shellcheck source=deploy/launcher.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/launcher.sh" || exit 2

usage() { sed -n '2,3s/^# *//p' "$0" >&2; exit 2; }
say() { printf 'run.sh: %s\n' "$*" >&2; }

by=mpirun again_when_stopped=no ranks='' hosts='' options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case "$1" in
    --again-when-stopped) again_when_stopped=yes ;;
    --srun) by=srun ;;
    -np | -n) ranks=${2:?}; shift ;;
    --host | -host | -H) hosts=${2:?}; shift ;;
    *) options+=("$1") ;;
  esac
  shift
done
if [ $# -lt 3 ] || [ -z "$ranks" ]; then usage; fi
recipe=$2 run=$3
shift 3

# What is asked of this script is asked of the run. A second TERM ends it at once.
launcher='' asked='' again=maybe
pass_on() {
  asked=$1
  [ "$1" = USR2 ] || again=never
  [ -z "$launcher" ] || tell "$1"
}
# A launcher that still starts its ranks loses an USR2: it hears it until it ends.
tell() {
  if [ "$1" = USR2 ]; then
    while kill -USR2 "$launcher"; do sleep 1; done > /dev/null 2>&1 &
  else
    kill -"$1" "$launcher"
  fi
}
for signal in USR2 TERM INT; do
  # shellcheck disable=SC2064  # the name of the signal is meant now
  trap "pass_on $signal" "$signal"
done

# mpirun does not wait for ranks that save after a TERM: USR2 is what they are told.
launch() {
  local words=(train "$recipe" --run "$run")
  [ ! -e "$run/recipe.toml" ] || words=(resume "$run")
  local start=("${MPIRUN:-mpirun}" -np "$ranks" ${hosts:+--host "$hosts"}) name
  for name in "${!NCCL_@}"; do start+=(-x "$name"); done   # to the other hosts; srun passes everything on
  if [ "$by" = srun ]; then
    local names
    names=$(enough_hosts)
    # -K: a rank that dies ends the others. A job's environment asks for all of its nodes. A fence by tree, which PMIx of
    # Slurm 22.05 has else, waits for no other node: ranks then hear from others before they are ready for it.
    export SLURM_PMIX_FENCE=${SLURM_PMIX_FENCE:-ring}
    start=(srun --mpi=pmix -K -n "$ranks" ${names:+-N "$(wc -w <<< "${names//,/ }")" -w "$names"})
  fi
  "${start[@]}" ${options[@]+"${options[@]}"} "${LOCKSTEP:-lockstep}" "${words[@]}" "$@" &
  launcher=$!
  [ -z "$asked" ] || tell "$asked"   # since it was looked at
  wait_for_launcher
}

# For srun, which starts a rank on each that it is given: no more than it takes.
enough_hosts() {
  tr , '\n' <<< "$hosts" |
    awk -F: -v left="$ranks" 'left > 0 { names = names (NR > 1 ? "," : "") $1; left -= NF > 1 ? $2 : 1 } END { print names }'
}

slots() { tr , '\n' <<< "$1" | awk -F: 'NF { n += NF > 1 ? $2 : 1 } END { print n + 0 }'; }

heartbeats() { find "$run/live" -name '*.json' -newer "$started" -printf '%f\n' 2> /dev/null | sed 's/\.json$//'; }

# The hosts that the newest post-mortem names; of those that mpirun lost the watch is gone too, which would have taken its
# heartbeat away.
suspects() {
  local report _
  report=$(find "$run/postmortem" -name suspect_hosts -newer "$started" 2> /dev/null | sort | tail -n 1)
  if [ -n "$report" ]; then
    cat "$report"
  elif [ "$code" -eq 205 ] || [ "$code" -eq 255 ]; then
    for _ in $(seq 50); do   # the watches of the others are about to end
      [ "$(heartbeats | wc -l)" -gt 0 ] || break
      sleep 0.1
    done
    heartbeats
  fi
}

# Where the others are enough.
leave_out_suspects() {
  local suspect rest
  while read -r suspect; do
    rest=$(tr , '\n' <<< "$hosts" | awk -F: -v out="$suspect" '$1 != out' | paste -sd,)
    if [ "$(slots "$rest")" -ge "$ranks" ] && [ "$rest" != "$hosts" ]; then
      hosts=$rest
      say "without $suspect from here on"
    fi
  done < <(suspects)
}

came_into_run() { [ -n "$(find "$run" -newer "$started" -print -quit 2> /dev/null)" ]; }

# The step that the run has come to; a start that died before its first step has left what was there.
reached() {
  {
    echo 0
    sed -n 's/^ *"from_step": \([0-9]*\).*/\1/p' "$run/run.json"
    tail -n 1 "$run/metrics.jsonl" | sed -n 's/.*"step": *\([0-9]*\).*/\1/p'
  } 2> /dev/null | sort -n | tail -n 1
}

started=$(mktemp)
trap 'rm -f "$started"' EXIT
furthest=-1 without_progress=0 starts=0
while :; do
  touch "$started"
  starts=$((starts + 1))
  if [ -n "$asked" ]; then exit 75; fi
  launch "$@"
  case "$code" in
    70 | 71 | 72 | 134 | 135 | 137 | 139 | 205 | 255) ;;
    143) if [ "$by" != srun ] || came_into_run; then exit "$code"; fi ;;   # of those it ended: above that of who crashed
    66) if [ "$starts" -eq 1 ] || ! never_saved; then exit "$code"; fi
      # Killed before anything was saved: nothing is lost by beginning again.
      mv "$run" "$run.unsaved-$(date -u +%Y%m%dT%H%M%SZ)-$starts" ;;
    75) [ "$again_when_stopped" = yes ] || exit "$code"
      asked='' ;;
    *) exit "$code" ;;
  esac
  [ "$again" != never ] || exit "$code"
  without_progress=$((without_progress + 1))
  step=$(reached)
  if [ "$step" -gt "$furthest" ]; then
    furthest=$step without_progress=1
  elif [ "$without_progress" -gt 3 ]; then
    say "3 starts again after step $furthest came no further; the last code is $code"
    exit "$code"
  fi
  leave_out_suspects
  say "ended with code $code; starting again"
done
