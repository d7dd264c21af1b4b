"""k-NN equals a direct computation from the features, and the features are those of timm's model."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file

from dino_support import dino_recipe, network, save_network, saved, write_dino_recipe
from support import MEAN, STD, ParityTest, make_data, run_lockstep, run_lockstep_json, weights_file

from PIL import Image
from torchvision import transforms

TRAIN, VALIDATION, CLASSES = 24, 6, 10  # pictures a class
TEMPERATURE = 0.07
LOGIT_TOLERANCE = 1e-4


def accuracy(bank, features, neighbours):
    """Top-1 and top-5 of the weighted vote, picture by picture."""
    bank, features = (x / x.norm(dim=1, keepdim=True) for x in (bank.double(), features.double()))
    hits = np.zeros(2)
    for index, cosines in enumerate(features @ bank.T):
        votes = np.zeros(CLASSES)
        for neighbour in cosines.argsort(descending=True)[:neighbours].tolist():
            votes[neighbour // TRAIN] += np.exp(cosines[neighbour].item() / TEMPERATURE)
        best = np.argsort(-votes, kind="stable")[:5].tolist()
        hits += (best[0] == index // VALIDATION, index // VALIDATION in best)
    return 100 * hits / len(features)


class Knn(ParityTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = make_data(cls.folder / "data", TRAIN, VALIDATION, 112)
        recipe = dino_recipe(cls.data)
        cls.weights = save_network(network(recipe), cls.folder / "weights.safetensors")
        cls.recipe = write_dino_recipe(cls.folder / "knn.toml", recipe)

    def features(self, split, ranks=1):
        file = self.folder / f"{split}-{ranks}.safetensors"
        printed = run_lockstep_json("eval", self.recipe, "--weights", self.weights, "--outputs", file,
                                    "--set", f"data.val={self.data / split}", ranks=ranks)
        outputs = load_file(file)
        return outputs["features"][outputs["samples"].argsort()], printed

    def test_against_a_direct_computation_on_one_and_two_ranks(self):
        bank, _ = self.features("train")
        features, printed = self.features("val")
        for neighbours in (10, 20, 100, 200):
            top1, top5 = accuracy(bank, features, neighbours)
            self.assertAlmostEqual(printed[f"knn_{neighbours}_top1"], top1, places=6)
            self.assertAlmostEqual(printed[f"knn_{neighbours}_top5"], top5, places=6)
        self.assertEqual(self.features("val", ranks=2)[1], printed)

    def test_exports_load_where_they_belong(self):
        run = self.folder / "run"
        run_lockstep("train", self.recipe, "--run", run, "--set", "schedule.epochs=1",
                     "--set", f"init.weights={self.weights}")
        run_lockstep("export", run, "--format", "timm", self.folder / "timm")
        run_lockstep("export", run, "--format", "dino", self.folder / "dino")
        file = self.folder / "teacher.safetensors"
        run_lockstep("eval", run, "--outputs", file, "--set", "evaluation.resize=256", "--set", "evaluation.crop=224")
        outputs = load_file(file)
        backbone = torch.load(self.folder / "dino" / "backbone.pth", weights_only=True)
        for weights in (load_file(weights_file(self.folder / "timm")), backbone):
            model = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
            model.load_state_dict(weights, strict=True)
            with torch.no_grad():
                theirs = model(self.pictures(outputs["samples"]))
            self.assertLess(float((theirs - outputs["features"]).abs().max()), LOGIT_TOLERANCE)
        checkpoint = torch.load(self.folder / "dino" / "checkpoint.pth", weights_only=True)
        teacher = {name.removeprefix("backbone."): value for name, value in checkpoint["teacher"].items()
                   if name.startswith("backbone.")}
        self.assertTrue(all(torch.equal(teacher[name], value) for name, value in backbone.items()))
        self.assertEqual({name.removeprefix("module.") for name in checkpoint["student"]}, set(checkpoint["teacher"]))
        self.assertFalse(torch.equal(checkpoint["student"]["module.backbone.pos_embed"], backbone["pos_embed"]))
        self.assertEqual(list(checkpoint["dino_loss"]["center"].shape), [1, 512])

    def test_a_backbone_alone_starts_a_run(self):
        """init.weights with the names of the official files; the head is the one that the seed draws."""
        backbone = load_file(self.weights)
        bare = {name.removeprefix("backbone."): value for name, value in backbone.items() if name.startswith("backbone.")}
        save_file(bare, self.folder / "bare.safetensors")
        kept = []
        for weights in (self.folder / "bare.safetensors", ""):
            run = self.folder / f"kept-{len(kept)}"
            run_lockstep("train", self.recipe, "--run", run, "--set", f"init.weights={weights}",
                         "--set", "optimizer.learning_rate=0", "--set", "schedule.min_learning_rate=0",
                         "--set", "schedule.epochs=1", "--set", f"data.train={self.data / 'val'}",
                         "--set", "batch.size=60", "--set", "crops.local_count=0")
            kept.append(saved(run, 1, "parameters.safetensors"))
        started, drawn = kept
        for name, value in started.items():
            theirs = bare[name.removeprefix("backbone.")] if name.startswith("backbone.") else drawn[name]
            self.assertTrue(torch.equal(value, theirs), name)
        self.assertFalse(torch.equal(drawn["backbone.pos_embed"], bare["pos_embed"]))

    def test_a_resnet_goes_where_torchs_go(self):
        recipe = dino_recipe(self.data, model={"name": "resnet18"}, head={"batch_norm": True})
        recipe["data"]["train"] = str(self.data / "val")  # they are fewer
        file, run = write_dino_recipe(self.folder / "resnet.toml", recipe), self.folder / "resnet"
        run_lockstep("train", file, "--run", run, "--set", "schedule.epochs=1", "--set", "schedule.warmup_epochs=0")
        run_lockstep("export", run, "--format", "timm", self.folder / "resnet-timm")
        run_lockstep("export", run, "--format", "dino", self.folder / "resnet-dino")
        outputs_file = self.folder / "resnet.safetensors"
        run_lockstep("eval", run, "--outputs", outputs_file, "--set", "evaluation.resize=256", "--set", "evaluation.crop=224")
        outputs = load_file(outputs_file)
        checkpoint = torch.load(self.folder / "resnet-dino" / "checkpoint.pth", weights_only=True)
        teacher = {name.removeprefix("module.backbone."): value for name, value in checkpoint["teacher"].items()
                   if name.startswith("module.backbone.")}
        self.assertEqual(set(checkpoint["student"]), set(checkpoint["teacher"]))
        self.assertIn("module.head.mlp.1.running_mean", checkpoint["student"])
        bare = torch.load(self.folder / "resnet-dino" / "backbone.pth", weights_only=True)
        for weights in (load_file(weights_file(self.folder / "resnet-timm")), bare, teacher):
            model = timm.create_model("resnet18", num_classes=0).eval()
            model.load_state_dict(weights, strict=True)
            with torch.no_grad():
                theirs = model(self.pictures(outputs["samples"]))
            self.assertLess(float((theirs - outputs["features"]).abs().max()), LOGIT_TOLERANCE)

    def pictures(self, samples):
        """The official evaluation's transform (eval_knn.py)."""
        transform = transforms.Compose([
            transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224),
            transforms.ToTensor(), transforms.Normalize(MEAN.tolist(), STD.tolist())])
        files = [path for folder in sorted((self.data / "val").iterdir()) for path in sorted(folder.iterdir())]
        return torch.stack([transform(Image.open(files[sample]).convert("RGB")) for sample in samples.tolist()])


if __name__ == "__main__":
    unittest.main()
