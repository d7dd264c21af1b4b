"""`lockstep status` of runs that run, hang, were stopped, died and are done."""

import json
import os
import signal
import subprocess
import time
import unittest

from support import RunTest, command, finish, ranks_of, rows, run, start, wait_for_step

LONG = ("--set", "schedule.epochs=2000", "--set", "evaluation.every=0")


class Status(RunTest):
    def status(self, folder):
        """As a program sees it; what a person sees fits a terminal."""
        shown = self.ok(run("status", folder)).out
        lines = [line for line in shown.splitlines() if str(folder) not in line]
        self.assertEqual([line for line in lines if line.endswith(" ") and line.strip()], [])
        self.assertLessEqual(max(map(len, lines), default=0), 80, shown)
        return json.loads(self.ok(run("status", folder, "--json")).out), shown

    def until(self, folder, condition, process):
        while not condition(now := json.loads(self.ok(run("status", folder, "--json")).out)):
            self.assertIsNone(process.poll(), "the job ended")
            time.sleep(0.1)
        return now

    def test_a_run_that_runs_and_one_rank_that_is_stopped(self):
        folder = self.folder / "runs"
        process = start("train", self.recipe, "--run", folder, *LONG, ranks=2)
        try:
            wait_for_step(folder, 12, process)
            # The heartbeat and the checkpoint come some time after the step.
            now = self.until(folder, lambda now: len(now["ranks"]) == 2 and now["ranks"][1]["step"] >= 5 and
                             now["state"] == "running" and now["checkpoint"] and now["checkpoint"]["step"] >= 10, process)
            self.assertEqual(now["steps"], 24000)
            self.assertEqual([rank["complaint"] for rank in now["ranks"] if "slow" not in rank["complaint"]],
                             [""] * sum("slow" not in rank["complaint"] for rank in now["ranks"]))
            self.assertGreater(now["ranks"][0]["last_step"]["compute_seconds"], 0)
            self.assertGreater(now["images_per_second"], 0)
            self.assertAlmostEqual(now["eta_seconds"], now["step_seconds"] * (24000 - now["step"]), places=3)
            _, shown = self.status(folder)
            for words in ("rsb vit_tiny_patch16_224, 2 ranks on 1 host, launch 1", " of 24000", "images/s", "checkpoint", "health"):
                self.assertIn(words, shown)
            os.kill(ranks_of(process)[1], signal.SIGSTOP)
            now = self.until(folder, lambda now: now["ranks"][1]["complaint"], process)
            self.assertEqual(now["ranks"][1]["complaint"], "stopped by a signal")
            self.assertRegex(self.status(folder)[1], r"  rank 1 on \S+: stopped by a signal\n")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            finish(process)

    def test_a_run_that_died(self):
        folder = self.folder / "dies"
        self.killed(("train", self.recipe, "--run", folder, *LONG), folder, 6)
        now, shown = self.status(folder)
        self.assertEqual(now["state"], "dead")
        self.assertEqual(now["step"], rows(folder)[-1]["step"])
        self.assertEqual(now["postmortem"]["kind"], "rank_lost")
        self.assertIn("rank 1 on", shown)
        self.assertIn(f"`lockstep resume {folder}` goes on", shown)

    def test_a_run_that_was_stopped_and_then_done(self):
        folder = self.folder / "stops"
        self.assertEqual(run("train", self.recipe, "--run", folder, "--deadline", "2s", *LONG).code, 75)
        now, shown = self.status(folder)
        self.assertEqual((now["state"], now["eta_seconds"]), ("stopped", None))
        self.assertIn("resume", shown)
        done = self.folder / "done"
        self.ok(run("train", self.recipe, "--run", done))
        # Watching ends with the run.
        watched = subprocess.run(command(("status", done, "--watch")), capture_output=True, text=True, timeout=60,
                                 check=True).stdout
        self.assertIn("is finished", watched)
        self.assertIn("24 of 24  [##############################] 100.0 %", watched)
        self.assertIn("val_top1", watched)
        self.assertIsNone(self.status(done)[0]["postmortem"])

    def test_many_ranks_are_a_line_for_each_host(self):
        """A launch of 24 ranks on three hosts, as their watchers would tell of it: one silent, one rank slow, one hanging."""
        folder = self.folder / "many"
        (folder / "live").mkdir(parents=True)
        (folder / "recipe.toml").write_text("")
        (folder / "run.json").write_text(json.dumps({"launch": "20261126T100000Z-b", "steps": 100, "ranks": 24, "nodes": 3}))
        (folder / "lock").write_text(json.dumps({"host": "elsewhere", "process": 1, "process_start": "", "job": ""}))
        last = dict.fromkeys(("seconds", "data_wait_seconds", "compute_seconds", "sum_seconds", "update_seconds"), 0.1)
        for number, host in enumerate(("gpu-01", "gpu-02", "gpu-03", "gpu-99")):
            ranks = [{"rank": 8 * number + i, "host": host, "process": 7, "step": 50, "phase": "compute",
                      "seconds_in_phase": 0.2, "state": "running", "limit_seconds": 60.0, "steps_timed": 45,
                      "compute_seconds": 4.5, "data_seconds": 0.1, "mean_compute_seconds": 0.1, "last_step": last}
                     for i in range(8)]
            launch = "20261126T100000Z-b" if number < 3 else "20261125T100000Z-a"  # the last: of the day before
            if host == "gpu-01":
                ranks[3]["mean_compute_seconds"] = 0.2
                ranks[4]["seconds_in_phase"] = 99.0
            (folder / "live" / f"{host}.json").write_text(json.dumps({"launch": launch, "host": host, "beat": 3,
                                                                      "time": "", "ranks": ranks}))
        past = time.time() - 40
        os.utime(folder / "live" / "gpu-03.json", (past, past))
        now, shown = self.status(folder)
        self.assertEqual((now["state"], now["step"], len(now["ranks"])), ("running", 50, 24))
        complaints = {rank["rank"]: rank["complaint"] for rank in now["ranks"] if rank["complaint"]}
        self.assertEqual(complaints.pop(3), "slow: 2.0 x the median")
        self.assertEqual(complaints.pop(4), "hangs in compute")
        self.assertEqual(set(complaints), set(range(16, 24)))
        lines = {line.split()[0]: line for line in shown.splitlines() if line.startswith("  gpu")}
        self.assertEqual(list(lines), ["gpu-01", "gpu-02", "gpu-03"])
        self.assertTrue(lines["gpu-01"].endswith("2 not ok") and lines["gpu-02"].endswith("ok"), shown)
        self.assertIn("rank 3 on gpu-01: slow: 2.0 x the median", shown)
        self.assertIn("and 2 more", shown)

    def test_an_error_is_told_again(self):
        folder = self.folder / "failed"
        done = run("train", self.recipe, "--run", folder, LOCKSTEP_FAULT="full_disk@rank0:step6")
        self.assertEqual(done.code, 73)
        now, shown = self.status(folder)
        self.assertEqual((now["state"], now["run"]["exit_code"]), ("failed", 73))
        self.assertIn("error[E501] on rank 0", shown)
        self.assertIn("No space left on device", " ".join(shown.split()))
        self.assertEqual(now["checkpoint"]["step"], 5)
        self.ok(run("resume", folder))
        self.assertEqual(self.status(folder)[0]["state"], "finished")

    def test_what_is_no_run(self):
        self.assert_error(run("status", self.data), 66, "E304", "recipe.toml")
        # One that was made and never began, and one whose files say nothing.
        empty = self.folder / "empty"
        empty.mkdir()
        (empty / "recipe.toml").write_text("")
        self.assertEqual(self.status(empty)[0]["state"], "dead")
        (empty / "run.json").write_text("[1, 2")
        (empty / "metrics.jsonl").write_text('{"step": "x"}\n{"step":')
        (empty / "live").mkdir()
        (empty / "live" / "host.json").write_text('{"ranks": 3}')
        self.assertEqual(self.status(empty)[0]["step"], 0)


if __name__ == "__main__":
    unittest.main()
