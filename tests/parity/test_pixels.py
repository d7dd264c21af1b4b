"""Every pixel operation equals Pillow's, timm's and torchvision's, pixel for pixel."""

import random
import sys
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from timm.data import auto_augment
from torchvision.transforms import InterpolationMode, functional

from pixel_support import PixelTest, many_colours, noise, photo, timm_evaluation_crop
from support import FILL, LockstepFailed

MAGNITUDES = range(11)
HPARAMS = {"img_mean": FILL, "translate_pct": 0.45, "translate_const": 250}
OPERATIONS = sorted(set(auto_augment._RAND_TRANSFORMS + auto_augment._RAND_INCREASING_TRANSFORMS))
PICTURES_AN_ARGUMENT = 2


def level_arguments(name, magnitude):
    """What timm would give the operation at this magnitude: for either sign, where it draws one."""
    level = auto_augment.LEVEL_TO_ARG[name]
    if level is None:
        return [()]
    found = []
    for draw in (0.0, 1.0):
        with mock.patch("random.random", return_value=draw):
            found.append(level(magnitude, HPARAMS))
    return list(dict.fromkeys(found))


def timm_pixels(name, image, arguments):
    if name.startswith("Posterize") and arguments == (0,):
        return np.zeros_like(np.asarray(image))  # i & ~(2**8 - 1); newer Pillow refuses to keep no bit
    operation = auto_augment.NAME_TO_OP[name]
    result = operation(image, *arguments, fillcolor=FILL, resample=Image.Resampling.BICUBIC)
    return np.asarray(result)


class TimmTest(PixelTest):
    def assert_equals_timm(self, name, arguments_list):
        cases = []
        for number, arguments in enumerate(arguments_list):
            for offset in range(PICTURES_AN_ARGUMENT):
                path, image = self.pictures[(PICTURES_AN_ARGUMENT * number + offset) % len(self.pictures)]
                cases.append((path, name, arguments, timm_pixels(name, image, arguments)))
        self.assert_previews(cases)


class RandAugmentOperations(TimmTest):
    def test_every_magnitude_and_sign(self):
        for name in OPERATIONS:
            with self.subTest(op=name):
                arguments = [value for magnitude in MAGNITUDES for value in level_arguments(name, magnitude)]
                self.assert_equals_timm(name, list(dict.fromkeys(arguments)))

    def test_magnitudes_between_as_their_noise_gives(self):
        generator = random.Random(7)
        for name in OPERATIONS:
            if auto_augment.LEVEL_TO_ARG[name] is None:
                continue
            with self.subTest(op=name):
                magnitudes = [generator.uniform(0, 10) for _ in range(2)]
                arguments = [value for magnitude in magnitudes for value in level_arguments(name, magnitude)]
                self.assert_equals_timm(name, list(dict.fromkeys(arguments)))

    def test_operations_without_a_value_on_every_picture(self):
        for name in ("AutoContrast", "Equalize", "Invert"):
            cases = [(path, name, (), timm_pixels(name, image, ())) for path, image in self.pictures]
            self.assert_previews(cases)


class DinoOperations(PixelTest):
    """What DINO's augmentation takes from torchvision and Pillow."""

    def on_every_picture(self, name, values, expected_of):
        """`expected_of(image, value)` is the other library's result."""
        self.assert_previews([(path, name, (value,), np.asarray(expected_of(image, value)))
                              for path, image in self.pictures for value in values])

    def saved(self, name, image):
        path = self.folder / name
        image.save(path)
        return path, image

    def test_gaussian_blur(self):
        generator = random.Random(2)
        radii = [0, 0.01, 0.1, 0.5, 1, 2, 5, 20, 150] + [generator.uniform(0.1, 2.0) for _ in range(12)]
        self.on_every_picture("GaussianBlur", radii, blurred)

    def test_gaussian_blur_of_slim_and_small_pictures(self):
        cases = []
        for width, height in ((1, 1), (1, 17), (17, 1), (2, 3), (5, 4), (300, 2)):
            path, image = self.saved(f"slim{width}x{height}.png", noise(width, height, width + height))
            for radius in (0.1, 0.9, 2.0, 7.3, 60.0):
                cases.append((path, "GaussianBlur", (radius,), np.asarray(blurred(image, radius))))
        self.assert_previews(cases)

    def test_gaussian_blur_of_black_and_white_noise(self):
        """Where sums reach their largest and smallest."""
        path, image = self.saved("extremes.png", noise(97, 61, 9).point(lambda level: 255 if level > 127 else 0))
        radii = [0.1 + 0.05 * number for number in range(39)]
        self.assert_previews([(path, "GaussianBlur", (radius,), np.asarray(blurred(image, radius)))
                              for radius in radii])

    def test_hue(self):
        generator = random.Random(3)
        turns = [-0.5, -0.1, -0.003, 0.0, 0.003, 0.1, 0.5] + [generator.uniform(-0.5, 0.5) for _ in range(6)]
        self.on_every_picture("Hue", turns, functional.adjust_hue)

    def test_hue_of_many_colours(self):
        cases = []
        for number, value in enumerate((-0.5, -0.2, -0.1, -0.05, 0.0, 0.02, 0.1, 0.33, 0.5)):
            path, image = self.saved(f"colours{number}.png", many_colours(number))
            cases.append((path, "Hue", (value,), np.asarray(functional.adjust_hue(image, value))))
        self.assert_previews(cases)

    def test_brightness_contrast_and_saturation(self):
        generator = random.Random(4)
        factors = [0.0, 0.6, 0.8, 1.0, 1.2, 1.4] + [generator.uniform(0.6, 1.4) for _ in range(6)]
        self.on_every_picture("Brightness", factors, functional.adjust_brightness)
        self.on_every_picture("Contrast", factors, functional.adjust_contrast)
        self.on_every_picture("Color", factors, functional.adjust_saturation)

    def test_greyscale_and_solarize(self):
        pictures = [*self.pictures, self.saved("colours.png", many_colours(1))]
        cases = []
        for path, image in pictures:
            cases.append((path, "Grayscale", (), np.asarray(functional.to_grayscale(image, 3))))
            cases.append((path, "Solarize", (128,), np.asarray(ImageOps.solarize(image, 128))))
        self.assert_previews(cases)

    def assert_refused(self, name, value):
        with self.assertRaisesRegex(LockstepFailed, f"E105.*{name}.*out of range"):
            self.preview(self.pictures[0][0], name, (value,), 0)

    def test_a_hue_that_torchvision_refuses_is_refused(self):
        for value in (-0.51, 0.51):
            self.assertRaises(ValueError, functional.adjust_hue, self.pictures[0][1], value)
            self.assert_refused("Hue", value)

    def test_a_negative_radius_is_refused(self):
        self.assert_refused("GaussianBlur", -0.1)


def blurred(image, radius):
    return image.filter(ImageFilter.GaussianBlur(radius))


class Crops(PixelTest):
    def test_resized_crop(self):
        generator = random.Random(1)
        cases = []
        for number in range(36):
            path, image = self.pictures[number % len(self.pictures)]
            height = generator.randint(1, image.height)
            width = generator.randint(1, image.width)
            top = generator.randint(0, image.height - height)
            left = generator.randint(0, image.width - width)
            size = generator.choice([1, 16, 47, 64, 160, 224])
            expected = functional.resized_crop(image, top, left, height, width, [size, size], InterpolationMode.BICUBIC)
            cases.append((path, "ResizedCrop", (top, left, height, width, size), np.asarray(expected)))
        self.assert_previews(cases)

    def test_resized_crop_of_its_own_size_changes_nothing(self):
        path, image = self.pictures[5]
        expected = np.asarray(image)[5:69, 7:71]
        self.assert_previews([(path, "ResizedCrop", (5, 7, 64, 64, 64), expected)])

    def test_evaluation_crop(self):
        sizes = [(97, 61), (61, 97), (64, 64), (500, 375), (375, 500), (233, 235), (235, 235), (301, 1000), (17, 90)]
        crops = [(224, 0.95), (224, 0.875), (160, 0.95), (64, 1.0), (64, 0.9), (47, 0.96)]
        cases = []
        for number, (width, height) in enumerate(sizes):
            image = photo(width, height, 20 + number)
            path = self.folder / f"evaluation{number}.png"
            image.save(path)
            for size, crop in crops[number % 2 :: 2]:
                cases.append((path, "EvaluationCrop", (size, crop), timm_evaluation_crop(image, size, crop)))
        self.assert_previews(cases)

    def test_thumbnail(self):
        """Pillow's, of a decoded picture: blocks are averaged first where it is much too large."""
        cases = []
        for number, (width, height) in enumerate(
                [(97, 61), (61, 97), (64, 64), (500, 375), (333, 500), (301, 1000), (1000, 87), (641, 640),
                 (17, 90), (3, 800), (400, 1)]):
            image = photo(width, height, 50 + number)
            path = self.folder / f"thumbnail{number}.png"
            image.save(path)
            for size in (224, 100, 47, 16):
                cases.append((path, "Thumbnail", (size,), pillow_thumbnail(image, size)))
        self.assert_previews(cases)


def pillow_thumbnail(image, size):
    copy = image.copy()
    copy.thumbnail((size, size), Image.Resampling.LANCZOS)
    return np.asarray(copy)


if __name__ == "__main__":
    unittest.main()
