"""Numbers that cannot be right: every policy decides the same on all ranks, and what is made good leaves no trace."""

import unittest

from support import SameRunTest, hashes, rows, run

class Recovery(SameRunTest):
    def train(self, name, *settings, fault="", ranks=2):
        folder = self.folder / name
        arguments = [text for setting in settings for text in ("--set", setting)]
        return folder, run("train", self.recipe, "--run", folder, *arguments, ranks=ranks, LOCKSTEP_FAULT=fault)

    def test_stop(self):
        folder, done = self.train("stop", fault="nan@rank1:step7")
        self.assert_error(done, 76, "E601", "step 8: the loss is not a finite number", "checkpoint is step 5")
        self.ok(run("resume", folder))
        self.assert_same_run(folder)

    def test_skip(self):
        folder, done = self.train("skip", "check.non_finite=skip", fault="nan@rank1:step7")
        self.ok(done)
        self.assertIn("step 8: the loss is not a finite number; its update is left out", done.err)
        whole, skipped = hashes(self.reference), hashes(folder)
        self.assertEqual([skipped[step] for step in range(1, 8)], [whole[step] for step in range(1, 8)])
        self.assertEqual(skipped[8], whole[7])
        self.assertIsNone(rows(folder)[7]["loss"])

    def test_roll_back(self):
        folder, done = self.train("back", "check.non_finite=roll_back", fault="nan@rank1:step7")
        self.ok(done)
        self.assertIn("rolled back to step 5", done.err)
        self.assert_same_run(folder)

    def test_nothing_to_roll_back_to(self):
        _, done = self.train("nothing", "check.non_finite=roll_back", fault="nan@rank1:step2")
        self.assert_error(done, 76, "E601", "nothing was saved yet")

    def test_a_streak_ends_the_run(self):
        hot = ("optimizer.name=sgd", "optimizer.learning_rate=1000", "schedule.warmup_learning_rate=1000",
               "check.non_finite=skip", "check.limit=4", "checkpoint.every=20")  # a copy would tell sooner
        _, done = self.train("streak", *hot)
        self.assert_error(done, 76, "E601", "after 5 failures in a row")

    def test_weights_that_differ_are_named_and_made_good(self):
        folder, done = self.train("flipped", "check.weights_every=3", fault="flip@rank2:step7", ranks=4)
        self.ok(done)
        self.assertIn("step 9: other weights than most ranks have: rank 2 on ", done.err)
        self.assertIn("rolled back to step 5", done.err)
        self.assert_same_run(folder)

    def test_two_ranks_that_differ(self):
        folder, done = self.train("two", "check.weights_every=1", fault="flip@rank0:step11")
        self.ok(done)
        self.assertIn("no majority to tell who is right: rank 0 on ", done.err)
        self.assert_same_run(folder)


if __name__ == "__main__":
    unittest.main()
