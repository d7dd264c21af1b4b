#!/usr/bin/env python3
"""Breaks runs in every way that clusters do, and holds what comes out against a run that nobody touched.

    tests/faults/run.py                                       all of it on this machine: some 40 minutes on 2 cores
    tests/faults/run.py --short                               what continuous integration runs
    tests/faults/run.py --folder /shared/tmp --ranks 16 --mpirun "mpirun --host a:8,b:8" Kills
                                                              ranks killed on your own hosts (those of other hosts by ssh)

LOCKSTEP names the program [build/lockstep]. Every run trains a ViT-Ti on drawn pictures, with the hash of its weights
in each row of metrics.jsonl; "the same run" is every step once, each with the hash of the untouched run.
"""

import argparse
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import support
from support import RestartedTest, SameRunTest, finish, rows, run, start, wait_for_step

STEPS_OF_AN_EPOCH = 12
SHORT = ("Kills", *(f"Faults.test_{name}" for name in (
    "other_worlds_between_kills", "sigstop_in_each_phase", "a_disk_that_stays_full", "a_file_that_was_cut_short")))
PHASES = ("data", "compute", "sum", "update", "checkpoint", "evaluation")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of ranks, at random moments [50]")
    parser.add_argument("--launcher-kills", type=int, default=5, help="of the launcher [5]")
    parser.add_argument("--ranks", type=int, default=2, help="of a run; 1, 2 or 4 [2]")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="of the random moments [drawn]")
    parser.add_argument("--folder", help="where runs are made; all hosts must see it [the temporary folder]")
    parser.add_argument("--mpirun", help="the launcher with its options [mpirun --oversubscribe --bind-to none]")
    parser.add_argument("--short", action="store_true", help="a few of each")
    parser.add_argument("tests", nargs="*", help="Kills, Faults, or one as Kills.test_ranks [all]")
    options = parser.parse_args()
    if options.short:
        options.kills, options.launcher_kills = min(options.kills, 4), min(options.launcher_kills, 1)
        options.tests = options.tests or SHORT
    return options


OPTIONS = arguments()


def processes(launcher):
    """(host, process) of all ranks that the launcher started; those of other hosts by their heartbeats."""
    return [(None, process) for process in support.ranks_of(launcher)]


def on_other_hosts(folder):
    here, found = os.uname().nodename, []
    for file in (folder / "live").glob("*.json"):
        try:
            node = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
        if node["host"] != here:
            found += [(node["host"], rank["process"]) for rank in node.get("ranks", []) if rank["state"] != "gone"]
    return found


def kill(host, process):
    if host is None:
        os.kill(process, signal.SIGKILL)
    else:
        subprocess.run(["ssh", "-o", "BatchMode=yes", host, "kill", "-9", str(process)], check=False)


def reached(folder):
    return max((row["step"] for row in rows(folder)), default=0)


class Kills(RestartedTest):
    """SIGKILL at random moments, of the start and of the writing of checkpoints too."""

    EPOCHS = max(2, OPTIONS.kills // 2)  # four steps or so pass between two kills
    STEPS = STEPS_OF_AN_EPOCH * EPOCHS
    recipe_text = support.RECIPE.replace("epochs = 2", f"epochs = {EPOCHS}")
    settings = ("--set", "checkpoint.every=3")

    def moment(self, script, folder, draw, before):
        """Waits for the moment and returns the launcher then; None when the run is over."""
        while (launcher := self.launcher_of(script)) is None or launcher.pid == before:
            if script.poll() is not None:
                return None
            time.sleep(0.01)
        furthest, steps = reached(folder), draw.randrange(6)
        # Each comes further than those before, but for two in a row that come before the first step: no more are allowed.
        in_start = self.in_start < 2 and draw.random() < 0.2
        self.in_start = self.in_start + 1 if in_start else 0
        if in_start:
            time.sleep(draw.uniform(0.0, 1.0))
        while not in_start and reached(folder) <= furthest + steps:
            if script.poll() is not None:
                return None
            time.sleep(0.01)
        if not in_start:
            time.sleep(draw.uniform(0.0, 0.2))
        return launcher

    def broken(self, name, times, strike):
        """A run of which `strike` kills something so many times."""
        folder = self.folder / name
        draw, before, self.in_start, struck = random.Random(f"{OPTIONS.seed} {name}"), None, 0, 0
        script = self.start(folder, *self.settings, ranks=OPTIONS.ranks)
        while struck < times and (launcher := self.moment(script, folder, draw, before)) is not None:
            hit = strike(draw, launcher, folder)  # not where the launcher has started nobody yet
            struck += hit
            before = launcher.pid if hit else before
        done = finish(script)
        self.assertEqual(done.code, 0, f"seed {OPTIONS.seed}: {done.err}")
        self.assertEqual(struck, times)
        self.assert_same_run(folder)
        print(f"{name}: {struck}, the same run after {done.err.count('starting again')} restarts", flush=True)

    def test_ranks(self):
        def strike(draw, launcher, folder):
            ranks = processes(launcher) + on_other_hosts(folder)
            if not ranks:
                return 0
            try:
                kill(*draw.choice(ranks))
            except ProcessLookupError:
                return 0
            return 1
        self.broken("ranks-killed", OPTIONS.kills, strike)

    def test_launcher(self):
        def strike(_draw, launcher, _folder):
            try:
                os.kill(launcher.pid, signal.SIGKILL)
            except ProcessLookupError:
                return 0
            return 1
        self.broken("launcher-killed", OPTIONS.launcher_kills, strike)


class Faults(SameRunTest):
    """One fault each, of a run of 24 steps."""

    def test_other_worlds_between_kills(self):
        folder = self.folder / "worlds"
        memory = self.folder / "memory"
        memory.mkdir()
        settings = ("--set", "checkpoint.memory_every=1", "--set", f"checkpoint.memory_folder={memory}")
        words = ("train", self.recipe, "--run", folder)
        for ranks, step in ((2, 5), (1, 10), (2, 15), (4, 20)):
            process = start(*words, *settings, ranks=ranks)
            wait_for_step(folder, step, process)
            os.kill(process.pid if ranks == 1 else support.ranks_of(process)[-1], signal.SIGKILL)
            finish(process)
            words = ("resume", folder)
        self.ok(run(*words, *settings, ranks=1))
        self.assert_same_run(folder)

    def test_sigstop_in_each_phase(self):
        """Who it was and where, in one message, and nothing waits for ever."""
        drawn = random.Random(OPTIONS.seed).sample(PHASES, 2 if OPTIONS.short else len(PHASES))
        for phase in drawn:
            with self.subTest(phase):
                rank, step = (0, 10) if phase == "checkpoint" else (1, 12 * 2 if phase == "evaluation" else 8)
                folder = self.folder / f"stopped-{phase}"
                done = run("train", self.recipe, "--run", folder, "--set", "check.hang_after=6s", "--set",
                           "evaluation.every=1", ranks=2, LOCKSTEP_FAULT=f"stop_{phase}@rank{rank}:step{step}")
                of_step = step if phase in ("checkpoint", "evaluation") else step + 1
                self.assert_error(done, 70, "E801", f"rank {rank} on ", f"in {phase} of step {of_step} ",
                                  "stopped by a signal")
                self.assert_in_time(folder, ended_at=time.time())

    def assert_in_time(self, folder, ended_at):
        """Some rank was past its limit, by no more than docs/operations.md says, and the job ended as soon as it says."""
        file = next((folder / "postmortem").glob("*/report.json"))
        report = json.loads(file.read_text())
        late = [rank["seconds_in_phase"] - rank["limit_seconds"] for rank in report["ranks"]
                if rank["limit_seconds"] > 0.0]
        self.assertTrue(any(0.0 < seconds < 5.0 for seconds in late), report)
        self.assertLess(ended_at - file.stat().st_mtime, 10.0)

    def broken(self, fault, code):
        folder = self.folder / fault.partition("@")[0]
        done = run("train", self.recipe, "--run", folder, ranks=2, LOCKSTEP_FAULT=fault)
        self.assertEqual(done.code, code, done.err)
        return folder, done

    def test_a_disk_that_stays_full(self):
        folder, done = self.broken("full_disk@rank0:step10", 73)
        self.assert_error(done, 73, "E501", "No space left on device")
        self.assertIn("step-00000005: sound", self.ok(run("verify", folder)).out)
        self.ok(run("resume", folder, ranks=2))
        self.assert_same_run(folder)

    def test_a_write_that_fails_once(self):
        folder, done = self.broken("failing_write@rank0:step10", 0)
        self.assertEqual(done.err.count("warning: a checkpoint could not be written"), 1, done.err)
        self.assert_same_run(folder)

    def test_slow_writes(self):
        folder, _ = self.broken("slow_writes@rank0:step20", 0)
        self.assert_same_run(folder)

    def test_a_file_that_was_cut_short(self):
        folder, _ = self.broken("cut_file@rank0:step24", 0)
        done = self.ok(run("resume", folder, ranks=2))
        self.assertIn("parameters.safetensors' is damaged", done.err)
        self.assertIn("goes on after step 20", done.err)
        self.assert_same_run(folder)

    def test_a_bit_of_every_file_in_turn(self):
        whole = self.folder / "whole"
        self.killed(("train", self.recipe, "--run", whole, "--set", "checkpoint.every=6"), whole, 14)
        files = sorted(file.name for file in (whole / "checkpoints" / "step-00000012").iterdir())
        self.assertEqual(len(files), 4)
        draw = random.Random(OPTIONS.seed)
        for name in files:
            with self.subTest(name):
                folder = self.folder / f"flipped-{name}"
                shutil.copytree(whole, folder)
                file = folder / "checkpoints" / "step-00000012" / name
                data = bytearray(file.read_bytes())
                place = draw.randrange(len(data)) if name != "manifest.json" else data.index(b'"step"') + 8
                data[place] ^= 1 << draw.randrange(3)
                file.write_bytes(data)
                done = self.ok(run("resume", folder, ranks=2))
                self.assertIn(name, done.err)
                self.assertIn("goes on after step 6", done.err)
                self.assert_same_run(folder)

    def test_a_manifest_of_another_run(self):
        mine, other = self.folder / "mine", self.folder / "other"
        for folder, seed in ((mine, 3), (other, 4)):
            self.ok(run("train", self.recipe, "--run", folder, "--set", f"seed={seed}"))
        newest = "checkpoints/step-00000024/manifest.json"
        shutil.copy(other / newest, mine / newest)
        done = self.ok(run("resume", mine))
        self.assertIn("do not have its hash", done.err)
        self.assertIn("goes on after step 20", done.err)
        self.assert_same_run(mine)


# All that breaks runs, by one command.
if not OPTIONS.tests:
    from test_checkpoints import Copies, FullDisk  # noqa: F401
    from test_failures import Failures  # noqa: F401
    from test_hangs import Afterwards, Hangs, Losses, NoHangs, Slow  # noqa: F401
    from test_preflight import Doctor, Preflight  # noqa: F401
    from test_recovery import Recovery  # noqa: F401
    from test_requests import Requests  # noqa: F401
    from test_restarts import Codes, Restarts  # noqa: F401


def main():
    tempfile.tempdir = OPTIONS.folder
    if OPTIONS.mpirun:
        support.MPIRUN[:] = shlex.split(OPTIONS.mpirun)
    support.TIMEOUT_SECONDS = max(300, 60 * OPTIONS.kills)  # the untouched run is as long as the kills are many
    print(f"--seed {OPTIONS.seed}", flush=True)
    unittest.main(argv=[sys.argv[0], "--verbose", *OPTIONS.tests])


if __name__ == "__main__":
    main()
