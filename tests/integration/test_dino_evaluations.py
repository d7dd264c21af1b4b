"""What an evaluation on pictures of its own cannot use ends with its number, its place and a cure."""

import json
import shutil
import unittest

from PIL import Image

from support import RunTest, run

RECIPE = """\
job = "dino"
[model]
name = "vit_tiny"
[head]
out_dim = 16
hidden_dim = 16
bottleneck_dim = 16
[evaluation]
retrieval_size = 64
copy_size = 32
video_size = 64
"""


def save(path, width=48, height=48, index=None):
    """A grey picture; with `index` one of a palette, with that index everywhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (width, height), (90, 90, 90))
    if index is not None:
        image = Image.new("P", (width, height), index)
        image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(path)


class Evaluations(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.recipe = cls.write_recipe("dino.toml", RECIPE)

    def setUp(self):
        self.images = self.folder / "images"
        self.addCleanup(shutil.rmtree, self.images, ignore_errors=True)

    def evaluate(self, task, *arguments):
        return run("eval", self.recipe, "--initial", "--task", task, "--images", self.images, *arguments)

    def refused(self, task, identity, *fragments):
        self.assert_error(self.evaluate(task), 65, identity, *fragments)


class Retrieval(Evaluations):
    def setUp(self):
        super().setUp()
        self.truth = {"imlist": ["a", "b"], "qimlist": ["q"], "gnd": [{"easy": [0], "hard": [], "junk": [1]}]}
        for name in "abq":
            save(self.images / "jpg" / f"{name}.jpg")
        self.write(self.truth)

    def write(self, truth):
        (self.images / "ground_truth.json").write_text(truth if isinstance(truth, str) else json.dumps(truth))

    def test_a_good_folder(self):
        printed = json.loads(self.ok(self.evaluate("retrieval")).out)
        self.assertEqual((printed["map_medium"], printed["queries"], printed["samples"]), (100, 1, 2))
        self.assertNotIn("map_hard", printed)  # there is nothing hard to find

    def test_ground_truth(self):
        (self.images / "ground_truth.json").unlink()
        self.refused("retrieval", "E208", "there is no", "ground_truth.json", "docs/recipes.md")
        for truth, *fragments in (
            ("{", "cannot be understood"),
            ({"imlist": ["a"]}, "qimlist"),
            ({**self.truth, "gnd": []}, "1 queries in qimlist, but 0 in gnd"),
            ({**self.truth, "gnd": [{"easy": [2], "hard": [], "junk": []}]}, "2 in 'easy'", "2 pictures"),
            ({**self.truth, "gnd": [{"easy": ["a"], "hard": [], "junk": []}]}, "cannot be understood"),
            ({**self.truth, "gnd": [{"easy": [], "hard": [], "junk": []}]}, "anything to find"),
            ({**self.truth, "imlist": [], "gnd": []}, "but 0 in gnd"),
            ({"imlist": [], "qimlist": [], "gnd": []}, "names no pictures"),
            ({**self.truth, "imlist": [1, 2]}, "cannot be understood"),
            ({**self.truth, "imlist": ["a", "c"]}, "c.jpg", "put it there"),
        ):
            with self.subTest(truth=truth):
                self.write(truth)
                self.refused("retrieval", "E208", *fragments)

    def test_pictures(self):
        (self.images / "jpg" / "b.jpg").write_bytes(b"no picture")
        self.refused("retrieval", "E205", "b.jpg", "neither a JPEG nor a PNG")
        save(self.images / "jpg" / "b.jpg", 400, 30)
        self.refused("retrieval", "E205", "b.jpg", "64 x 5 pixels", "a patch of 16")


class Copies(Evaluations):
    def setUp(self):
        super().setUp()
        save(self.images / "original" / "200100.jpg")
        save(self.images / "jpegqual" / "3" / "200100.jpg")

    def test_a_good_folder(self):
        printed = json.loads(self.ok(self.evaluate("copy_detection")).out)
        self.assertEqual((printed["map_jpegqual_3"], printed["map"], printed["samples"]), (100, 100, 1))

    def test_folders(self):
        shutil.rmtree(self.images / "jpegqual")
        self.refused("copy_detection", "E208", "no folder of altered pictures", "strong/")
        shutil.rmtree(self.images / "original")
        self.refused("copy_detection", "E202", "no pictures in")
        save(self.images / "strong" / "200100.jpg")
        self.refused("copy_detection", "E208", "original' has no pictures")

    def test_names(self):
        save(self.images / "strong" / "300101.jpg")
        self.refused("copy_detection", "E208", "300101.jpg' is a copy of nothing")
        save(self.images / "original" / "flower.jpg")
        self.refused("copy_detection", "E208", "flower.jpg' has a name that is not a number")

    def test_an_empty_picture(self):
        (self.images / "distractors").mkdir()
        (self.images / "distractors" / "x.jpg").touch()
        self.refused("copy_detection", "E205", "x.jpg", "empty")

    def test_a_size_that_cannot_be_cut_into_patches(self):
        self.assert_error(self.evaluate("copy_detection", "--set", "evaluation.copy_size=100"), 2, "E105",
                          "patches of 16", "as 112")


class Video(Evaluations):
    def setUp(self):
        super().setUp()
        self.list = self.images / "ImageSets" / "2017" / "val.txt"
        self.list.parent.mkdir(parents=True)
        self.list.write_text("cat\n")
        self.frames = self.images / "JPEGImages" / "480p" / "cat"
        self.annotations = self.images / "Annotations" / "480p" / "cat"
        for frame in range(3):
            save(self.frames / f"{frame}.jpg")
            save(self.annotations / f"{frame}.png", index=1)

    def test_a_good_folder(self):
        printed = json.loads(self.ok(self.evaluate("video")).out)
        self.assertEqual(list(printed), ["j_mean", "f_mean", "j_and_f", "sequences", "objects"])
        self.assertEqual((printed["sequences"], printed["objects"]), (1, 1))

    def test_files_that_are_not_there(self):
        (self.annotations / "1.png").unlink()
        self.refused("video", "E208", "cat/1.png' does not exist", "Annotations/480p")
        (self.frames / "2.jpg").unlink()
        self.refused("video", "E208", "fewer than three frames")
        self.list.write_text("dog\n")
        self.refused("video", "E208", "480p/dog' does not exist")
        self.list.write_text("\n")
        self.refused("video", "E208", "val.txt' names no videos")
        self.list.unlink()
        self.refused("video", "E208", "val.txt' does not exist")

    def test_annotations_that_are_none(self):
        first = self.annotations / "0.png"
        save(first)
        self.refused("video", "E205", "cat/0.png", "no palette")
        first.write_bytes(b"")
        self.refused("video", "E205", "cat/0.png")
        save(first, index=1)
        first.write_bytes(first.read_bytes()[:-30])
        self.refused("video", "E205", "cat/0.png")
        save(first, index=0)
        self.refused("video", "E208", "no object")

    def test_sizes_that_differ(self):
        save(self.annotations / "1.png", 30, 48, index=1)
        self.refused("video", "E208", "cat/1.png' is 30 x 48 pixels, its frame 48 x 48")
        save(self.frames / "1.jpg", 30, 48)
        self.refused("video", "E208", "cat/1.jpg' is 30 x 48 pixels, the first frame 48 x 48")

    def test_outputs_of_pictures_there_are_none(self):
        self.assert_error(self.evaluate("video", "--outputs", self.folder / "x.safetensors"), 2, "E105",
                          "no output for every picture")


if __name__ == "__main__":
    unittest.main()
