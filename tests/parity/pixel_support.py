"""Pictures, and a test that holds what `lockstep preview` makes of them against another library's pixels."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import timm.data
from PIL import Image, ImageDraw

from support import ParityTest, in_parallel, run_lockstep


def noise(width, height, seed):
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))


def photo(width, height, seed):
    """Smooth gradients with shapes on them and a little grain."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    channels = [
        128 + 70 * np.sin(x / generator.uniform(9, 40) + generator.uniform(0, 6))
        + 50 * np.cos(y / generator.uniform(9, 40) + generator.uniform(0, 6))
        for _ in range(3)
    ]
    grainy = np.stack(channels, -1) + generator.normal(0, 3, (height, width, 3))
    image = Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        left, top = int(generator.integers(0, width)), int(generator.integers(0, height))
        box = (left, top, left + width // 4, top + height // 4)
        colour = tuple(int(value) for value in generator.integers(0, 256, 3))
        (draw.ellipse if generator.random() < 0.5 else draw.rectangle)(box, fill=colour)
    return image


def narrow_range(width, height, seed):
    """Grey levels 90 to 140 only, one channel constant: what AutoContrast and Equalize treat apart."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(90, 141, (height, width, 3), dtype=np.uint8)
    pixels[..., 1] = 77
    return Image.fromarray(pixels)


def many_colours(seed):
    """65536 colours: every pair of red and green, each with its own blue."""
    red, green = np.meshgrid(np.arange(256), np.arange(256))
    blue = np.random.default_rng(seed).integers(0, 256, (256, 256))
    return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))


def pictures():
    return [
        photo(97, 61, 1),
        noise(64, 64, 2),
        photo(60, 113, 3),
        narrow_range(33, 50, 4),
        noise(31, 47, 5),
        photo(128, 96, 6),
    ]


def timm_evaluation_crop(image, size, crop):
    transform = timm.data.create_transform(
        input_size=(3, size, size),
        is_training=False,
        interpolation="bicubic",
        crop_pct=crop,
        use_prefetcher=False,
        normalize=False,
    )
    return transform(image).permute(1, 2, 0).numpy()


def op_text(name, arguments):
    return name if not arguments else f"{name}={','.join(repr(value) for value in arguments)}"


class PixelTest(ParityTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pictures = []
        for number, image in enumerate(pictures()):
            path = cls.folder / f"picture{number}.png"
            image.save(path)
            cls.pictures.append((path, image))

    def preview(self, path, name, arguments, number):
        out = self.folder / f"out{number}.png"
        run_lockstep("preview", "--image", path, "--op", op_text(name, arguments), "--out", out)
        return np.asarray(Image.open(out).convert("RGB"))

    def assert_pixels_equal(self, ours, theirs, what):
        self.assertEqual(ours.shape, theirs.shape, what)
        wrong = ours != theirs
        if wrong.any():
            worst = int(np.abs(ours.astype(int) - theirs.astype(int)).max())
            place = tuple(int(axis[0]) for axis in np.nonzero(wrong))
            self.fail(f"{what}: {int(wrong.sum())} of {wrong.size} values differ, by {worst} at most; "
                      f"first at row, column, channel {place}: {ours[place]} for {theirs[place]}")

    def assert_previews(self, cases):
        """`cases`: the picture's path, the operation, its arguments and the pixels expected."""
        numbered = list(enumerate(cases))
        found = in_parallel(lambda item: self.preview(item[1][0], item[1][1], item[1][2], item[0]), numbered)
        for (path, name, arguments, expected), ours in zip(cases, found):
            with self.subTest(picture=path.name, op=op_text(name, arguments)):
                self.assert_pixels_equal(ours, expected, f"{op_text(name, arguments)} on {path.name}")
