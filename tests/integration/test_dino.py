"""DINO as its users run it: one sequence of bits on any world and through kills, and refusals of what cannot work."""

import unittest

from support import RunTest, SameRunTest, rows, run

RECIPE = """\
job = "dino"
seed = 3

[data]
train = "{data}/train"
val = "{data}/val"

[batch]
size = 16
shards = 4

[model]
name = "vit_tiny"
patch_size = 8

[crops]
global_size = 32
local_size = 16
local_count = 2

[head]
out_dim = 128
hidden_dim = 64
bottleneck_dim = 32
freeze_epochs = 1

[teacher]
momentum = 0.9

[optimizer]
learning_rate = 1e-2

[schedule]
epochs = 2
warmup_epochs = 1

[evaluation]
every = 2

[checkpoint]
every = 2
keep = 3
memory_every = 0

[log]
every = 1
weights_hash = true

[monitoring]
port = -1
"""


class Bits(SameRunTest):
    recipe_text = RECIPE
    same = ("weights_hash", "loss", "teacher_entropy", "center_norm", "feature_std")

    def assert_same_run(self, folder):
        super().assert_same_run(folder)
        self.assertEqual(rows(folder)[-1]["val_knn_20_top1"], self.expected[-1]["val_knn_20_top1"])

    def test_two_and_four_ranks(self):
        self.assertEqual(len({row["weights_hash"] for row in self.expected[1:]}), self.STEPS - 1)  # step 1 has rate 0
        for ranks in (2, 4):
            with self.subTest(ranks=ranks):
                folder = self.folder / f"ranks-{ranks}"
                self.ok(run("train", self.recipe, "--run", folder, ranks=ranks))
                self.assert_same_run(folder)

    def test_crops_that_the_device_augments(self):
        folder = self.folder / "by-device"
        device = ("--set", "data.augment=device")
        self.ok(run("train", self.recipe, "--run", folder, *device, "--set", "data.cache=decoded", ranks=2))
        self.assert_same_run(folder)
        files = [self.folder / name for name in ("loader", "device")]
        for file, settings in zip(files, ((), device)):
            self.ok(run("batch", self.recipe, *settings, "--step", 3, "--out", file))
            self.ok(run("preview", self.recipe, *settings, "--out", file.with_suffix(".png")))
        self.assertEqual(files[0].read_bytes(), files[1].read_bytes())
        self.assertEqual(files[0].with_suffix(".png").read_bytes(), files[1].with_suffix(".png").read_bytes())

    def test_killed_while_the_last_layer_is_frozen_and_after_it_thawed(self):
        for first, second in ((3, 8), (15, 20)):
            with self.subTest(steps=(first, second)):
                folder = self.folder / f"killed-{first}"
                self.killed(("train", self.recipe, "--run", folder), folder, first)
                self.killed(("resume", folder), folder, second)
                self.ok(run("resume", folder, ranks=4))
                self.assert_same_run(folder)


class Dropping(RunTest):
    recipe_text = RECIPE

    def first_step(self, name, drop_path, plain):
        folder = self.folder / name
        self.ok(run("train", self.recipe, "--run", folder, "--set", "schedule.epochs=1", "--set", "evaluation.every=0", "--set",
                    f"model.drop_path={drop_path}",
                    ranks=2, LOCKSTEP_PLAIN=plain))
        return rows(folder)[0]

    def test_a_branch_that_is_not_computed_is_one_times_zero(self):
        dropped, plain = self.first_step("dropped", 0.5, ""), self.first_step("plain", 0.5, "residual")
        for measure in ("loss", "gradient_norm"):
            self.assertAlmostEqual(dropped[measure] / plain[measure], 1.0, delta=1e-4)
        whole = self.first_step("whole", 0.0, "")
        self.assertGreater(abs(whole["gradient_norm"] / plain["gradient_norm"] - 1.0), 1e-2)


class Skipping(RunTest):
    recipe_text = RECIPE

    def test_a_first_step_that_is_left_out_has_nothing_to_report(self):
        folder = self.folder / "skipped"
        self.ok(run("train", self.recipe, "--run", folder, "--set", "check.non_finite=skip", "--set", "schedule.epochs=1",
                    ranks=2, LOCKSTEP_FAULT="nan@rank1:step0"))
        first, second = rows(folder)[:2]
        self.assertIsNone(first["loss"])
        self.assertNotIn("teacher_entropy", first)
        self.assertGreater(second["teacher_entropy"], 0.0)


class Refusals(RunTest):
    recipe_text = RECIPE

    def test_what_cannot_work_is_refused_with_its_place(self):
        for setting, place, fragment in (
                ("crops.global_size=40", "crops.global_size", None), ("crops.global_size=36", "patches of 8", "40"),
                ("crops.global_size=0", "crops.global_size", "8"), ("teacher.temperature=0", "teacher.temperature", "0.001"),
                ("head.out_dim=0", "head.out_dim", "1"), ("teacher.momentum=1.5", "teacher.momentum", "from 0 to 1"),
                ("model.patch_size=12", "patches of 12", "8 or 16"), ("crops.local_scale=[0.5,0.1]", "crops.local_scale", "smaller"),
                ("model.name=vit_smal", "vit_small", "vit_base"), ("evaluation.resize=16", "evaluation.resize", "less than")):
            with self.subTest(setting):
                done = run("validate", self.recipe, "--set", setting)
                if fragment is None:
                    self.ok(done)
                else:
                    self.assert_error(done, 2, "E105", place, fragment, "--> --set:1:1")

    def test_the_line_of_the_file_is_named(self):
        text = RECIPE.replace("global_size = 32", "global_size = 36")
        line = text.splitlines().index("global_size = 36") + 1
        done = run("validate", self.write_recipe("crop.toml", text))
        self.assert_error(done, 2, "E105", f"crop.toml:{line}:1", "global_size = 36")

    def test_a_key_of_the_other_job(self):
        self.assert_error(run("validate", self.recipe, "--set", "augmentation.mixup=0.1"), 2, "E108", "augmentation.mixup")

    def test_pictures_without_classes_are_enough_to_train(self):
        flat = self.folder / "flat"
        flat.mkdir()
        for number, picture in enumerate(sorted((self.data / "train").rglob("*.jpg"))[:32]):
            (flat / f"{number}.jpg").symlink_to(picture)
        folder = self.folder / "unlabelled"
        self.ok(run("train", self.recipe, "--run", folder, "--set", f"data.train={flat}", "--set", "data.val=",
                    "--set", "schedule.epochs=1", "--set", "schedule.warmup_epochs=0"))
        self.assertEqual(len(rows(folder)), 2)


if __name__ == "__main__":
    unittest.main()
