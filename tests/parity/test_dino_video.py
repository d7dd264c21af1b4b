"""Video segmentation equals a dense propagation in plain PyTorch, pixel by pixel, and its measures a direct
computation from the written segmentations."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate, normalize

from dino_support import dino_recipe, network, picture, save_network, write_dino_recipe
from support import ParityTest, run_lockstep_json

SIZE, PATCH, FRAMES = 128, 8, 11
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.228, 0.224, 0.225)
PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 7, 77, 177]
VIDEOS = {"cat": (171, 150, 2), "owl": (134, 180, 3), "ant": (150, 150, 1)}  # width, height, objects


def opencv_linear(pixels, width, height):
    """cv2.resize of bytes: neighbours around half-pixel centres, weights of 11 bits, bits dropped on the way."""

    def places(inputs, outputs):
        centre = ((np.arange(outputs) + 0.5) * (1 / (outputs / inputs)) - 0.5).astype(np.float32)
        floor = np.floor(centre)
        weights = [np.rint(share * 2048).astype(int) for share in (np.float32(1) - (centre - floor), centre - floor)]
        return [np.clip(floor.astype(int) + side, 0, inputs - 1) for side in (0, 1)], weights

    (left, right), (at_left, at_right) = places(pixels.shape[1], width)
    (above, below), (at_above, at_below) = places(pixels.shape[0], height)
    pixels = pixels.astype(int)
    rows = pixels[:, left] * at_left[:, None] + pixels[:, right] * at_right[:, None]
    halves = [(weights[:, None, None] * (rows[index] >> 4)) >> 16
              for index, weights in ((above, at_above), (below, at_below))]
    return ((sum(halves) + 2) >> 2).astype(np.uint8)


def propagate(features, context, window):
    """Every patch against every patch, as the paper has it. `context`: features [n, dim] and labels [n, classes]."""
    affinity = (features @ torch.cat([known for known, _ in context]).T / 0.1).exp()
    affinity *= window.repeat(1, len(context))
    fifth = affinity.sort(dim=1, descending=True).values[:, 4:5]
    affinity *= affinity >= fifth
    return affinity / affinity.sum(1, keepdim=True) @ torch.cat([labels for _, labels in context])


class Dense:
    """The propagation of one video; `seen` keeps the features of frames from one to the next."""

    def __init__(self, backbone, folder, name, seen, reach=12, before=7):
        self.backbone, self.seen, self.reach, self.before = backbone, seen, reach, before
        self.frames = sorted((folder / "JPEGImages/480p" / name).glob("*.jpg"))
        self.truth = Image.open(folder / "Annotations/480p" / name / "00000.png")
        shorter, longer = sorted(self.truth.size)
        other = int(SIZE * longer / shorter // 64 * 64)
        self.width, self.height = (SIZE, other) if self.truth.height > self.truth.width else (other, SIZE)
        self.rows, self.columns = self.height // PATCH, self.width // PATCH

    def features(self, frame):
        if frame not in self.seen:
            self.seen[frame] = self.compute_features(frame)
        return self.seen[frame]

    def compute_features(self, frame):
        pixels = opencv_linear(np.asarray(Image.open(frame).convert("RGB")), self.width, self.height)
        images = torch.from_numpy((pixels / 255 - MEAN) / DEVIATION).float().permute(2, 0, 1)[None]
        with torch.no_grad():
            return normalize(self.backbone.tokens(images)[0, 1:], dim=1)

    def window(self):
        y, x = (axis.flatten() for axis in torch.meshgrid(
            torch.arange(self.rows), torch.arange(self.columns), indexing="ij"))
        return (((y[:, None] - y).abs() <= self.reach) & ((x[:, None] - x).abs() <= self.reach)).float()

    def first_labels(self):
        small = np.array(self.truth.resize((self.columns, self.rows), Image.Resampling.NEAREST)).astype(int)
        return torch.eye(small.max() + 1)[torch.from_numpy(small.flatten())]

    def segmentation(self, labels):
        maps = labels.T.reshape(1, -1, self.rows, self.columns)
        maps = interpolate(maps, scale_factor=PATCH, mode="bilinear", align_corners=False)[0]
        for number in range(len(maps)):
            if maps[number].max() > 0:
                maps[number] -= maps[number].min()
                maps[number] /= maps[number].max()
        classes = Image.fromarray(maps.argmax(0).to(torch.uint8).numpy())
        return np.array(classes.resize(self.truth.size, Image.Resampling.NEAREST))

    def run(self):
        start = (self.features(self.frames[0]), self.first_labels())
        queue, found = [], [np.array(self.truth)]
        for frame in self.frames[1:]:
            features = self.features(frame)
            labels = propagate(features, [start, *queue[-self.before:]], self.window())
            queue.append((features, labels))
            found.append(self.segmentation(labels))
        return found


def contour(mask):
    """Pixels that differ from their neighbour on the right, below, or below on the right."""
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return np.argwhere(edge)


def f_measure(found, truth):
    """By the distance of every pixel of one contour to every pixel of the other."""
    radius = np.ceil(0.008 * np.linalg.norm(truth.shape))
    ours, theirs = contour(found), contour(truth)
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs))
    close = ((ours[:, None] - theirs) ** 2).sum(-1) <= radius**2
    precision, recall = close.any(1).mean(), close.any(0).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def j_measure(found, truth):
    return (found & truth).sum() / (found | truth).sum() if (found | truth).any() else 1.0


class Video(ParityTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.seen = {}
        cls.davis = cls.folder / "davis"
        (cls.davis / "ImageSets/2017").mkdir(parents=True)
        (cls.davis / "ImageSets/2017/val.txt").write_text("\n".join(VIDEOS) + "\n")
        for seed, (name, (width, height, objects)) in enumerate(VIDEOS.items()):
            cls.make_video(name, width, height, objects, seed)
        recipe = dino_recipe(model={"patch_size": PATCH})
        cls.network = network(recipe)
        cls.weights = save_network(cls.network, cls.folder / "weights.safetensors")
        cls.recipe = write_dino_recipe(cls.folder / "recipe.toml", recipe)
        cls.segmented = cls.folder / "segmented"
        cls.printed = cls.run_task("--out", cls.segmented, ranks=2)

    @classmethod
    def make_video(cls, name, width, height, objects, seed):
        """Patches of other pictures wander over a picture; the last object leaves it."""
        frames, annotations = (cls.davis / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
        frames.mkdir(parents=True)
        annotations.mkdir(parents=True)
        for frame in range(FRAMES):
            image, mask = picture(width, height, 10 * seed), np.zeros((height, width), np.uint8)
            for number in range(1, objects + 1):
                size = 30 + 9 * number
                left, top = 10 + 35 * number + (40 if number == objects else 3) * frame, 15 * number + 4 * frame
                image.paste(picture(size, size, 10 * seed + number), (left, top))
                mask[top:top + size, left:left + size] = number
            image.save(frames / f"{frame:05d}.jpg", quality=92)
            annotation = Image.fromarray(mask)
            annotation.putpalette(PALETTE)
            annotation.save(annotations / f"{frame:05d}.png")

    @classmethod
    def run_task(cls, *arguments, ranks=1):
        return run_lockstep_json("eval", cls.recipe, "--weights", cls.weights, "--task", "video", "--images", cls.davis,
                                 "--set", f"evaluation.video_size={SIZE}", *arguments, ranks=ranks)

    def read(self, folder, name, frame):
        return Image.open(folder / name / f"{frame:05d}.png")

    def agreement(self, name, **wrong):
        """The share of pixels that the written segmentation has as the dense one."""
        dense = Dense(self.network.backbone, self.davis, name, self.seen, **wrong).run()
        ours = [np.array(self.read(self.segmented, name, frame)) for frame in range(FRAMES)]
        return np.mean([(a == b).mean() for a, b in zip(ours, dense, strict=True)])

    def test_segmentations_are_those_of_a_dense_propagation(self):
        for name in VIDEOS:
            self.assertGreater(self.agreement(name), 0.9999, name)

    def test_a_shorter_reach_or_fewer_frames_would_be_seen(self):
        self.assertLess(self.agreement("cat", reach=5), 0.999)
        self.assertLess(self.agreement("cat", before=6), 0.9995)

    def test_files_have_the_palette_of_the_annotation(self):
        for name, (width, height, _) in VIDEOS.items():
            for frame in range(FRAMES):
                image = self.read(self.segmented, name, frame)
                self.assertEqual((image.mode, image.size), ("P", (width, height)))
                palette = image.getpalette()
                self.assertEqual(palette[:len(PALETTE)], PALETTE[:len(palette)])
            first = self.read(self.davis / "Annotations/480p", name, 0)
            self.assertTrue(np.array_equal(self.read(self.segmented, name, 0), first))

    def test_measures(self):
        scores = []
        for name, (_, _, objects) in VIDEOS.items():
            for number in range(1, objects + 1):
                pairs = [[np.array(self.read(folder, name, frame)) == number
                          for folder in (self.segmented, self.davis / "Annotations/480p")]
                         for frame in range(1, FRAMES - 1)]
                scores.append([np.mean([measure(*pair) for pair in pairs]) for measure in (j_measure, f_measure)])
        j, f = 100 * np.mean(scores, 0)
        for key, value in {"j_mean": j, "f_mean": f, "j_and_f": (j + f) / 2}.items():
            self.assertAlmostEqual(self.printed[key], value, places=5, msg=key)
        self.assertEqual((self.printed["sequences"], self.printed["objects"]), (3, 6))

    def test_one_rank_without_a_folder_prints_the_same(self):
        self.assertEqual(self.run_task(), self.printed)


if __name__ == "__main__":
    unittest.main()
