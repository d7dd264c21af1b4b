"""What a run shows to Prometheus: the whole catalogue, by endpoint, target file and text file, also over a restart."""

import json
import os
import signal
import subprocess
import time
import unittest
import urllib.request
from pathlib import Path

from support import RunTest, finish, rows, run, start, wait_for_step


def scrape(folder):
    targets = json.loads((folder / "prometheus.json").read_text())
    port = int(targets[0]["targets"][0].rsplit(":", 1)[1])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def values(text):
    return {key: float(value) for key, value in
            (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))}


def described(text):
    """{name: (type, help)} as the endpoint says it; the counters of the HTTP server are not ours."""
    found = {}
    for line in text.splitlines():
        if line.startswith("# "):
            _, what, name, said = line.split(" ", 3)
            found.setdefault(name, {})[what] = said
    return {name: (said["TYPE"], said["HELP"]) for name, said in found.items() if name.startswith("lockstep_")}


CATALOGUE = {metric["name"]: metric for metric in map(json.loads, run("metrics", "--json").out.splitlines())}


class Metrics(RunTest):
    def trained(self, name, *arguments, ranks=2, verb="train", **extra):
        """A run to its end, and what it shows then, while it lingers."""
        folder = self.folder / name
        before = self.targets(folder)
        words = ("train", self.recipe, "--run", folder) if verb == "train" else ("resume", folder)
        process = start(*words, "--set", "monitoring.port=0", "--set", "monitoring.linger=100s",
                        *arguments, ranks=ranks, **extra)
        try:
            while self.targets(folder) == before or 'state="finished"} 1' not in (text := scrape(folder)):
                self.assertIsNone(process.poll())
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGUSR2)
            done = finish(process)
        self.assertEqual(done.code, 0, done.err)
        return folder, text

    def targets(self, folder):
        file = folder / "prometheus.json"
        return file.read_text() if file.exists() else None

    def test_every_metric_of_the_catalogue(self):
        folder, text = self.trained("whole")
        expected = {name: (metric["type"], metric["help"]) for name, metric in CATALOGUE.items()
                    if metric["availability"] in ("always", "evaluation", "checkpoint")}
        self.assertEqual(described(text), expected)
        for line in text.splitlines():
            if line.startswith("lockstep_") and "{" in line:
                labels = {pair.split("=")[0] for pair in line[line.index("{") + 1:line.rindex("}")].split('",')}
                name = line[:line.index("{")]
                name = name.removesuffix("_bucket") if "le" in labels else name
                self.assertEqual(labels - {"le"}, set(filter(None, CATALOGUE[name]["labels"].split(","))), line)
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True,
                                 check=False)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))

        shown, row = values(text), rows(folder)[-1]
        for metric, column in (("step", "step"), ("epoch", "epoch"), ("loss", "loss"), ("samples_total", "samples"),
                               ("learning_rate", "learning_rate"), ("gradient_norm", "gradient_norm"),
                               ('evaluation{measure="val_top1"}', "val_top1")):
            self.assertAlmostEqual(shown[f"lockstep_{metric}"], row[column], places=5, msg=metric)
        self.assertEqual(shown["lockstep_steps"], 24)
        self.assertEqual(shown["lockstep_step_seconds_count"], 24)
        self.assertEqual(shown["lockstep_world_size"], 2)
        self.assertEqual(shown["lockstep_eta_seconds"], 0)
        self.assertEqual(shown["lockstep_weight_decay"], 0.02)
        self.assertEqual(shown['lockstep_checkpoint_last_step{tier="disk"}'], 24)
        self.assertEqual(shown["lockstep_checkpoint_interval_steps"], 5)
        files = json.loads((folder / "checkpoints" / "step-00000024" / "manifest.json").read_text())["files"]
        size = sum(file["bytes"] for file in files.values())  # the tensors and the heads of the files
        self.assertLess(shown['lockstep_checkpoint_size_bytes{tier="disk"}'], size)
        self.assertGreater(shown['lockstep_checkpoint_size_bytes{tier="disk"}'], 0.999 * size)
        phases = {key: value for key, value in shown.items() if key.startswith("lockstep_phase_seconds_total")}
        self.assertEqual(len(phases), 6)
        self.assertTrue(all(value > 0.0 for value in phases.values()), phases)
        steps = sum(phases[f'lockstep_phase_seconds_total{{phase="{name}"}}']
                    for name in ("data_wait", "compute", "sum", "update"))
        self.assertLess(steps, shown["lockstep_step_seconds_sum"])
        self.assertGreater(steps, 0.9 * shown["lockstep_step_seconds_sum"])
        self.assertEqual(sum(value for key, value in shown.items() if key.startswith("lockstep_run_state")), 1)

    def test_targets_and_text_file(self):
        outside = self.folder / "outside"
        outside.mkdir()
        folder = self.folder / "published"
        process = start("train", self.recipe, "--run", folder, "--set", "monitoring.port=0",
                        "--set", f"monitoring.targets={outside}", "--set", f"monitoring.text_file={outside}",
                        "--set", "monitoring.address=127.0.0.1", "--set", "schedule.epochs=2000",
                        "--set", "evaluation.every=0")
        try:
            wait_for_step(folder, 2, process)
            targets = json.loads((outside / "published.json").read_text())
            self.assertEqual(targets, json.loads((folder / "prometheus.json").read_text()))
            self.assertTrue(targets[0]["targets"][0].startswith("127.0.0.1:"))
            self.assertEqual(targets[0]["labels"],
                             {"run": "published", "lockstep_job": "rsb", "instance": os.uname().nodename})
        finally:
            process.send_signal(signal.SIGUSR2)
            done = finish(process)
        self.assertEqual(done.code, 75, done.err)
        # A run that ended as it should is no target any more; the text file stays with its last word.
        self.assertEqual([file.name for file in outside.iterdir()], ["lockstep-published.prom"])
        self.assertFalse((folder / "prometheus.json").exists())
        text = (outside / "lockstep-published.prom").read_text()
        shown = values(text)
        self.assertEqual(shown['lockstep_run_state{state="stopped",run="published"}'], 1)
        self.assertEqual(shown['lockstep_step{run="published"}'], rows(folder)[-1]["step"])
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True,
                                 check=False)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))

    def test_a_run_that_dies_stays_a_target(self):
        folder = self.folder / "dies"
        self.killed(("train", self.recipe, "--run", folder, "--set", "monitoring.port=0", "--set",
                     "checkpoint.memory_every=0"), folder, 7)
        self.assertTrue((folder / "prometheus.json").exists())
        last = rows(folder)[-1]["step"]
        _, text = self.trained("dies", verb="resume")
        shown = values(text)
        self.assertEqual(shown["lockstep_restarts_total"], 1)
        self.assertEqual(shown["lockstep_lost_steps_total"], last - 5)  # saved every 5
        self.assertLess(shown["lockstep_goodput_ratio"], 1.0)
        self.assertGreater(shown["lockstep_goodput_ratio"], 0.0)

    def test_steps_that_are_not_finite(self):
        _, text = self.trained("skipped", "--set", "check.non_finite=skip", LOCKSTEP_FAULT="nan@rank1:step3")
        self.assertEqual(values(text)['lockstep_non_finite_steps_total{action="skip"}'], 1)
        _, text = self.trained("rolled", "--set", "check.non_finite=roll_back",
                               "--set", "checkpoint.memory_every=0", LOCKSTEP_FAULT="nan@rank1:step7")
        shown = values(text)
        self.assertEqual(shown['lockstep_non_finite_steps_total{action="roll_back"}'], 1)
        self.assertEqual(shown["lockstep_lost_steps_total"], 2)

    def test_weights_that_differ(self):
        _, text = self.trained("differ", "--set", "check.weights_every=1", LOCKSTEP_FAULT="flip@rank1:step7", ranks=4)
        self.assertEqual(values(text)["lockstep_weights_mismatches_total"], 1)

    def test_nothing_of_it_stops_a_run(self):
        absent = self.folder / "absent"
        done = run("train", self.recipe, "--run", self.folder / "unwritable", "--set", "monitoring.port=0",
                   "--set", f"monitoring.targets={absent}", "--set", f"monitoring.text_file={absent}",
                   "--set", "schedule.epochs=1", "--set", "evaluation.every=0")
        self.ok(done)
        self.assertEqual(done.err.count("warning: cannot write"), 2, done.err)
        done = run("validate", self.recipe, "--set", "monitoring.linger=soon")
        self.assert_error(done, 2, "E105", "soon", "30s")

    def test_a_job_tells_what_it_has(self):
        recipe = Path(__file__).resolve().parents[2] / "jobs" / "dino" / "recipes" / "vit_tiny_cpu.toml"
        folder = self.folder / "dino"
        process = start("train", recipe, "--run", folder, "--set", f"data.train={self.data}/train",
                        "--set", f"data.val={self.data}/val", "--set", "monitoring.port=0", "--set", "batch.size=16",
                        "--set", "log.every=1")
        try:
            wait_for_step(folder, 2, process)
            shown = values(scrape(folder))
        finally:
            process.send_signal(signal.SIGKILL)
            finish(process)
        for measure in ("teacher_entropy", "teacher_student_kl", "center_norm", "feature_std"):
            self.assertIn(f'lockstep_job_measure{{measure="{measure}"}}', shown)
        for schedule in ("teacher_temperature", "teacher_momentum"):
            self.assertIn(f'lockstep_job_schedule{{schedule="{schedule}"}}', shown)


if __name__ == "__main__":
    unittest.main()
