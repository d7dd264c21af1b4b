#!/usr/bin/env python3
"""Times what a run does beside what PyTorch, timm and the official DINO code do, in turns on the same machine.

    python tests/bench/steps.py [--rounds 3] [--steps 5] [--only NAME]... [--json FILE]

Two ranks of one thread each, fp32, drawn pictures. Every rank, ours and theirs, is started by the same mpirun: Linux shares
out the processor by session, and torchrun would give each rank a session of its own. The official DINO code is timed
where DINO names a checkout. Only the ratios count, since machines differ; their spread says how much to believe.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKSTEP = os.environ.get("LOCKSTEP") or str(REPOSITORY / "build" / "lockstep")
RSB = REPOSITORY / "jobs" / "rsb" / "recipes" / "a3_resnet50.toml"
TINY = REPOSITORY / "jobs" / "rsb" / "recipes" / "tiny_cpu.toml"
DINO = REPOSITORY / "jobs" / "dino" / "recipes" / "vit_small_16.toml"
PEERS = Path(__file__).with_name("peers.py")
RANKS = 2
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none", *(["--allow-run-as-root"] if os.geteuid() == 0 else []), "-np", str(RANKS)]


def last_json(command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])


def bench(part, recipe, options, *settings):
    fixed = ("precision=fp32", "compute.threads=1", *settings)
    return last_json([*MPIRUN, LOCKSTEP, "bench", part, recipe, "--steps", options.steps,
                      *(word for setting in fixed for word in ("--set", setting))])


def peer(name, options):
    return last_json([*MPIRUN, sys.executable, PEERS, name, options.steps])


# --- The pairs: (ours, theirs), each so that more is better


def resnet(options):
    ours = bench("step", RSB, options, "batch.size=32", "average.decay=0.9999")
    return ours["images_per_second"], peer("timm_step", options)["images_per_second"]


def dino(options):
    ours = bench("step", DINO, options, "batch.size=8")
    return ours["images_per_second"], peer("dino_step", options)["images_per_second"]


def vit(options):
    ours = bench("step", RSB, options, "batch.size=32", "model.name=vit_small_patch16_224", "augmentation.size=224",
                 "optimizer.name=adamw", "optimizer.learning_rate=1e-3", "optimizer.weight_decay=0.05")
    return ours["images_per_second"], peer("timm_vit_step", options)["images_per_second"]


def sums(key):
    def pair(options):
        return 1 / bench("sum", RSB, options)[key], 1 / peer("gloo_sum", options)[key]

    return pair


def tiny_data(folder):
    """The words that make tiny_cpu train on drawn pictures in the folder, each step logged."""
    subprocess.run([LOCKSTEP, "data", "make", Path(folder) / "data", "--train", "20", "--validation", "4"], check=True,
                   capture_output=True)
    settings = (f"data.train={folder}/data/train", f"data.val={folder}/data/val", "log.every=1")
    return [word for setting in settings for word in ("--set", setting)]


def rows(run):
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wait_for(done):
    while not done():
        time.sleep(0.005)


def start_up(options):
    with tempfile.TemporaryDirectory() as folder:
        run, words = Path(folder) / "run", tiny_data(folder)
        start = time.perf_counter()
        ours = subprocess.Popen([*MPIRUN, LOCKSTEP, "train", TINY, "--run", run, *words], stderr=subprocess.DEVNULL)
        wait_for(lambda: rows(run))
        seconds = time.perf_counter() - start
        ours.terminate()
        ours.wait()
    start = time.perf_counter()
    subprocess.run([*MPIRUN, sys.executable, PEERS, "first_step", "1"], check=True, capture_output=True)
    return 1 / seconds, 1 / (time.perf_counter() - start)


def scaling(options):
    """A step of two ranks beside what `plan` reckons from one rank's and a sum, no part of which a processor hides."""
    words = [*MPIRUN[:-1], "1", LOCKSTEP, "bench", "step", RSB, "--steps", str(options.steps)]
    settings = ("precision=fp32", "compute.threads=1", "average.decay=0.9999")
    words += [word for setting in settings for word in ("--set", setting)]
    # Both cores work, as they do with two ranks.
    jobs = [subprocess.Popen([*words, "--set", "batch.size=16"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            for _ in range(RANKS)]
    alone = [json.loads(job.communicate()[0]) for job in jobs]
    compute, update = (statistics.mean(one[key] for one in alone) for key in ("compute_seconds", "update_seconds"))
    added = bench("sum", RSB, options)
    plan = json.loads(subprocess.run(
        [LOCKSTEP, "plan", RSB, "--samples", "100000", "--set", "model.classes=1000", "--world", str(RANKS), "--json",
         "--node-link", f"{added['bytes'] / added['seconds'] / 1e9:.6f}GB", "--link", "400Gb", "--step-seconds", f"{compute:.6f}",
         "--update-seconds", f"{update:.6f}"], check=True, capture_output=True, text=True).stdout)
    (reckoned,) = (step for step in plan["scaling"] if step["world"] == RANKS)
    measured = bench("step", RSB, options, "batch.size=32", "average.decay=0.9999")
    return 1 / measured["step_seconds"], 1 / (compute + update + reckoned["sum_seconds"])


def restart(_options):
    """From the kill of a rank to the next update, by deploy/run.sh."""
    with tempfile.TemporaryDirectory() as folder:
        run, words = Path(folder) / "run", tiny_data(folder)
        (Path(folder) / "memory").mkdir()
        script = subprocess.Popen(
            [REPOSITORY / "deploy" / "run.sh", "-np", str(RANKS), *MPIRUN[1:-2], "--", TINY, run, *words, "--set",
             "schedule.epochs=1000", "--set", "checkpoint.memory_every=1", "--set",
             f"checkpoint.memory_folder={folder}/memory"],
            env={**os.environ, "LOCKSTEP": LOCKSTEP, "MPIRUN": MPIRUN[0], "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
        wait_for(lambda: len(rows(run)) > 9)
        description = json.loads((run / "run.json").read_text())
        os.kill(description["process"], signal.SIGKILL)
        start = time.perf_counter()

        def goes_on():
            now = json.loads((run / "run.json").read_text())
            return now["launch"] != description["launch"] and rows(run)[-1]["step"] > now["from_step"]

        wait_for(goes_on)
        seconds = time.perf_counter() - start
        script.send_signal(signal.SIGUSR2)
        script.wait()
    return 1 / seconds, 1 / 10


def snapshots(options):
    """Steps with a copy in memory after each, beside steps without."""
    def step_seconds(every):
        with tempfile.TemporaryDirectory() as folder:
            run, words = Path(folder) / "run", tiny_data(folder)
            process = subprocess.Popen(
                [*MPIRUN, LOCKSTEP, "train", TINY, "--run", run, *words, "--set", "schedule.epochs=1000", "--set",
                 f"checkpoint.memory_every={every}", "--set", "evaluation.every=0", "--set", "checkpoint.every=0", "--set", "compute.threads=1"],
                stderr=subprocess.DEVNULL)
            wait_for(lambda: len(rows(run)) >= 10 * options.steps)
            process.send_signal(signal.SIGUSR2)
            process.wait()
            return statistics.median(row["step_seconds"] for row in rows(run)[5:])

    return 1 / step_seconds(1), 1 / step_seconds(0)


def checkpoint(options):
    ours = bench("checkpoint", RSB, options, "batch.shards=2", "average.decay=0.9999")
    return 1 / ours["stall_seconds"], 1 / peer("torch_save", options)["stall_seconds"]


# name: what is timed, the least ratio that is asked for, the unit of ours, its pair
PAIRS = {
    "resnet50": ("ResNet-50, 160 pixels, LAMB and average, beside timm and DDP", 1.4, "images/s", resnet),
    "vit": ("ViT-S/16, 224 pixels, AdamW, beside timm and DDP", 1.25, "images/s", vit),
    "sum": ("the sum of 102 MB, beside gloo", 12.0, "sums/s", sums("seconds")),
    "small_sum": ("the sum of 4 kB, beside gloo", 1.0, "sums/s", sums("small_sum_seconds")),
    "start_up": ("from the start to the first update, tiny_cpu, beside torch and timm", 1.0, "1/s", start_up),
    "scaling": ("a step of two ranks beside one reckoned from a rank alone", 0.95, "steps/s", scaling),
    "restart": ("from the kill of a rank to the next update, tiny_cpu, beside 10 s", 1.0, "1/s", restart),
    "snapshots": ("steps of tiny_cpu with a copy in memory after each, beside steps without", 0.95, "steps/s", snapshots),
    "checkpoint": ("the stall of a checkpoint, 409 MB, beside torch.save and fsync", 10.0, "1/s", checkpoint),
    "dino": ("DINO ViT-S/16, 2 x 224 and 8 x 96 pixels, beside the official code", 1.5, "images/s", dino),
}


def measure(name, options):
    what, asked, unit, pair = PAIRS[name]
    rounds = [pair(options) for _ in range(options.rounds)]
    ratios = sorted(ours / theirs for ours, theirs in rounds)
    print(f"{what}: {statistics.median(ratios):.2f} times (asked {asked:g}; {ratios[0]:.2f} to {ratios[-1]:.2f}); "
          f"ours {statistics.median(ours for ours, _ in rounds):.3g} {unit}, "
          f"theirs {statistics.median(theirs for _, theirs in rounds):.3g}", flush=True)
    return {"what": what, "asked": asked, "ratio": statistics.median(ratios), "ratios": ratios, "unit": unit,
            "ours_and_theirs": rounds}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--only", action="append", choices=PAIRS)
    parser.add_argument("--json", help="also write all figures to this file")
    options = parser.parse_args()
    names = options.only or [name for name in PAIRS if name != "dino" or os.environ.get("DINO")]
    figures = {name: measure(name, options) for name in names}
    if options.json:
        record = {"date": date.today().isoformat(), "cores": os.cpu_count(), "ranks": RANKS, "figures": figures}
        Path(options.json).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
