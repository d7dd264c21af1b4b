"""Files are read as Pillow reads them, to the pixel, or refused as Pillow does."""

import random
import sys
import unittest
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from PIL import Image

from pixel_support import PixelTest, noise, photo, timm_evaluation_crop
from support import LockstepFailed, in_parallel


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
        # Pillow does without the end of the compressed stream once all rows are out of it.
        for mode in ("RGB", "L", "1"):
            path = self.saved(f"tail-{mode}.png", image.convert(mode))
            self.assert_cuts_as_pillow(path, (*range(0, 30), 100, 300))
            contents = path.read_bytes()
            for cut in (12, 17, 20):
                path.write_bytes(contents[: len(contents) - cut])
                self.assert_decodes([path])

    def test_jpegs_damaged_within(self):
        """Other bytes among the coded pixels: what Pillow makes of them, to the pixel."""
        generator = random.Random(5)
        sound = self.saved("sound.jpg", photo(97, 61, 13), quality=85).read_bytes()
        progressive = self.saved("sound-progressive.jpg", photo(97, 61, 13), progressive=True).read_bytes()
        readable, paths = [], []
        unknown_marker = sound.index(b"\xff\x00", sound.index(b"\xff\xda")) + 1
        for number in range(40):
            contents = bytearray(sound if number % 2 == 0 else progressive)
            place = generator.randrange(contents.index(b"\xff\xda") + 14, len(contents) - 2)
            if number in (0, 2, 4):
                contents[unknown_marker] = (0x29, 0xBF, 0xF1)[number // 2]
            else:
                contents[place] ^= generator.randrange(1, 256)
            paths.append(self.folder / f"damaged{number}.jpg")
            paths[-1].write_bytes(contents)
        for path, (pillow, ours) in zip(paths, in_parallel(self.reads, paths)):
            self.assertEqual(ours, pillow, path.name)
            if pillow:
                readable.append(path)
        self.assertGreater(len(readable), 20)
        self.assert_decodes(readable)

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
