"""Copy detection's descriptors are those of plain PyTorch on torchvision's squares, and its measures those of a direct
computation from the descriptors."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torchvision import transforms

from dino_support import dino_recipe, network, picture, save_network, write_dino_recipe
from support import MEAN, STD, ParityTest, run_lockstep_json

ORIGINALS, DISTRACTORS, WHITENING = 12, 14, 9
SIZE, NEAREST = 64, 20
TOLERANCE = 1e-4


def average_precision(ranking, positives):
    """The area under the curve of precision over recall, by trapezoids, of what is in `ranking`."""
    relevant = np.isin(ranking, positives)
    after = np.cumsum(relevant) / np.arange(1, len(relevant) + 1)
    before = np.concatenate(([1.0], after[:-1]))
    return float(((before + after) / 2)[relevant].sum() / len(positives))


def whitened(descriptors, samples):
    """By the singular values of the samples, whose squares are the variances."""
    _, values, axes = np.linalg.svd(samples / np.sqrt(len(samples)))
    variances = np.zeros(samples.shape[1])
    variances[: len(values)] = values**2
    variances = np.maximum(variances, 1e-5 * variances.max())
    return (descriptors - samples.mean(0)) @ axes.T / np.sqrt(variances)


class Copies(ParityTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.images = cls.folder / "copydays"
        cls.make_pictures()
        recipe = dino_recipe()
        cls.network = network(recipe)
        cls.weights = save_network(cls.network, cls.folder / "weights.safetensors")
        cls.recipe = write_dino_recipe(cls.folder / "recipe.toml", recipe)

    @classmethod
    def save(cls, image, folder, number, quality=90):
        path = cls.images / folder / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=quality)

    @classmethod
    def make_pictures(cls):
        """A kind of Copydays: two of its originals are of one family, and altered copies stray."""
        for number in range(ORIGINALS):
            name = 200000 + 100 * number if number else 200101
            image = picture(120 + 7 * number, 90, number)
            cls.save(image, "original", name)
            cls.save(image, "jpegqual/3", name, quality=3)
            cls.save(ImageOps.invert(image.crop((30, 20, 100, 80))), "crops/60", name)
            for copy in range(number % 3):
                cls.save(ImageOps.solarize(image.rotate(60 * (copy + 1))), "strong", name // 100 * 100 + copy + 1)
        for number in range(DISTRACTORS):
            cls.save(picture(80, 80, 100 + number), "distractors", f"any{number}")
        for number in range(WHITENING):
            cls.save(picture(70, 90, 200 + number), "whitening", f"any{number}")

    def files(self, folder):
        """Their places among all files, in the order of the paths."""
        everything = sorted(self.images.rglob("*.jpg"))
        return {everything.index(path): int(path.stem) // 100 if path.stem.isdigit() else -1
                for path in everything if path.parent == self.images / folder}

    def measures(self, descriptors, *, whiten):
        x = descriptors.double().numpy()
        if whiten:
            x = whitened(x, x[list(self.files("whitening"))])
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        base = list(self.files("original").values()) + [-1] * DISTRACTORS
        places = list(self.files("original")) + list(self.files("distractors"))
        result, everything = {}, []
        for block in ("crops/60", "jpegqual/3", "strong"):
            precisions = [
                average_precision(np.argsort(-x[places] @ x[place], kind="stable")[:NEAREST],
                                  np.flatnonzero(np.array(base) == family))
                for place, family in self.files(block).items()]
            result[f"map_{block.replace('/', '_')}"] = 100 * np.mean(precisions)
            everything += precisions
        return {**result, "map": 100 * np.mean(everything)}

    def run_task(self, ranks=2):
        file = self.folder / "outputs.safetensors"
        printed = run_lockstep_json(
            "eval", self.recipe, "--weights", self.weights, "--task", "copy_detection", "--images", self.images,
            "--set", f"evaluation.copy_size={SIZE}", "--outputs", file, ranks=ranks)
        outputs = load_file(file)
        return printed, outputs["features"][outputs["samples"].argsort()]

    def their_descriptors(self):
        transform = transforms.Compose([
            transforms.Resize((SIZE, SIZE), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(), transforms.Normalize(MEAN.tolist(), STD.tolist())])
        files = sorted(self.images.rglob("*.jpg"))
        with torch.no_grad():
            tokens = self.network.backbone.tokens(
                torch.stack([transform(Image.open(file).convert("RGB")) for file in files]))
        gem = (tokens[:, 1:].clamp(min=1e-6) ** 4).mean(1) ** (1 / 4)
        return torch.cat((tokens[:, 0], gem), 1)

    def test_measures_and_descriptors_on_one_and_two_ranks(self):
        printed, descriptors = self.run_task()
        self.assertLess(float((descriptors - self.their_descriptors()).abs().max()), TOLERANCE)
        expected = self.measures(descriptors, whiten=True)
        self.assertEqual(set(printed), {*expected, "queries", "samples"})
        for key, value in expected.items():
            self.assertAlmostEqual(printed[key], value, places=5, msg=key)
        self.assertEqual(printed["samples"], ORIGINALS + DISTRACTORS)
        self.assertEqual(self.run_task(ranks=1)[0], printed)
        # Without whitening the numbers are others.
        self.assertNotAlmostEqual(self.measures(descriptors, whiten=False)["map"], printed["map"], places=2)

    def test_without_whitening(self):
        whitening = self.images / "whitening"
        whitening.rename(self.folder / "aside")
        try:
            printed, descriptors = self.run_task()
            for key, value in self.measures(descriptors, whiten=False).items():
                self.assertAlmostEqual(printed[key], value, places=5, msg=key)
        finally:
            (self.folder / "aside").rename(whitening)


if __name__ == "__main__":
    unittest.main()
