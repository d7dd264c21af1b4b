"""One run has one sequence of weights: on any number of ranks, and through kills and resumes."""

import os
import shutil
import signal
import unittest

from support import RESNET, SameRunTest, finish, hashes, ranks_of, rows, run, start, wait_for_step


class Bits(SameRunTest):
    recipe_text = RESNET

    def test_the_hash_follows_the_weights(self):
        self.assertEqual(len(set(hashes(self.reference).values())), self.STEPS)
        other = self.folder / "other-seed"
        self.ok(run("train", self.recipe, "--run", other, "--set", "seed=4", "--set", "schedule.epochs=1"))
        self.assertNotEqual(hashes(other)[1], hashes(self.reference)[1])

    def test_two_and_four_ranks(self):
        for ranks in (2, 4):
            with self.subTest(ranks=ranks):
                folder = self.folder / f"ranks-{ranks}"
                self.ok(run("train", self.recipe, "--run", folder, ranks=ranks))
                self.assert_same_run(folder)
                losses = [row["loss"] for row in rows(folder)]
                self.assertEqual(losses, [row["loss"] for row in rows(self.reference)])

    def test_sums_by_messages(self):
        folder = self.folder / "messages"
        self.ok(run("train", self.recipe, "--run", folder, ranks=4, LOCKSTEP_PLAIN="sum"))
        self.assert_same_run(folder)

    def test_one_and_seven_loader_threads(self):
        folder = self.folder / "threads"
        self.ok(run("train", self.recipe, "--run", folder, "--set", "data.threads=7"))
        self.assert_same_run(folder)

    def test_killed_twice_in_one_epoch_and_resumed_on_other_worlds(self):
        folder = self.folder / "killed"
        self.killed(("train", self.recipe, "--run", folder), folder, 14, ranks=2)
        self.killed(("resume", folder), folder, 19, ranks=2)
        self.ok(run("resume", folder, ranks=4))
        self.assert_same_run(folder)
        self.assertEqual(run("eval", folder).out, run("eval", self.reference).out)

    def test_killed_by_itself_and_resumed_on_one_rank(self):
        folder = self.folder / "fault"
        done = run("train", self.recipe, "--run", folder, ranks=2, LOCKSTEP_FAULT="kill@rank1:step7")
        self.assertNotEqual(done.code, 0)
        self.assertLessEqual(max(hashes(folder)), 7)
        self.ok(run("resume", folder))
        self.assert_same_run(folder)

    def test_asked_to_stop(self):
        folder = self.folder / "stopped"
        process = start("train", self.recipe, "--run", folder, ranks=2)
        wait_for_step(folder, 6, process)
        os.kill(ranks_of(process)[1], signal.SIGUSR2)
        done = finish(process)
        self.assertEqual(done.code, 75, done.err)
        stopped_at = max(hashes(folder))
        self.assertTrue((folder / "checkpoints" / f"step-{stopped_at:08d}" / "manifest.json").exists())
        self.ok(run("resume", folder, ranks=2))
        self.assert_same_run(folder)

    def test_a_checkpoint_is_that_of_its_step_on_any_world(self):
        folder = self.folder / "one-epoch"
        shutil.copytree(self.reference, folder)
        for name in ("step-00000024", "step-00000020"):
            shutil.rmtree(folder / "checkpoints" / name)
        self.ok(run("resume", folder, ranks=4))
        self.assert_same_run(folder)


if __name__ == "__main__":
    unittest.main()
