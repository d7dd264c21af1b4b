#!/usr/bin/env bash
# The whole path on one machine without a GPU: installs, builds, draws pictures, trains over two ranks,
# kills one of them in the middle of an epoch, resumes, evaluates and plots. Leaves all of it in runs/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
say() { printf '\033[1m%s\033[0m\n' "demo: $*" >&2; }

deploy/setup.sh
say "building (some minutes the first time)"
deploy/build.sh

lockstep=build/lockstep
recipe=jobs/rsb/recipes/tiny_cpu.toml
data=runs/demo-data
run=runs/demo-$(date -u +%Y%m%dT%H%M%SZ)
launch=(mpirun -np 2 --oversubscribe --bind-to none)
[ "$(id -u)" -ne 0 ] || launch+=(--allow-run-as-root)

if [ ! -e "$data/complete" ]; then
  say "drawing pictures into $data"
  rm -rf "$data"
  "$lockstep" data make "$data"
  touch "$data/complete"
fi

# In the middle of the third epoch; the newest checkpoint is some steps older.
steps_per_epoch=$("$lockstep" plan "$recipe" --json |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["steps_per_epoch"])')
kill_at=$((steps_per_epoch * 5 / 2))

say "training over 2 ranks; after $kill_at steps one of them will be killed"
"${launch[@]}" "$lockstep" train "$recipe" --run "$run" --set log.every=1 &
launcher=$!
trap 'kill "$launcher" 2>/dev/null || true' EXIT
rows() { if [ -e "$run/metrics.jsonl" ]; then wc -l < "$run/metrics.jsonl"; else echo 0; fi; }
while [ "$(rows)" -lt "$kill_at" ] && kill -0 "$launcher" 2>/dev/null; do sleep 0.1; done
victim=$(pgrep -P "$launcher" | tail -n 1)
say "SIGKILL for one rank (process $victim)"
kill -KILL "$victim"
code=0
wait "$launcher" || code=$?
trap - EXIT
killed_at=$(rows)

say "the job ended with code $code after $killed_at steps; resuming from its newest checkpoint"
"${launch[@]}" "$lockstep" resume "$run"

say "evaluating on the held-out pictures"
result=$("${launch[@]}" "$lockstep" eval "$run")
"$lockstep" plot "$run" --out "$run/plots" > /dev/null
"$lockstep" preview "$run" --out "$run/plots/batch.png"

say "seen:"
cat >&2 <<END
  a run of $(rows) steps, killed after $killed_at, resumed, every step in metrics.jsonl once
  held-out pictures: $result
  (10 classes: guessing gives a top1 of 10)
  curves and a batch as the model sees it: $run/plots/
next:
  $lockstep inspect $run
  $lockstep export $run --format timm my-model
  $lockstep plan jobs/rsb/recipes/a3_resnet50.toml --samples 1281167 --world 8
END
