"""What a run shows to Prometheus: the whole catalogue, also over a restart and of what goes wrong."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

from scraped import scrape, values
from support import RunTest, finish, ranks_of, rows, run, start, wait_for_step


def described(text):
    """{name: (type, help)} as the endpoint says it."""
    found = {}
    for line in text.splitlines():
        if line.startswith("# "):
            _, what, name, said = line.split(" ", 3)
            found.setdefault(name, {})[what] = said
    return {name: (said["TYPE"], said["HELP"]) for name, said in found.items()}


CATALOGUE = {metric["name"]: metric for metric in map(json.loads, run("metrics", "--json").out.splitlines())}
ONE_EPOCH = ("--set", "schedule.epochs=1", "--set", "schedule.warmup_epochs=0", "--set", "evaluation.every=0")


class Metrics(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        memory = cls.folder / "memory"
        memory.mkdir()
        cls.whole, cls.shown = cls("run_whole").trained("whole", "--set", "checkpoint.memory_every=4", "--set",
                                                        f"checkpoint.memory_folder={memory}")

    def run_whole(self):
        """For setUpClass."""

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
        folder, text = self.whole, self.shown
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
        # The last copy in memory is that of the last checkpoint, or the one before if that was not yet whole.
        self.assertIn(shown['lockstep_checkpoint_last_step{tier="memory"}'], (20, 24))
        self.assertEqual(shown['lockstep_checkpoint_size_bytes{tier="memory"}'],
                         shown['lockstep_checkpoint_size_bytes{tier="disk"}'])
        losses = [row["loss"] for row in rows(folder)]
        self.assertEqual(len(losses), 24)
        mean = losses[0]
        for loss in losses[1:]:
            mean += 0.02 * (loss - mean)
        self.assertAlmostEqual(shown["lockstep_loss_ema"], mean, places=5)
        self.assertAlmostEqual(shown["lockstep_samples_per_second"] * row["step_seconds"], 16, delta=0.1)
        self.assertEqual(shown["lockstep_preemption_pending"], 0)
        info = {name: re.search(rf"^{name}{{(.*)}} 1$", text, re.MULTILINE).group(1) for name in
                ("lockstep_run_info", "lockstep_build_info")}
        self.assertIn('recipe="recipe"', info["lockstep_run_info"])
        self.assertRegex(info["lockstep_build_info"], r'\bcuda="\d+\.\d+"')
        self.assertRegex(info["lockstep_build_info"], r'\bnccl="\d+\.\d+\.\d+"')
        self.assertGreater(shown["lockstep_disk_free_bytes"], 0)

        sizes = [file.stat().st_size for file in (self.data / "train").rglob("*.jpg")]
        # Rank 0 trained on half of 24 batches of 16, and may have been 3 shards of 4 ahead; repeats are read once.
        self.assertGreater(shown["lockstep_data_read_bytes_total"], min(sizes) * 24 * 4)
        self.assertLess(shown["lockstep_data_read_bytes_total"], max(sizes) * (24 * 8 + 12))
        self.assertGreater(shown["lockstep_data_decode_seconds_total"], 0)
        self.assertLessEqual(shown["lockstep_data_queue_depth"], shown["lockstep_data_queue_capacity"])

        for rank in (0, 1):
            mine = {key.removeprefix("lockstep_rank_").removesuffix(f'{{rank="{rank}"}}'): value
                    for key, value in shown.items() if f'{{rank="{rank}"}}' in key}
            self.assertEqual(mine["step"], 24)
            self.assertGreater(mine["heartbeat_timestamp_seconds"], (folder / "metrics.jsonl").stat().st_mtime)
            self.assertLess(mine["heartbeat_timestamp_seconds"], time.time())
            parts = sum(mine[part] for part in ("data_wait_seconds", "compute_seconds", "sum_seconds", "update_seconds"))
            self.assertLess(parts, mine["step_seconds"])
            self.assertGreater(parts, 0.9 * mine["step_seconds"])
        self.assertEqual(max(value for key, value in shown.items() if "straggler_score" in key), 1.0)

    def test_a_rank_that_is_stopped_and_dies(self):
        """Stopped it is silent; the run that died with it stays a target, and tells of it when it is resumed."""
        folder = self.folder / "dies"
        process = start("train", self.recipe, "--run", folder, "--set", "monitoring.port=0", ranks=2)
        try:
            wait_for_step(folder, 7, process)
            rank = ranks_of(process)[1]
            os.kill(rank, signal.SIGSTOP)
            beats = lambda: [values(scrape(folder))[f'lockstep_rank_heartbeat_timestamp_seconds{{rank="{rank}"}}']
                             for rank in (0, 1)]
            while Path(f"/proc/{rank}/stat").read_text().rsplit(") ", 1)[1][0] != "T":
                time.sleep(0.01)
            stopped = time.time()
            while (first := beats())[0] < stopped:  # a page may be a moment old
                pass
            while (last := beats())[0] < first[0] + 0.5:
                pass
            self.assertAlmostEqual(last[1], first[1], places=3)
            os.kill(rank, signal.SIGKILL)
        finally:
            done = finish(process)
        self.assertNotEqual(done.code, 0)
        self.assertTrue((folder / "prometheus.json").exists())
        last = rows(folder)[-1]["step"]
        _, text = self.trained("dies", verb="resume", ranks=1)
        shown = values(text)
        self.assertEqual({key: value for key, value in shown.items() if "restarts" in key and value},
                         {'lockstep_restarts_total{cause="lost"}': 1})
        self.assertEqual(shown["lockstep_lost_steps_total"], last - last // 5 * 5)  # saved every 5
        self.assertLess(shown["lockstep_goodput_ratio"], 1.0)
        self.assertGreater(shown["lockstep_goodput_ratio"], 0.0)

    def test_steps_that_are_not_finite(self):
        _, text = self.trained("skipped", *ONE_EPOCH, "--set", "check.non_finite=skip", ranks=1, LOCKSTEP_FAULT="nan@rank0:step3")
        shown = values(text)
        self.assertEqual(shown['lockstep_non_finite_steps_total{action="skip"}'], 1)
        self.assertTrue(math.isfinite(shown["lockstep_loss_ema"]))
        _, text = self.trained("rolled", *ONE_EPOCH, "--set", "check.non_finite=roll_back",
                               "--set", "checkpoint.memory_every=0", ranks=1, LOCKSTEP_FAULT="nan@rank0:step7")
        shown = values(text)
        self.assertEqual(shown['lockstep_non_finite_steps_total{action="roll_back"}'], 1)
        self.assertEqual(shown["lockstep_lost_steps_total"], 2)

    def test_weights_that_differ_on_one_of_many_ranks(self):
        """Past a limit ranks are three numbers."""
        _, text = self.trained("differ", *ONE_EPOCH, "--set", "check.weights_every=1", "--set", "monitoring.per_rank=3", ranks=4,
                               LOCKSTEP_FAULT="flip@rank1:step7")
        shown = values(text)
        self.assertEqual(shown["lockstep_weights_mismatches_total"], 1)
        self.assertEqual([shown[f'lockstep_rank_step{{rank="{which}"}}'] for which in ("min", "median", "max")], [12] * 3)
        self.assertEqual({key for key in shown if 'rank="0"' in key}, set())

    def test_pictures_that_cannot_be_used(self):
        data = self.folder / "spoilt-data"
        shutil.copytree(self.data, data)
        pictures = sorted((data / "train").rglob("*.jpg"))
        pictures[0].write_bytes(pictures[0].read_bytes()[:200])
        pictures[1].write_bytes(b"no picture")
        pictures[2].unlink()
        pictures[2].symlink_to("nowhere.jpg")
        _, text = self.trained("spoilt", *ONE_EPOCH, "--set", f"data.train={data}/train", "--set", "data.max_bad=0.1",
                               "--set", "augmentation.repeats=1", "--set", "check.preflight=off", ranks=1)
        shown = values(text)
        self.assertEqual([shown[f'lockstep_unreadable_samples_total{{kind="{kind}"}}'] for kind in ("file", "picture")], [1, 2])

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
