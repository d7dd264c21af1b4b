"""Bad input ends with its number, its place and a cure, and loses nothing."""

import shutil
import unittest

from support import RECIPE, RESNET, RunTest, run


class Recipes(RunTest):
    def refused(self, text, code, identity, *fragments):
        done = run("validate", self.write_recipe("case.toml", text))
        self.assert_error(done, code, identity, *fragments)
        return done.err

    def changed(self, old, new):
        self.assertIn(old, RECIPE)
        return RECIPE.replace(old, new)

    def place_of(self, line):
        """Where `line` of the recipe stands, as a message says it."""
        number = RECIPE.replace("{data}", str(self.data)).splitlines().index(line) + 1
        return f"case.toml:{number}:"

    def test_files_that_are_no_recipe(self):
        self.assert_error(run("validate", self.folder / "absent.toml"), 2, "E101", "no such file")
        self.assert_error(run("validate", self.data), 66, "E304", "recipe.toml")
        self.assert_error(run("train", self.folder), 2, "E101", "is a folder")
        self.refused(" \n", 2, "E102", "empty")
        self.refused("job = \n", 2, "E102", "case.toml:1:")
        self.refused("[batch\nsize = 2\n", 2, "E102", "case.toml:1:")

    def test_unreadable_file(self):
        # A link to itself cannot be read even by root.
        loop = self.folder / "loop.toml"
        loop.symlink_to(loop)
        self.assert_error(run("validate", loop), 2, "E101", "loop.toml")

    def test_unknown_key_with_the_near_name(self):
        message = self.refused(self.changed("weight_decay = 0.02", "weigth_decay = 0.02"), 2, "E103",
                               "unknown key 'optimizer.weigth_decay'", "did you mean 'weight_decay'?",
                               self.place_of("weight_decay = 0.02") + "1", "weigth_decay = 0.02")
        self.assertRegex(message, r"\n +\| \^\n")

    def test_key_in_the_wrong_table(self):
        self.refused(self.changed("[loss]", "[loss]\nlearning_rate = 1.0"), 2, "E107",
                     "'loss.learning_rate'", "belongs in [optimizer]")
        self.refused(self.changed("seed = 3", "seed = 3\nsize = 3"), 2, "E107", "belongs in [")

    def test_key_of_another_job(self):
        self.refused(RECIPE + "\n[crops]\nglobal_size = 224\n", 2, "E108", "'crops.global_size'", "'rsb'")

    def test_wrong_types(self):
        for old, new, wanted in (
            ("size = 16", 'size = "16"', "must be an integer, not a text"),
            ("size = 16", "size = 16.5", "must be an integer, not a number"),
            ("weights_hash = true", "weights_hash = 1", "must be true or false, not an integer"),
            ("learning_rate = 5e-3", "learning_rate = [1]", "must be a number, not a list"),
            ('name = "vit_tiny_patch16_224"', "name = 18", "must be a text, not an integer"),
            ("cutmix = 1.0", "cutmix = 1.0\nscale = [0.1]", "must be a list of 2 numbers, not of 1"),
        ):
            with self.subTest(new=new):
                self.refused(self.changed(old, new), 2, "E104", wanted, "case.toml:")

    def test_values_that_cannot_be(self):
        for old, new, *fragments in (
            ("smoothing = 0.1", "smoothing = 1.5", "from 0 to 0.99"),
            ("smoothing = 0.1", "smoothing = nan", "from 0 to 0.99"),
            ('name = "vit_tiny_patch16_224"', 'name = "vit_tiny_patch16_244"', "must be one of", 'did you mean "vit_tiny_patch16_224"?'),
            ("shards = 4", "shards = 3", "16 does not divide into 3 shards"),
            ("size = 16\nshards = 4", "size = 12\nshards = 4", "3 pictures", "even"),
            ("rand-m7-mstd0.5-inc1", "random-m7", "starts with 'rand'"),
            ("rand-m7-mstd0.5-inc1", "rand-q7", "'q7'"),
            ("warmup_epochs = 1", "warmup_epochs = 9", "longer than the run"),
            ("every = 5", 'every = "5 parsecs"', "neither steps nor a time"),
            ("smoothing = 0.1", "smoothing = 0.1\ntarget_threshold = 0.0", "all targets would become 1"),
            ("[data]", '[data]\naugment = "device"', "'rsb'", "by the loader alone", "data.normalise"),
            ("cutmix = 1.0", "cutmix = 1.0\nscale = [0.9, 0.1]", "comes first"),
        ):
            with self.subTest(new=new):
                self.refused(self.changed(old, new), 2, "E105", "case.toml:", *fragments)

    def test_transformers_are_of_one_size(self):
        vit = ("validate", self.recipe, "--set", "model.name=vit_tiny_patch16_224")
        self.assert_error(run(*vit, "--set", "augmentation.eval_size=48"), 2, "E105", "those of 32 x 32 pixels")
        self.assert_error(run(*vit, "--set", "augmentation.size=40", "--set", "augmentation.eval_size=40"), 2, "E105",
                          "40 pixels are not a whole number of patches")
        self.ok(run(*vit))

    def test_what_travels_between_gpus(self):
        for wire, fragments in (("fp16", ("must be one of",)), ("bf16", ("case.toml:", "which is for GPUs"))):
            recipe = self.write_recipe("case.toml", RECIPE + f'\n[sum]\nwire = "{wire}"\n')
            for ranks in (1, 2):
                done = run("train", recipe, "--run", self.folder / "wire", ranks=ranks, CUDA_VISIBLE_DEVICES="")
                self.assert_error(done, 2, "E105", "'sum.wire'", *fragments)
            self.assert_error(run("bench", "sum", recipe, CUDA_VISIBLE_DEVICES=""), 2, "E105", "'sum.wire'", *fragments)
        self.assertFalse((self.folder / "wire").exists())
        self.ok(run("validate", recipe))

    def test_overrides(self):
        self.assert_error(run("validate", self.recipe, "--set", "batch.size"), 2, "E104", "KEY=VALUE")
        self.assert_error(run("validate", self.recipe, "--set", "batch.sise=8"), 2, "E103", "--set:1:1",
                          "batch.sise=8", "did you mean 'size'?")
        self.assert_error(run("validate", self.recipe, "--set", "seed.x=8"), 2, "E103", "'seed.x'")

    def test_command_line(self):
        self.assert_error(run("trian", self.recipe), 2, "E100")
        self.assert_error(run("train"), 2, "E100", "RECIPE")
        self.assert_error(run("train", self.recipe, "--runs", "x"), 2, "E100", "--runs")


class Data(RunTest):
    def with_data(self, train, val=""):
        return run("validate", self.recipe, "--set", f"data.train={train}", "--set", f"data.val={val}")

    def test_folders_that_are_no_set(self):
        empty = self.folder / "empty"
        empty.mkdir()
        one = self.folder / "one"
        shutil.copytree(self.data / "train" / "circle", one / "circle")
        hollow = self.folder / "hollow"
        shutil.copytree(self.data / "train", hollow)
        for picture in (hollow / "dots").iterdir():
            picture.unlink()
        self.assert_error(self.with_data(self.folder / "absent"), 65, "E201", "absent", "does not exist")
        self.assert_error(self.with_data(self.recipe), 65, "E201", "is not a folder")
        self.assert_error(self.with_data(empty), 65, "E202", "empty", "data make")
        self.assert_error(self.with_data(hollow), 65, "E202", "dots")
        self.assert_error(self.with_data(one), 65, "E203", "only one class, 'circle'")
        self.assert_error(self.with_data(self.data / "train", one), 65, "E203", "circle")

    def test_sets_with_other_classes(self):
        fewer = self.folder / "fewer"
        shutil.copytree(self.data / "val", fewer)
        shutil.rmtree(fewer / "star")
        self.assert_error(self.with_data(self.data / "train", fewer), 65, "E204", "star")

    def test_no_folder_at_all(self):
        self.assert_error(self.with_data(""), 2, "E106", "'data.train' is missing")

    def test_a_picture_cut_short_is_named(self):
        damaged = self.folder / "damaged"
        shutil.copytree(self.data / "train", damaged)
        for picture in damaged.glob("*/*.jpg"):
            picture.write_bytes(picture.read_bytes()[:300])
        done = run("train", self.recipe, "--run", self.folder / "cut", "--set", f"data.train={damaged}")
        self.assert_error(done, 65, "E205", str(damaged), ".jpg")


class Runs(RunTest):
    recipe_text = RESNET

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = cls.folder / "run"
        done = run("train", cls.recipe, "--run", cls.run_folder, "--set", "schedule.epochs=1",
                   "--set", "evaluation.every=0", ranks=1)
        assert done.code == 0, done.err
        cls.number = 0

    def copy(self):
        Runs.number += 1
        folder = self.folder / f"copy-{Runs.number}"
        shutil.copytree(self.run_folder, folder)
        return folder

    def newest(self, folder):
        return sorted((folder / "checkpoints").glob("step-*"))[-1]

    def test_a_folder_with_something_in_it_is_left_alone(self):
        before = sorted(self.run_folder.rglob("*"))
        done = run("train", self.recipe, "--run", self.run_folder)
        self.assert_error(done, 2, "E110", "not empty", "resume")
        self.assertEqual(sorted(self.run_folder.rglob("*")), before)
        self.assert_error(run("train", self.recipe, "--run", self.recipe), 2, "E110", "is a file", "--run")

    def test_no_run_and_no_checkpoint(self):
        self.assert_error(run("resume", self.folder / "absent"), 66, "E304", "no such folder")
        self.assert_error(run("resume", self.data), 66, "E304", "recipe.toml")
        bare = self.copy()
        for checkpoint in (bare / "checkpoints").glob("step-*"):
            shutil.rmtree(checkpoint)
        self.assert_error(run("resume", bare), 66, "E301", "no checkpoint")

    def test_every_damaged_file_is_found_and_the_one_before_is_taken(self):
        files = sorted(path.name for path in self.newest(self.run_folder).iterdir())
        self.assertEqual(files, ["average.safetensors", "buffers.safetensors", "manifest.json",
                                 "optimizer.safetensors", "parameters.safetensors"])
        for name in files:
            for damage in (cut_short, flip_a_bit):
                with self.subTest(file=name, damage=damage.__name__):
                    folder = self.copy()
                    damage(self.newest(folder) / name)
                    self.assert_error(run("verify", folder), 66, "E302", "1 of 3")
                    done = self.ok(run("resume", folder))
                    self.assertIn("is damaged", done.err)
                    self.assertIn(name, done.err)
                    self.assertIn("goes on after step 10", done.err)
                    shutil.rmtree(folder)

    def test_nothing_sound_is_left(self):
        folder = self.copy()
        for file in (folder / "checkpoints").glob("step-*/parameters.safetensors"):
            flip_a_bit(file)
        self.assert_error(run("resume", folder), 66, "E302", "none of the 3 checkpoints")

    def test_a_checkpoint_of_another_recipe(self):
        other = self.folder / "other"
        self.ok(run("train", self.recipe, "--run", other, "--set", "seed=9", "--set", "schedule.epochs=1",
                    "--set", "evaluation.every=0"))
        folder = self.copy()
        shutil.rmtree(self.newest(folder))
        shutil.copytree(self.newest(other), self.newest(other).parent.parent.parent / folder.name
                        / "checkpoints" / self.newest(other).name)
        self.assert_error(run("resume", folder), 66, "E303", "another recipe", "seed: 9 -> 3")

    def test_a_recipe_that_changes_on_resume(self):
        folder = self.copy()
        done = run("resume", folder, "--set", "optimizer.learning_rate=0.1")
        self.assert_error(done, 2, "E111", "optimizer.learning_rate: 0.005 -> 0.1")
        self.ok(run("resume", folder, "--set", "log.every=3", "--set", "checkpoint.keep=1"))

    def test_weights_of_another_model(self):
        weights = self.folder / "weights.safetensors"
        self.ok(run("export", self.run_folder, "--format", "timm", weights))
        done = run("train", self.recipe, "--run", self.folder / "resnet34", "--set", "model.name=resnet34",
                   "--set", f"init.weights={weights}")
        self.assert_error(done, 65, "E207", "weights.safetensors", "layer1.2.conv1.weight")
        weights.write_bytes(b"\xff" * 100)
        done = run("eval", self.recipe, "--weights", weights)
        self.assert_error(done, 65, "E206", "header")


def cut_short(file):
    contents = file.read_bytes()
    file.write_bytes(contents[: len(contents) // 2])


def flip_a_bit(file):
    contents = bytearray(file.read_bytes())
    contents[len(contents) // 3] ^= 4
    file.write_bytes(contents)


if __name__ == "__main__":
    unittest.main()
