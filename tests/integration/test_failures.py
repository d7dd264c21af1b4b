"""A failure of one rank ends the job at once with one message that names it."""

import json
import shutil
import unittest

from support import RunTest, finish, run, start, wait_for_step


class Failures(RunTest):
    def test_one_rank_that_throws_ends_the_job(self):
        for ranks in (2, 4):
            with self.subTest(ranks=ranks):
                done = run("train", self.recipe, "--run", self.folder / f"throws-{ranks}", ranks=ranks,
                           LOCKSTEP_FAULT="throw@rank1:step3")
                self.assert_error(done, 1, "E901", "rank 1", "LOCKSTEP_FAULT")

    def test_a_world_that_does_not_divide_the_shards(self):
        done = run("train", self.recipe, "--run", self.folder / "three", ranks=3)
        self.assert_error(done, 2, "E109", "3 ranks", "4 shards", "1, 2, 4")
        self.assertFalse((self.folder / "three").exists())

    def test_a_loss_that_is_not_finite(self):
        done = run("train", self.recipe, "--run", self.folder / "nan", "--set", "optimizer.name=sgd",
                   "--set", "optimizer.learning_rate=1000",
                   "--set", "schedule.warmup_learning_rate=1000", ranks=2)
        self.assert_error(done, 76, "E601", "not a finite number")

    def test_a_recipe_error_is_said_once(self):
        broken = self.write_recipe("broken.toml", "job = 'rsb'\nprecision = 'fp8'\n")
        self.assert_error(run("train", broken, ranks=4), 2, "E105", "fp8", "fp32, bf16")

    def test_what_ranks_find_by_themselves_is_said_once_and_at_once(self):
        """Before the others, who wait for it in an evaluation, are taken for hung."""
        for victims in ((-1,), (0, -1)):  # of the second rank alone, of both
            with self.subTest(victims):
                folder, val = self.folder / f"own-{len(victims)}", self.folder / f"val-{len(victims)}"
                shutil.copytree(self.data / "train", val)
                process = start("train", self.recipe, "--run", folder, "--set", f"data.val={val}", "--set",
                                "evaluation.every=1", "--set", "check.hang_after=4s", ranks=2)
                wait_for_step(folder, 12, process)
                pictures = sorted(val.glob("*/*.jpg"))
                for victim in victims:
                    pictures[victim].write_bytes(b"")
                done = finish(process)
                alone = ("rank 1: ", str(pictures[-1])) if victims == (-1,) else ()
                self.assert_error(done, 65, "E205", "empty", *alone)
                self.assertEqual(json.loads((folder / "run.json").read_text())["error"]["id"], "E205")
                self.assertFalse((folder / ".failing").exists())

    def test_a_fault_that_cannot_be_understood(self):
        done = run("train", self.recipe, "--run", self.folder / "fault", LOCKSTEP_FAULT="explode")
        self.assert_error(done, 2, "E113", "explode", "throw@rank1:step5")
        self.assertFalse((self.folder / "fault").exists())


if __name__ == "__main__":
    unittest.main()
