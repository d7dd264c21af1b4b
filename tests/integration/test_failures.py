"""A failure of one rank ends the job at once with one message that names it."""

import unittest

from support import RunTest, run


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

    def test_a_fault_that_cannot_be_understood(self):
        done = run("train", self.recipe, "--run", self.folder / "fault", LOCKSTEP_FAULT="explode")
        self.assert_error(done, 2, "E113", "explode", "throw@rank1:step5")


if __name__ == "__main__":
    unittest.main()
