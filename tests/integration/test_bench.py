"""`lockstep bench` times each part of a recipe alone. The answers are tested, never how fast they are."""

import json
import unittest

from support import RunTest, REPOSITORY, run
from test_dino import RECIPE as DINO

RESNET18_PARAMETERS = 11_181_642
IMAGENET = 1_281_167


class Bench(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.dino = cls.write_recipe("dino.toml", DINO)

    def bench(self, part, recipe, *options, ranks=1):
        out = self.ok(run("bench", part, recipe, *options, ranks=ranks)).out
        self.assertEqual(out.count("\n"), 1, out)
        answer = json.loads(out)
        self.assertEqual(answer.pop("ranks"), ranks)
        self.assertTrue(all(value > 0 for value in answer.values()), answer)
        return answer

    def test_data(self):
        for recipe in (self.recipe, self.dino):
            for ranks in (1, 2):
                answer = self.bench("data", recipe, "--steps", 3, "--set", "data.threads=2", ranks=ranks)
                self.assertEqual(sorted(answer), ["images", "images_per_second", "threads"])
                self.assertEqual((answer["images"], answer["threads"]), (3 * 16, 2))
        self.assertEqual(self.bench("data", self.recipe, "--steps", 1000)["images"], 24 * 16)  # the whole run

    def test_step(self):
        for recipe in (self.recipe, self.dino):
            for ranks in (1, 2):
                answer = self.bench("step", recipe, "--steps", 2, ranks=ranks)
                self.assertEqual(sorted(answer), ["compute_seconds", "images_per_second", "step_seconds",
                                                  "sum_seconds", "update_seconds"])
                self.assertAlmostEqual(answer["images_per_second"] * answer["step_seconds"], 16)
                self.assertLess(answer["update_seconds"], answer["step_seconds"])

    def test_sum(self):
        for ranks in (1, 2):
            answer = self.bench("sum", self.recipe, "--steps", 2, ranks=ranks)
            self.assertEqual(sorted(answer), ["bytes", "seconds"])
            self.assertGreater(answer["bytes"], 4 * RESNET18_PARAMETERS)
            self.assertLess(answer["bytes"], 4.1 * RESNET18_PARAMETERS)

    def test_checkpoint(self):
        out = self.folder / "scratch"
        for ranks in (1, 2):
            answer = self.bench("checkpoint", self.recipe, "--steps", 1, "--out", out, ranks=ranks)
            self.assertEqual(sorted(answer), ["bytes", "stall_seconds", "write_seconds"])
            self.assertGreater(answer["bytes"], 4 * 4 * RESNET18_PARAMETERS)  # two moments, the average
            self.assertEqual(list(out.iterdir()), [])

    def test_no_data_is_needed_but_for_data(self):
        small = ["--set", "model.name=vit_tiny", "--set", "head.out_dim=64", "--set", "crops.global_size=32",
                 "--set", "crops.local_size=16", "--set", "batch.size=2", "--steps", 1]
        recipe = REPOSITORY / "jobs" / "dino" / "recipes" / "vit_small_16.toml"
        for part in ("step", "sum", "checkpoint"):
            self.bench(part, recipe, *small)
        without = ("step", self.recipe, "--steps", 1, "--samples", IMAGENET)
        self.bench(*without, "--set", "model.classes=3")
        self.assert_error(run("bench", *without), 2, "E105", "model.classes=N")
        self.assert_error(run("bench", "data", recipe, *small), 2, "E106", "data.train")

    def test_refusals(self):
        self.assert_error(run("bench", "step", self.recipe, ranks=3), 2, "E109", "1, 2, 4")
        self.assert_error(run("bench", "speed", self.recipe), 2, "E100")
        self.assert_error(run("bench", "step", self.recipe, "--steps", 0), 2, "E100", "--steps")
        folder = self.folder / "a-file"
        folder.write_text("")
        self.assert_error(run("bench", "checkpoint", self.recipe, "--out", folder), 73, "E501")


if __name__ == "__main__":
    unittest.main()
