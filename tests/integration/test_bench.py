"""`lockstep bench` times each part of a recipe alone. The answers are tested, never how fast they are."""

import json
import os
import re
import unittest

from support import REPOSITORY, RESNET, RunTest, run
from test_dino import RECIPE as DINO

RESNET18_PARAMETERS = 11_181_642
RESNET18_CONVOLUTIONS = 20
RESNET18_MULTIPLICATIONS = 1_813_561_344 // 49  # of the convolutions; at 32 pixels each has 1 / 49 of those at 224
IMAGENET = 1_281_167


class Bench(RunTest):
    recipe_text = RESNET

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.dino = cls.write_recipe("dino.toml", DINO)

    def bench(self, part, recipe, *options, ranks=1):
        out = self.ok(run("bench", part, recipe, *options, ranks=ranks)).out
        self.assertEqual(out.count("\n"), 1, out)
        answer = json.loads(out)
        self.assertEqual(answer.pop("ranks"), ranks)
        self.assertTrue(all(value > 0 for value in answer.values() if not isinstance(value, str)), answer)
        return answer

    def test_data(self):
        for recipe in (self.recipe, self.dino):
            for ranks in (1, 2):
                answer = self.bench("data", recipe, "--steps", 3, "--threads", 2, ranks=ranks)
                shares = [value for name, value in answer.items() if name.endswith("_share")]
                self.assertEqual(sorted(answer), [
                    "decode_share", "finish_share", "images", "images_per_second", "images_per_second_per_thread",
                    "megabytes_per_second", "operations_share", "read_milliseconds", "resample_share", "threads",
                    "wait_share"])
                self.assertEqual((answer["images"], answer["threads"]), (3 * 16, 2))
                self.assertAlmostEqual(sum(shares), 1.0)
                self.assertAlmostEqual(answer["images_per_second_per_thread"] * 2 * ranks, answer["images_per_second"])
        self.assertEqual(self.bench("data", self.recipe, "--steps", 1000)["images"], 24 * 16)  # the whole run

    def test_threads_are_the_cores_that_are_left_to_a_rank(self):
        cores = sorted(os.sched_getaffinity(0))

        def threads(ranks=1):
            return self.bench("data", self.recipe, "--steps", 2, ranks=ranks)["threads"]

        self.assertEqual(threads(), len(cores))
        self.assertEqual(threads(ranks=2), max(1, len(cores) // 2))
        os.sched_setaffinity(0, cores[-1:])
        try:
            self.assertEqual(threads(), 1)
        finally:
            os.sched_setaffinity(0, cores)

    def test_a_gpu_that_is_faster_than_the_loader_waits(self):
        slow = self.bench("data", self.recipe, "--steps", 3, "--threads", 1, "--gpu-rate", 1e9)
        self.assertGreater(slow["gpu_wait_share"], 0.99)
        self.assertGreater(slow["threads_needed"], 1)
        fast = json.loads(self.ok(run("bench", "data", self.recipe, "--threads", 1, "--gpu-rate", 1e-3)).out)
        self.assertEqual((fast["gpu_wait_share"], fast["threads_needed"]), (0.0, 1))

    def test_the_same_pixels_whoever_makes_them(self):
        """One hash over an epoch, on any ranks and threads, from files or shards, kept in memory or not."""
        shards = self.folder / "shards"
        self.ok(run("data", "pack", self.data / "train", shards, "--pictures", 64))

        def hash_of(recipe, *settings, ranks=1, threads=2):
            options = ["--hash", "--steps", 30, "--threads", threads]
            for setting in ("batch.shards=4", *settings):
                options += ["--set", setting]
            return self.bench("data", recipe, *options, ranks=ranks)["hash"]

        for recipe in (self.recipe, self.dino):
            expected = hash_of(recipe)
            self.assertNotEqual(hash_of(recipe, "seed=77"), expected)
            for variant in ({"threads": 1}, {"threads": 7}, {"ranks": 2}, {"ranks": 4, "threads": 1}):
                self.assertEqual(hash_of(recipe, **variant), expected, variant)
            for ranks in (1, 2):
                for settings in ((f"data.train={shards}", "data.val="), ("data.cache=files",), ("data.cache=decoded",),
                                 ("data.cache=decoded", "data.cache_bytes=200000")):
                    self.assertEqual(hash_of(recipe, *settings, ranks=ranks), expected, settings)
            os.environ["LOCKSTEP_PLAIN"] = "pixels"
            try:
                self.assertEqual(hash_of(recipe), expected)
            finally:
                del os.environ["LOCKSTEP_PLAIN"]
            device = "data.normalise=device" if recipe == self.recipe else "data.augment=device"
            for settings in ((), ("data.cache=decoded",)):
                self.assertEqual(hash_of(recipe, device, *settings, ranks=2), expected, settings)
            fast = hash_of(recipe, "data.fast_decode=true")
            self.assertNotEqual(fast, expected)
            for variant in ({"threads": 1}, {"threads": 7}, {"ranks": 2}, {"ranks": 4, "threads": 1}):
                self.assertEqual(hash_of(recipe, "data.fast_decode=true", **variant), fast, variant)

    def test_step(self):
        for recipe in (self.recipe, self.dino):
            for ranks in (1, 2):
                answer = self.bench("step", recipe, "--steps", 2, ranks=ranks)
                self.assertEqual(sorted(answer), ["compute_seconds", "images_per_second", "step_seconds",
                                                  "sum_seconds", "update_seconds"])
                self.assertAlmostEqual(answer["images_per_second"] * answer["step_seconds"], 16)
                self.assertLess(answer["update_seconds"], answer["step_seconds"])

    def test_where_a_step_goes(self):
        """In words and as a picture; the work of the convolutions is known."""
        picture = self.folder / "where.svg"
        done = self.ok(run("bench", "step", self.recipe, "--steps", 2, "--profile", picture, ranks=2,
                           LOCKSTEP_PLAIN="convolution"))
        lines = done.err.splitlines()
        self.assertRegex(lines[0], r"^a step of .* s: .* % forward and backward, .* % sum, .* % update$")
        self.assertRegex(lines[1], r"this machine gives each .* GFLOP/s and .* GB/s$")
        parts = [float(re.search(r" ([\d.]+) %", line)[1]) for line in lines[3:]]
        self.assertAlmostEqual(sum(parts), 100.0, delta=1.0)
        (convolution,) = [line.split() for line in lines if line.startswith("aten::mkldnn_convolution ")]
        milliseconds, calls, gigaflops = float(convolution[3]), int(convolution[4]), float(convolution[5])
        shards, pictures = 2, 8  # of a rank
        self.assertEqual(calls, RESNET18_CONVOLUTIONS * shards)
        self.assertAlmostEqual(1e6 * milliseconds * gigaflops / (2 * pictures * RESNET18_MULTIPLICATIONS), 1.0, delta=0.02)
        self.assertIn("<svg", picture.read_text())

    def test_sum(self):
        for ranks in (1, 2):
            answer = self.bench("sum", self.recipe, "--steps", 2, ranks=ranks)
            self.assertEqual(sorted(answer), ["bytes", "seconds", "small_sum_seconds"])
            self.assertGreater(answer["small_sum_seconds"], 0.0)
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
