#!/usr/bin/env bash
# The whole path on one machine without a GPU: installs, builds, draws pictures and trains over two ranks.
#   demo.sh              ResNet-strikes-back: kills a rank in the middle of an epoch, resumes, evaluates and plots
#   demo.sh --job dino   DINO without labels: k-NN accuracy before and after, and where the network looks
# Leaves all of it in runs/.
set -euo pipefail

job=rsb
case "$*" in
  "" | "--job rsb") ;;
  "--job dino") job=dino ;;
  *) echo "usage: deploy/demo.sh [--job rsb|dino]" >&2; exit 2 ;;
esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
say() { printf '\033[1m%s\033[0m\n' "demo: $*" >&2; }

deploy/setup.sh
say "building (some minutes the first time)"
deploy/build.sh

lockstep=build/lockstep
data=runs/demo-data
run=runs/demo-$job-$(date -u +%Y%m%dT%H%M%SZ)
launch=(mpirun -np 2 --oversubscribe --bind-to none)
[ "$(id -u)" -ne 0 ] || launch+=(--allow-run-as-root)

if [ ! -e "$data/complete" ]; then
  say "drawing pictures into $data"
  rm -rf "$data"
  "$lockstep" data make "$data"
  touch "$data/complete"
fi

demo_rsb() {
  local recipe=jobs/rsb/recipes/tiny_cpu.toml steps_per_epoch kill_at victim code=0 killed_at result
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
}

demo_dino() {
  local recipe=jobs/dino/recipes/vit_tiny_cpu.toml before after raw
  say "the k-NN accuracy of raw pixels and of the untrained network"
  raw=$("${LOCKSTEP_CACHE:-$HOME/.cache/lockstep}/venv/bin/python" deploy/raw_pixel_knn.py "$data")
  before=$("${launch[@]}" "$lockstep" eval "$recipe" --initial)

  say "training over 2 ranks, without labels"
  "${launch[@]}" "$lockstep" train "$recipe" --run "$run"

  say "evaluating the teacher, drawing where its heads look"
  after=$("${launch[@]}" "$lockstep" eval "$run")
  "$lockstep" plot "$run" --out "$run/plots" > /dev/null
  "$lockstep" preview "$run" --out "$run/plots/crops.png"
  mkdir -p "$run/shown"
  for folder in "$data"/val/*; do cp "$folder/00000.jpg" "$run/shown/$(basename "$folder").jpg"; done
  "$lockstep" eval "$run" --task attention --images "$run/shown" --out "$run/attention" > /dev/null

  say "seen (percent of held-out pictures whose class their 10 nearest neighbours name; guessing gives 10):"
  python3 - "$raw" "$before" "$after" >&2 <<'END'
import json, sys
for name, text in zip(("raw pixels", "before training", "after training"), sys.argv[1:]):
    print(f"  {name:16} {json.loads(text)['knn_10_top1']:5.1f}")
END
  cat >&2 <<END
  crops as the network sees them, curves: $run/plots/
  where its heads look: $run/attention/sheet.png
next:
  $lockstep eval $run --task linear --set evaluation.linear_batch_size=200 --set evaluation.linear_epochs=20
  $lockstep export $run --format dino my-vit
  $lockstep plan jobs/dino/recipes/vit_small_16.toml --samples 1281167 --world 8
END
}

"demo_$job"
