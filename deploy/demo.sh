#!/usr/bin/env bash
# The whole path on one machine without a GPU: installs, builds, draws pictures, trains over two ranks,
# kills one in the middle of an epoch, resumes, evaluates and plots. Leaves all in runs/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
say() { printf '\033[1m%s\033[0m\n' "demo: $*" >&2; }

deploy/setup.sh
say "building (some minutes the first time)"
deploy/build.sh
lockstep=build/lockstep

data=runs/demo-data
run=runs/demo-$(date -u +%Y%m%dT%H%M%SZ)
launch=(mpirun -np 2 --oversubscribe --bind-to none)
[ "$(id -u)" -eq 0 ] && launch+=(--allow-run-as-root)

if [ ! -e "$data/val" ]; then
  say "drawing pictures into $data"
  rm -rf "$data"
  "$lockstep" data make "$data"
fi

say "training tiny_cpu over 2 ranks; one of them will be killed in the middle of an epoch"
"${launch[@]}" "$lockstep" train jobs/rsb/recipes/tiny_cpu.toml --run "$run" \
  --set data.train="$data/train" --set data.val="$data/val" &
launcher=$!

# A checkpoint is there and the epoch is not over: the moment to pull the plug.
steps_per_epoch=$("$lockstep" plan jobs/rsb/recipes/tiny_cpu.toml --set data.train="$data/train" \
  --set data.val="$data/val" --json | "$root/deploy/json_field.sh" steps_per_epoch)
kill_at=$((steps_per_epoch * 2 + steps_per_epoch / 2))
until [ "$(wc -l < "$run/metrics.jsonl" 2>/dev/null || echo 0)" -ge "$kill_at" ]; do
  kill -0 "$launcher" 2>/dev/null || { wait "$launcher"; exit 1; }
  sleep 0.2
done
victim=$(pgrep -P "$launcher" -f "$lockstep train" | tail -n 1)
say "killing one rank (process $victim) with SIGKILL"
kill -KILL "$victim"
code=0
wait "$launcher" || code=$?
say "the job ended with code $code; resuming"

"${launch[@]}" "$lockstep" resume "$run"
say "evaluating"
result=$("${launch[@]}" "$lockstep" eval "$run")
"$lockstep" plot "$run" --out "$run/plots"
