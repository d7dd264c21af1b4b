"""Ranks that hang or go without a word: who it was is said once, the others are ended, nothing is left behind."""

import json
import os
import signal
import time
import unittest

from support import RunTest, SameRunTest, finish, ranks_of, run, start, wait_for_step

HANGS = ("--set", "check.hang_after=2s")


class HangTest(RunTest):
    def report(self, folder):
        reports = list((folder / "postmortem").glob("*/report.json"))
        self.assertEqual(len(reports), 1)
        return json.loads(reports[0].read_text())

    def assert_named(self, folder, done, rank, phase, step):
        self.assert_error(done, 70, "E801", f"rank {rank} on ", f"in {phase} of step {step}", "for it in sum of step")
        report = self.report(folder)
        self.assertEqual(report["kind"], "hang")
        self.assertEqual(report["suspects"], [rank])
        self.assertEqual([entry["collateral"] for entry in report["ranks"]],
                         [entry["rank"] != rank for entry in report["ranks"]])
        self.assert_nothing_left(folder)


class Hangs(HangTest):
    def test_each_phase(self):
        for phase, rank, ranks in (("data", 1, 2), ("compute", 0, 2), ("update", 3, 4)):
            with self.subTest(phase):
                folder = self.folder / f"hang-{phase}"
                done = run("train", self.recipe, "--run", folder, *HANGS, ranks=ranks,
                           LOCKSTEP_FAULT=f"hang_{phase}@rank{rank}:step8")
                self.assert_named(folder, done, rank, phase, 9)
                node = json.loads(next(file for file in (folder / "postmortem").glob("*/*.json")
                                       if file.name != "report.json").read_text())
                stuck = next(entry for entry in node["ranks"] if entry["rank"] == rank)
                self.assertEqual(stuck["record"][-1]["phase"], phase)
                self.assertIn("lockstep::runner::Training::run()", stuck["stacks"])

    def test_a_checkpoint_that_never_ends(self):
        folder = self.folder / "hang-checkpoint"
        done = run("train", self.recipe, "--run", folder, "--set", "check.hang_after=1s", ranks=2,
                   LOCKSTEP_FAULT="hang_checkpoint@rank0:step10")
        self.assert_named(folder, done, 0, "checkpoint", 10)

    def test_where_all_wait_nobody_is_accused(self):
        folder = self.folder / "hang-sum"
        done = run("train", self.recipe, "--run", folder, *HANGS, ranks=2, LOCKSTEP_FAULT="hang_sum@rank1:step8")
        self.assert_error(done, 70, "E801", "all 2 ranks entered sum of step 9")
        self.assertEqual(self.report(folder)["suspects"], [])
        self.assert_nothing_left(folder)

    def test_a_rank_that_is_stopped_from_outside(self):
        folder = self.folder / "stopped"
        process = start("train", self.recipe, "--run", folder, *HANGS, "--set", "schedule.epochs=1000", ranks=2)
        wait_for_step(folder, 8, process)
        victim = ranks_of(process)[1]
        os.kill(victim, signal.SIGSTOP)
        done = finish(process)
        self.assert_error(done, 70, "E801", f"rank 1 on {os.uname().nodename} (process {victim})", "stopped by a signal")
        self.assert_nothing_left(folder)

    def test_a_run_of_one_process(self):
        folder = self.folder / "alone"
        done = run("train", self.recipe, "--run", folder, *HANGS, LOCKSTEP_FAULT="hang_data@rank0:step8")
        self.assert_error(done, 70, "E801", "rank 0 on ", "in data of step 9")
        self.assert_nothing_left(folder)


class Losses(HangTest):
    def test_a_killed_rank_is_named_and_the_others_are_not(self):
        for fault, code in (("kill@rank1:step6", 137), ("exit@rank1:step6", 1)):
            with self.subTest(fault):
                folder = self.folder / fault
                done = run("train", self.recipe, "--run", folder, ranks=4, LOCKSTEP_FAULT=fault)
                self.assertEqual(done.code, code)
                report = self.report(folder)
                self.assertEqual((report["kind"], report["suspects"]), ("rank_lost", [1]))
                self.assertIn("rank 1 on ", report["text"])
                self.assertIn("ended without a word in data of step 7", report["text"])
                self.assert_nothing_left(folder)

    def test_no_orphan_outlives_its_launcher(self):
        folder = self.folder / "launcher"
        process = start("train", self.recipe, "--run", folder, "--set", "schedule.epochs=1000", ranks=2)
        wait_for_step(folder, 3, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=300)
        self.assert_nothing_left(folder)

    def test_who_ends_as_asked_is_no_loss(self):
        folder = self.folder / "asked"
        process = start("train", self.recipe, "--run", folder, "--set", "schedule.epochs=1000", ranks=2)
        wait_for_step(folder, 3, process)
        for rank in ranks_of(process):
            os.kill(rank, signal.SIGUSR2)
        self.assertEqual(finish(process).code, 75)
        self.assert_nothing_left(folder)
        self.assertFalse((folder / "postmortem").exists())


class Slow(HangTest):
    def test_a_rank_that_computes_slowly_is_named(self):
        folder = self.folder / "slow"
        process = start("train", self.recipe, "--run", folder, "--set", "check.slow_every=1s", "--set",
                        "schedule.epochs=1000", "--set", "evaluation.every=0", ranks=2, LOCKSTEP_FAULT="slow@rank1:step8")
        slow = []  # on a busy machine the other may be slow as well, for a while
        while not any(look["slow_windows"] > 3 for look in slow):
            self.assertIsNone(process.poll())
            time.sleep(0.05)
            if (folder / "hosts.jsonl").exists():
                looks = [json.loads(line) for line in (folder / "hosts.jsonl").read_text().splitlines()]
                slow = [look for look in looks if look["rank"] == 1 and look["relative"] < 0.8]  # takes twice as long
        self.ok(run("ctl", folder, "stop"))
        done = finish(process)
        self.assertEqual(done.code, 75, done.err)
        self.assertEqual({look["host"] for look in slow}, {os.uname().nodename})
        self.assertRegex(done.err, r"warning: step \d+: rank 1 on .* computes for \d+\.\d+ s a step, the fastest rank for")
        self.assert_nothing_left(folder)


class NoHangs(HangTest):
    def test_staying_for_the_last_scrape_is_none(self):
        folder = self.folder / "lingers"
        done = self.ok(run("train", self.recipe, "--run", folder, "--set", "check.hang_after=1s", "--set",
                           "schedule.epochs=1", "--set", "schedule.warmup_epochs=0", "--set", "monitoring.port=0",
                           "--set", "monitoring.linger=5s", ranks=2))
        self.assertNotIn("error[", done.err)
        self.assert_nothing_left(folder)


class Afterwards(SameRunTest, HangTest):
    def test_a_run_that_hung_resumes_to_the_same_bits(self):
        folder = self.folder / "resumed"
        done = run("train", self.recipe, "--run", folder, *HANGS, ranks=2, LOCKSTEP_FAULT="hang_compute@rank1:step8")
        self.assert_named(folder, done, 1, "compute", 9)
        self.ok(run("resume", folder, ranks=4))
        self.assert_same_run(folder)


if __name__ == "__main__":
    unittest.main()
