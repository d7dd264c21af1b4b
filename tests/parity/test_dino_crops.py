"""DINO's crops equal torchvision's and Pillow's, every float of them, from the same draws."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from dino_support import dino_recipe, write_dino_recipe
from philox import AUGMENTATION, Random, resized_crop_box
from support import MEAN, STD, ParityTest, make_data, read_batch, run_lockstep

RATIO = (3 / 4, 4 / 3)
BLUR = {0: 1.0, 1: 0.1}  # of the global crops; 0.5 of the local ones
PER_CLASS = 8


def jitter(image, random):
    order = [0, 1, 2, 3]
    for i in (3, 2, 1):
        j = random.integer(0, i + 1)
        order[i], order[j] = order[j], order[i]
    operations = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
    ranges = [(0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)]
    factors = [random.uniform(*limits) for limits in ranges]
    for i in order:
        image = operations[i](image, factors[i])
    return image


def crop(image, number, crops, random):
    kind = "global" if number < 2 else "local"
    box = resized_crop_box(*image.size, crops[f"{kind}_scale"], RATIO, random)
    image = F.resized_crop(image, *box, [crops[f"{kind}_size"]] * 2, InterpolationMode.BICUBIC)
    if random.chance(0.5):
        image = F.hflip(image)
    if random.chance(0.8):
        image = jitter(image, random)
    if random.chance(0.2):
        image = F.to_grayscale(image, num_output_channels=3)
    if random.chance(BLUR.get(number, 0.5)):
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
    if number == 1 and random.chance(0.2):
        image = ImageOps.solarize(image)
    return F.normalize(F.to_tensor(image), MEAN.tolist(), STD.tolist())


class Crops(ParityTest):
    def test_every_float(self):
        data = make_data(self.folder / "data", PER_CLASS, 1, 112)
        # Whole batches: each picture stands once in an epoch, of 5 steps.
        recipe = dino_recipe(data)
        file = write_dino_recipe(self.folder / "crops.toml", recipe)
        pictures = [path for folder in sorted((data / "train").iterdir()) for path in sorted(folder.iterdir())]
        epochs = []
        for step in (0, 3, 7, 12):
            batch = read_batch(file, step, self.folder / f"{step}.safetensors")
            epoch = step * recipe["batch"]["size"] // len(pictures)
            epochs.append(epoch)
            for row, sample in enumerate(batch["samples"].tolist()):
                image = Image.open(pictures[sample]).convert("RGB")
                for number in range(2 + recipe["crops"]["local_count"]):
                    random = Random(recipe["seed"], AUGMENTATION, epoch << 8 | number, sample)
                    expected = crop(image, number, recipe["crops"], random)
                    self.assertTrue(torch.equal(batch[f"crops.{number}"][row], expected),
                                    f"crop {number} of sample {sample} in step {step}")
        self.assertGreater(len(set(epochs)), 1)

    def test_preview_shows_them(self):
        """A row a picture, its crops beside each other, as the levels that they had."""
        recipe = dino_recipe(make_data(self.folder / "shown", PER_CLASS, 1, 112))
        file = write_dino_recipe(self.folder / "shown.toml", recipe)
        out = self.folder / "sheet.png"
        run_lockstep("preview", file, "--step", 3, "--out", out)
        sheet = np.asarray(Image.open(out))
        batch = read_batch(file, 3, self.folder / "shown.safetensors")
        top = 0
        for row in range(min(8, len(batch["samples"]))):
            left, height = 0, 0
            for number in range(2 + recipe["crops"]["local_count"]):
                crop_of_row = batch[f"crops.{number}"][row].permute(1, 2, 0).double().numpy()
                levels = np.rint(255 * (crop_of_row * STD + MEAN)).astype(np.uint8)
                side = levels.shape[0]
                self.assertTrue((sheet[top : top + side, left : left + side] == levels).all(), (row, number))
                left, height = left + side + 2, max(height, side + 2)
            self.assertEqual(sheet.shape[1], left - 2)
            top += height
        self.assertEqual(sheet.shape[0], top - 2)


if __name__ == "__main__":
    unittest.main()
