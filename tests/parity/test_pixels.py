"""Every pixel operation equals Pillow's, timm's and torchvision's, pixel for pixel."""

import random
import sys
import unittest
import zlib
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import timm.data
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from timm.data import auto_augment
from torchvision.transforms import InterpolationMode, functional

from support import FILL, LockstepFailed, ParityTest, in_parallel, run_lockstep

MAGNITUDES = range(11)
HPARAMS = {"img_mean": FILL, "translate_pct": 0.45, "translate_const": 250}
OPERATIONS = sorted(set(auto_augment._RAND_TRANSFORMS + auto_augment._RAND_INCREASING_TRANSFORMS))
PICTURES_AN_ARGUMENT = 2


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

    def assert_equals_timm(self, name, arguments_list):
        cases = []
        for number, arguments in enumerate(arguments_list):
            for offset in range(PICTURES_AN_ARGUMENT):
                path, image = self.pictures[(PICTURES_AN_ARGUMENT * number + offset) % len(self.pictures)]
                cases.append((path, name, arguments, timm_pixels(name, image, arguments)))
        self.assert_previews(cases)


class RandAugmentOperations(PixelTest):
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


class FileTest(PixelTest):
    def saved(self, name, image, **options):
        path = self.folder / name
        image.save(path, **options)
        return path

    def assert_decodes(self, paths):
        decoded = [Image.open(path).convert("RGB") for path in paths]
        cases = [(path, "Brightness", (1.0,), np.asarray(image)) for path, image in zip(paths, decoded)]
        cases += [(path, "EvaluationCrop", (47, 0.95), timm_evaluation_crop(image, 47, 0.95))
                  for path, image in zip(paths, decoded)]
        self.assert_previews(cases)


class Jpegs(FileTest):
    """A JPEG file is decoded as Pillow decodes it."""

    def test_chroma_subsampling_and_odd_sizes(self):
        self.assert_decodes([
            self.saved(f"s{subsampling}-{width}x{height}.jpg", photo(width, height, width),
                       quality=quality, subsampling=subsampling)
            for subsampling in (0, 1, 2)
            for width, height, quality in ((97, 61, 75), (128, 96, 95), (33, 50, 30))
        ])

    def test_progressive_and_grey(self):
        self.assert_decodes([
            self.saved("progressive.jpg", photo(97, 61, 1), progressive=True),
            self.saved("grey.jpg", photo(97, 61, 2).convert("L")),
        ])

    def test_cmyk_and_ycck(self):
        cmyk = photo(97, 61, 3).convert("CMYK")
        self.assert_decodes([
            self.saved("cmyk.jpg", cmyk),
            self.saved("cmyk-inverted.jpg", cmyk.point(lambda level: 255 - level)),
            self.ycck("ycck.jpg", photo(97, 61, 3)),
        ])

    def ycck(self, name, image):
        """Adobe's four channels: the marker of a CMYK file says that it is YCCK. Pillow writes none itself."""
        path = self.saved(name, image.convert("CMYK"))
        contents = path.read_bytes()
        marker = contents.index(b"Adobe") + 11  # the byte that names the transform
        self.assertEqual(contents[marker], 0)
        path.write_bytes(contents[:marker] + b"\2" + contents[marker + 1:])
        return path

    def test_exif_orientation_is_ignored(self):
        exif = Image.Exif()
        exif[0x0112] = 6
        self.assert_decodes([self.saved("turned.jpg", photo(97, 61, 4), exif=exif)])


class Oddities(FileTest):
    """What stands among ImageNet's files, or came to stand there, is read as Pillow reads it or refused as Pillow does."""

    def test_png_under_the_name_of_a_jpeg(self):
        self.assert_decodes([self.saved("named.JPEG", photo(97, 61, 8), format="PNG")])

    def test_pngs_of_every_kind(self):
        image = photo(97, 61, 9)
        alpha = image.copy()
        alpha.putalpha(noise(97, 61, 1).convert("L"))
        wide = Image.fromarray(np.random.default_rng(3).integers(0, 65536, (61, 97), dtype=np.uint16))
        palette = image.quantize(37)
        self.assert_decodes([
            self.saved("grey.png", image.convert("L")),
            self.saved("grey-alpha.png", alpha.convert("LA")),
            self.saved("alpha.png", alpha),
            self.saved("palette.png", palette),
            self.saved("palette-clear.png", palette, transparency=3),
            self.saved("palette-levels.png", palette, transparency=bytes(range(0, 250, 10))),
            self.saved("few-colours.png", image.quantize(3), bits=2),
            self.saved("one-bit.png", image.convert("1")),
            self.saved("wide-grey.png", wide),
            self.saved("clear-colour.png", image, transparency=image.getpixel((5, 5))),
            self.saved("grey-clear.png", image.convert("L"), transparency=77),
        ])

    def reads(self, path):
        """Whether Pillow gives pixels for the file, and whether we do."""
        try:
            Image.open(path).convert("RGB")
            pillow = True
        except (OSError, SyntaxError, Image.DecompressionBombError):
            pillow = False
        try:
            self.preview(path, "Brightness", (1.0,), path.stem)
            return pillow, True
        except LockstepFailed as failed:
            self.assertIn("E205", str(failed))
            return pillow, False

    def assert_cuts_as_pillow(self, path, cuts):
        contents = path.read_bytes()
        paths = []
        for cut in cuts:
            paths.append(self.folder / f"{path.stem}-less-{cut}{path.suffix}")
            paths[-1].write_bytes(contents[: len(contents) - cut])
        for cut_path, (pillow, ours) in zip(paths, in_parallel(self.reads, paths)):
            self.assertEqual(ours, pillow, cut_path.name)

    def test_truncated_tails(self):
        image = photo(97, 61, 10)
        cuts = (*range(0, 14), 100, 1000)
        self.assert_cuts_as_pillow(self.saved("tail.jpg", image), cuts)
        self.assert_cuts_as_pillow(self.saved("tail-progressive.jpg", image, progressive=True), cuts)
        # Of a PNG we want the compressed stream whole; Pillow does without its last five bytes (17 to 21 here).
        self.assert_cuts_as_pillow(self.saved("tail.png", image), (*range(0, 17), *range(22, 30), 100, 1000))

    def test_bytes_after_the_end(self):
        for name in ("after.jpg", "after.png"):
            path = self.saved(name, photo(97, 61, 11))
            path.write_bytes(path.read_bytes() + b"and more" * 50)
            self.assert_decodes([path])

    def test_claims_of_sixty_thousand_pixels_a_side(self):
        jpeg = self.saved("claims.jpg", photo(97, 61, 12))
        contents = bytearray(jpeg.read_bytes())
        frame = contents.index(b"\xff\xc0")
        contents[frame + 5 : frame + 9] = (60000).to_bytes(2, "big") * 2
        jpeg.write_bytes(contents)
        png = self.saved("claims.png", photo(97, 61, 12))
        contents = bytearray(png.read_bytes())
        contents[16:24] = (60000).to_bytes(4, "big") * 2
        contents[29:33] = zlib.crc32(contents[12:29]).to_bytes(4, "big")
        png.write_bytes(contents)
        for path in (jpeg, png):
            self.assertEqual(self.reads(path), (False, False), path.name)


if __name__ == "__main__":
    unittest.main()
