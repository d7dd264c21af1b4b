"""Exported weights load into timm's models, and these give the logits and the evaluation of `eval`."""

import json
import shutil
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import ImageDataset, create_transform
from torch.nn.functional import cross_entropy

from support import (
    CLASSES, ParityTest, make_data, run_lockstep, run_lockstep_json, save_weights, starting_model, weights_file,
    write_recipe,
)

TOLERANCE = 1e-4
SIDE = 64
CROP = 0.95
ALL = 10000


def unlike_its_start(model, seed=1):
    """Moves norms and statistics off ones and zeros, that none can be left out unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                shape = module.weight.shape
                module.weight.mul_(0.9 + 0.2 * torch.rand(shape, generator=generator))
                module.bias.add_(0.05 * torch.randn(shape, generator=generator))
                module.running_mean.add_(0.05 * torch.randn(shape, generator=generator))
                module.running_var.mul_(0.8 + 0.4 * torch.rand(shape, generator=generator))
    return model


def timm_set(folder):
    transform = create_transform(
        input_size=(3, SIDE, SIDE), is_training=False, interpolation="bicubic", crop_pct=CROP, use_prefetcher=False)
    pictures = ImageDataset(str(folder), transform=transform)
    images, labels = zip(*(pictures[number] for number in range(len(pictures))))
    return torch.stack(images), torch.tensor(labels)


@torch.no_grad()
def timm_logits(name, weights, images, classes=CLASSES, **settings):
    model = timm.create_model(name, num_classes=classes, **settings)
    model.load_state_dict(load_file(weights), strict=True)
    return model.eval()(images)


def share_within(logits, labels, count):
    best = logits.topk(count).indices
    return 100 * float((best == labels[:, None]).any(1).float().mean())


class ExportTest(ParityTest):
    def assert_logits_equal(self, ours, theirs):
        self.assertEqual(ours.shape, theirs.shape)
        scale = max(1.0, float(theirs.abs().max()))
        self.assertLessEqual(float((ours - theirs).abs().max()), TOLERANCE * scale)

    def assert_measures(self, measures, logits, labels):
        loss = float(cross_entropy(logits, labels))
        self.assertLessEqual(abs(measures["loss"] - loss), TOLERANCE * max(1.0, loss))
        self.assertAlmostEqual(measures["top1"], share_within(logits, labels, 1), places=3)
        self.assertAlmostEqual(measures["top5"], share_within(logits, labels, 5), places=3)
        self.assertEqual(measures["samples"], len(labels))

    def evaluate(self, source, *options, ranks=1):
        """The measures, and the logits in the set's order."""
        file = self.folder / "logits.safetensors"
        file.unlink(missing_ok=True)
        measures = run_lockstep_json("eval", source, "--outputs", file, *options, ranks=ranks)
        written = load_file(file)
        samples = written["samples"]
        self.assertEqual(sorted(samples.tolist()), list(range(len(samples))), "each picture once")
        logits = torch.empty_like(written["logits"])
        logits[samples] = written["logits"]
        return measures, logits


class TrainedModels(ExportTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = make_data(cls.folder / "data", 1, 3, 96)
        cls.images, cls.labels = timm_set(cls.data / "val")

    def train(self, model, name=None):
        name = name or model
        start = starting_model(model, **self.settings_of(model))
        weights = save_weights(unlike_its_start(start), self.folder / f"{name}-start.safetensors")
        recipe = write_recipe(
            self.folder / f"{name}.toml",
            data=self.data,
            batch={"size": 4, "shards": 1},
            model={"name": model},
            augmentation={"size": SIDE, "eval_size": SIDE, "eval_crop": CROP},
            optimizer={"name": "sgd", "learning_rate": 1e-3},
            checkpoint={"every": ALL, "keep": 1},
            evaluation={"every": ALL},
            init={"weights": str(weights)},
        )
        run = self.folder / name
        run_lockstep("train", recipe, "--run", run)
        return run

    def settings_of(self, model):
        return {"img_size": SIDE} if model.startswith("vit") else {}

    def test_vit_tiny(self):
        self.check_model("vit_tiny_patch16_224")
        config = json.loads((self.folder / "vit_tiny_patch16_224-folder" / "config.json").read_text())
        self.assertEqual(config["model_args"], {"img_size": SIDE})

    def test_resnet18(self):
        self.check_model("resnet18")

    def test_resnet34(self):
        self.check_model("resnet34")

    def test_resnet50(self):
        self.check_model("resnet50")

    def test_resnet101(self):
        self.check_model("resnet101")

    def test_resnet152(self):
        self.check_model("resnet152")

    def check_model(self, name):
        run = self.train(name)
        measures, ours = self.evaluate(run)
        for out in (self.folder / f"{name}-folder", self.folder / f"{name}-file.safetensors"):
            run_lockstep("export", run, "--format", "timm", out)
            theirs = timm_logits(name, weights_file(out), self.images, **self.settings_of(name))
            self.assert_logits_equal(ours, theirs)
        self.assertTrue((self.folder / f"{name}-file.safetensors").is_file())
        self.assert_measures(measures, theirs, self.labels)
        self.assertGreater(float(theirs.std(0).max()), 0.01, "the logits tell no picture from another")
        shutil.rmtree(run)

    def test_evaluation_on_two_ranks(self):
        run = self.train("resnet18", "ranks")
        out = self.folder / "ranks.safetensors"
        run_lockstep("export", run, "--format", "timm", out)
        theirs = timm_logits("resnet18", out, self.images)
        measures, ours = self.evaluate(run, ranks=2)
        self.assert_logits_equal(ours, theirs)
        self.assert_measures(measures, theirs, self.labels)


class GivenWeights(ExportTest):
    """`eval RECIPE --weights` on folders and files whose natural order is not that of their letters."""

    NUMBERS = (1, 2, 3, 9, 10, 11, 20)

    def test_natural_order(self):
        for part in ("train", "val"):
            self.draw(self.folder / "data" / part)
        classes = len(self.NUMBERS)
        model = unlike_its_start(starting_model("resnet18", classes))
        weights = save_weights(model, self.folder / "given.safetensors")
        recipe = write_recipe(
            self.folder / "given.toml", data=self.folder / "data", model={"name": "resnet18"},
            batch={"size": 4, "shards": 1}, augmentation={"size": SIDE, "eval_size": SIDE, "eval_crop": CROP})
        measures, ours = self.evaluate(recipe, "--weights", weights)
        images, labels = timm_set(self.folder / "data" / "val")
        theirs = timm_logits("resnet18", weights, images, classes)
        self.assert_logits_equal(ours, theirs)
        self.assert_measures(measures, theirs, labels)

    def draw(self, root):
        generator = np.random.default_rng(5)
        for label in self.NUMBERS:
            folder = root / f"class{label}"
            folder.mkdir(parents=True)
            for number in (1, 2, 10):
                shape = (int(generator.integers(50, 120)), int(generator.integers(50, 120)), 3)
                pixels = generator.integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.jpg")


if __name__ == "__main__":
    unittest.main()
