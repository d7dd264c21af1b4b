"""Retrieval's features are those of plain PyTorch on Pillow's thumbnails, and its measures those of a direct
computation from the features."""

import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate

from dino_support import dino_recipe, network, picture, save_network, write_dino_recipe
from support import MEAN, STD, ParityTest, run_lockstep_json, save_weights

BASE, QUERIES = 23, 5
SIZE = 96
TOLERANCE = 1e-4
SIDES = [(300, 200), (150, 260), (64, 48), (500, 480), (96, 96), (97, 96), (230, 224)]


def average_precision(relevant, positives):
    """The area under the curve of precision over recall, by trapezoids; `relevant` by rank."""
    hits = np.cumsum(relevant)
    after = hits / np.arange(1, len(hits) + 1)
    before = np.concatenate(([1.0], after[:-1]))
    return float(((before + after) / 2)[relevant].sum() / positives)


def measures(features, truth, junk_counts=False):
    """mAP and mP by the revisited protocol; `junk_counts`: by one that does not pass over junk."""
    base, queries = features[:BASE].double(), features[BASE:].double()
    result = {}
    protocols = {"medium": (("easy", "hard"), ("junk",)), "hard": (("hard",), ("junk", "easy"))}
    for name, (positive_keys, junk_keys) in protocols.items():
        rows = []
        for query, answers in zip(queries, truth["gnd"]):
            positives = sum((answers[key] for key in positive_keys), [])
            junk = sum((answers[key] for key in junk_keys), [])
            ranking = [item for item in (base @ query).argsort(descending=True).tolist()
                       if junk_counts or item not in junk]
            relevant = np.isin(ranking, positives)
            if not positives:
                continue
            last = int(np.flatnonzero(relevant)[-1]) + 1
            rows.append([average_precision(relevant, len(positives)),
                         *(relevant[:min(k, last)].mean() for k in (1, 5, 10))])
        for key, value in zip(("map", "mp1", "mp5", "mp10"), np.mean(rows, 0)):
            result[f"{key}_{name}"] = 100 * value
    return result


def make_ground_truth(generator):
    truth = {"imlist": [f"base{number}" for number in range(BASE)],
             "qimlist": [f"query{number}" for number in range(QUERIES)], "gnd": []}
    for query in range(QUERIES):
        places = generator.permutation(BASE).tolist()
        hard = [] if query == 2 else places[4:7]
        truth["gnd"].append({"bbx": [0, 0, 1, 1], "easy": places[:4], "hard": hard, "junk": places[7:12]})
    truth["gnd"][3] = {"easy": [], "hard": [], "junk": [1]}
    return truth


class Retrieval(ParityTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.images = cls.folder / "oxford"
        (cls.images / "jpg").mkdir(parents=True)
        cls.truth = make_ground_truth(np.random.default_rng(1))
        (cls.images / "ground_truth.json").write_text(json.dumps(cls.truth))
        cls.names = cls.truth["imlist"] + cls.truth["qimlist"]
        for number, name in enumerate(cls.names):
            picture(*SIDES[number % len(SIDES)], number).save(cls.images / "jpg" / f"{name}.jpg", quality=90)
        recipe = dino_recipe()
        cls.network = network(recipe)
        cls.weights = save_network(cls.network, cls.folder / "weights.safetensors")
        cls.recipe = write_dino_recipe(cls.folder / "recipe.toml", recipe)

    def run_task(self, *arguments, weights=None, ranks=2, recipe=None):
        file = self.folder / "outputs.safetensors"
        printed = run_lockstep_json(
            "eval", recipe or self.recipe, "--weights", weights or self.weights, "--task", "retrieval", "--images", self.images,
            "--set", f"evaluation.retrieval_size={SIZE}", "--outputs", file, *arguments, ranks=ranks)
        outputs = load_file(file)
        return printed, outputs["features"][outputs["samples"].argsort()]

    def their_features(self, scales, filter=Image.Resampling.LANCZOS, backbone=None):
        backbone = backbone or self.network.backbone
        rows = []
        for name in self.names:
            image = Image.open(self.images / "jpg" / f"{name}.jpg").convert("RGB")
            image.thumbnail((SIZE, SIZE), filter)
            pixels = torch.from_numpy((np.asarray(image) / 255 - MEAN) / STD).permute(2, 0, 1).float()[None]
            with torch.no_grad():
                row = sum(backbone(interpolate(pixels, scale_factor=scale, mode="bilinear"))
                          for scale in scales)
            rows.append(row / row.norm())
        return torch.cat(rows)

    def assert_features(self, ours, theirs):
        self.assertLess(float((ours - theirs).abs().max()), TOLERANCE)

    def test_measures_and_features_on_one_and_two_ranks(self):
        printed, features = self.run_task()
        self.assert_features(features, self.their_features([1]))
        expected = measures(features, self.truth)
        self.assertEqual(set(printed), {*expected, "queries", "samples"})
        for key, value in expected.items():
            self.assertAlmostEqual(printed[key], value, places=5, msg=key)
        self.assertEqual(self.run_task(ranks=1)[0], printed)
        # What is held against each other would tell the rules apart.
        wrong = measures(features, self.truth, junk_counts=True)
        self.assertGreater(abs(wrong["map_hard"] - printed["map_hard"]), 0.1)
        other = self.their_features([1], Image.Resampling.BICUBIC)
        self.assertGreater(float((other - features).abs().max()), TOLERANCE)

    def test_three_scales(self):
        printed, features = self.run_task("--set", "evaluation.retrieval_multiscale=true")
        self.assert_features(features, self.their_features([1, 1 / 2 ** (1 / 2), 1 / 2]))
        self.assertAlmostEqual(printed["map_medium"], measures(features, self.truth)["map_medium"], places=5)

    def test_weights_of_a_backbone_alone(self):
        bare = self.folder / "bare.safetensors"
        save_file({name: value.contiguous() for name, value in self.network.backbone.state_dict().items()}, bare)
        self.assertTrue(torch.equal(self.run_task(weights=bare)[1], self.run_task()[1]))

    def test_weights_of_a_resnet_alone(self):
        """With its running statistics, as the published ResNet-50."""
        torch.manual_seed(0)
        backbone = timm.create_model("resnet18", num_classes=0)
        with torch.no_grad():
            backbone(torch.randn(8, 3, 64, 64))  # moves the statistics
        bare = save_weights(backbone.eval(), self.folder / "resnet.safetensors")
        recipe = write_dino_recipe(self.folder / "resnet.toml", dino_recipe(model={"name": "resnet18"}))
        ours = self.run_task(weights=bare, recipe=recipe)[1]
        self.assert_features(ours, self.their_features([1], backbone=backbone))


if __name__ == "__main__":
    unittest.main()
