"""Mixed batches are what timm's Mixup makes of the unmixed ones."""

import sys
import unittest
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np

from support import MEAN, STD, ParityTest, in_parallel, make_noise_data, read_batch, write_recipe

SIZE = 32
BATCH = 16
PER_CLASS = 16
STEPS = 20
UNMIXED = {"mixup": 0.0, "cutmix": 0.0}


@dataclass
class Batch:
    pixels: np.ndarray  # [B, H, W, 3], whole numbers 0 to 255
    targets: np.ndarray
    samples: list


@dataclass
class Box:
    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self):
        return (self.bottom - self.top) * (self.right - self.left)


def whole_levels(images):
    """The 8-bit picture behind a normalised one."""
    levels = (images.double().permute(0, 2, 3, 1).numpy() * STD + MEAN) * 255
    whole = np.rint(levels)
    if np.abs(levels - whole).max() > 1e-3 or whole.min() < 0 or whole.max() > 255:
        raise AssertionError("the images are not normalised 8-bit pictures")
    return whole


def own_share(mixed, plain):
    """Each row's weight of its own class, of the rows whose partner is of another class."""
    labels = plain.targets.argmax(1)
    rows = np.nonzero(labels != labels[::-1])[0]
    return mixed.targets[rows, labels[rows]]


def changed_box(mixed, plain):
    changed = (mixed.pixels != plain.pixels).any(axis=(0, 3))
    rows, columns = np.nonzero(changed.any(1))[0], np.nonzero(changed.any(0))[0]
    if not len(rows):
        return None
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def is_pasted(mixed, plain, box):
    inside = np.s_[:, box.top : box.bottom, box.left : box.right]
    return np.array_equal(mixed.pixels[inside], plain.pixels[::-1][inside])


class MixingTest(ParityTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = make_noise_data(cls.folder / "data", PER_CLASS, 48)
        cls.plain = cls.batches("plain", UNMIXED)

    @classmethod
    def batches(cls, name, mixing, shards=1, shard=0):
        recipe = write_recipe(
            cls.folder / f"{name}.toml", data=cls.data, batch={"size": BATCH * shards, "shards": shards},
            augmentation={"size": SIZE, **mixing}, schedule={"epochs": 8})
        return in_parallel(lambda step: cls.batch(recipe, name, step, shard), range(STEPS))

    @classmethod
    def batch(cls, recipe, name, step, shard):
        tensors = read_batch(recipe, step, cls.folder / f"{name}-{step}-{shard}.safetensors", shard)
        return Batch(whole_levels(tensors["images"]), tensors["targets"].numpy(), tensors["samples"].tolist())

    def lam(self, mixed, plain):
        shares = own_share(mixed, plain)
        self.assertGreater(len(shares), 0, "every pair is of one class")
        self.assertLess(float(np.ptp(shares)), 1e-6, "one share for the whole batch")
        return float(shares[0])

    def assert_targets_mixed(self, mixed, plain):
        lam = self.lam(mixed, plain)
        expected = lam * plain.targets + (1 - lam) * plain.targets[::-1]
        np.testing.assert_allclose(mixed.targets, expected, rtol=0, atol=2e-6)
        np.testing.assert_allclose(mixed.targets.sum(1), 1, rtol=0, atol=1e-6)
        self.assertLessEqual(int((mixed.targets != 0).sum(1).max()), 2)

    def assert_blended(self, mixed, plain):
        lam = np.float32(self.lam(mixed, plain))
        own, partner = plain.pixels.astype(np.float32), plain.pixels[::-1].astype(np.float32)
        error = np.abs(mixed.pixels - np.rint(own * lam + partner * (np.float32(1) - lam)))
        self.assertLessEqual(error.max(), 1)
        self.assertLess((error > 0).mean(), 1e-3)

    def assert_box_gives_share(self, mixed, plain, box):
        lam = self.lam(mixed, plain)
        self.assertAlmostEqual(1 - box.area / SIZE**2, lam, places=6)

    def kind(self, mixed, plain):
        """Which of the two it is, after checking that it is one of them."""
        self.assert_targets_mixed(mixed, plain)
        box = changed_box(mixed, plain)
        if box is None:
            self.assertGreater(self.lam(mixed, plain), 0.99)
            return "nothing"
        if is_pasted(mixed, plain, box):
            self.assert_box_gives_share(mixed, plain, box)
            return "cutmix"
        self.assert_blended(mixed, plain)
        return "mixup"

    def kinds(self, name, mixing):
        mixed = self.batches(name, mixing)
        for ours, plain in zip(mixed, self.plain):
            self.assertEqual(ours.samples, plain.samples)
        return [self.kind(ours, plain) for ours, plain in zip(mixed, self.plain)], mixed

    def test_unmixed_targets_are_one_hot(self):
        for batch in self.plain:
            self.assertEqual(sorted(set(batch.targets.ravel().tolist())), [0.0, 1.0])
            self.assertTrue((batch.targets.sum(1) == 1).all())

    def test_both_kinds_take_turns(self):
        kinds, _ = self.kinds("both", {"mixup": 0.8, "cutmix": 1.0})
        self.assertGreaterEqual(kinds.count("mixup"), 3)
        self.assertGreaterEqual(kinds.count("cutmix"), 3)

    def test_mixup_alone(self):
        kinds, mixed = self.kinds("mixup", {"mixup": 0.8, "cutmix": 0.0})
        self.assertNotIn("cutmix", kinds)
        shares = [self.lam(ours, plain) for ours, plain in zip(mixed, self.plain)]
        self.assertGreater(len({round(share, 6) for share in shares}), STEPS // 2)
        self.assertLess(min(shares), 0.5)
        self.assertGreater(max(shares), 0.5)

    def test_cutmix_alone_cuts_timm_boxes(self):
        kinds, mixed = self.kinds("cutmix", {"mixup": 0.0, "cutmix": 1.0})
        self.assertNotIn("mixup", kinds)
        boxes = [changed_box(ours, plain) for ours, plain in zip(mixed, self.plain)]
        boxes = [box for box in boxes if box]
        inner = [box for box in boxes
                 if box.top > 0 and box.left > 0 and box.bottom < SIZE and box.right < SIZE]
        for box in inner:
            self.assertEqual(box.bottom - box.top, box.right - box.left, "a box off the border is a square")
        free = [box.bottom - box.top for box in boxes if box.top > 0 and box.bottom < SIZE]
        free += [box.right - box.left for box in boxes if box.left > 0 and box.right < SIZE]
        self.assertTrue(any(side % 2 for side in free), "timm cuts boxes of odd sides too")

    def test_shards_draw_for_themselves(self):
        mixing = {"mixup": 0.8, "cutmix": 0.0}
        shares = []
        for shard in (0, 1):
            mixed = self.batches(f"shard{shard}", mixing, shards=2, shard=shard)
            plain = self.batches(f"shard{shard}-plain", UNMIXED, shards=2, shard=shard)
            shares.append([self.lam(ours, theirs) for ours, theirs in zip(mixed, plain)])
        same = sum(abs(first - second) < 1e-6 for first, second in zip(*shares))
        self.assertLessEqual(same, 1)


if __name__ == "__main__":
    unittest.main()
