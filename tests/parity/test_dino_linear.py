"""The linear probe equals torch's SGD on timm's features of torchvision's crops; the maps are timm's attention."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from dino_support import dino_recipe, network, save_network, write_dino_recipe
from philox import EVALUATION, Random, resized_crop_box
from support import MEAN, STD, ParityTest, make_data, run_lockstep_json

TRAIN, VALIDATION, CLASSES = 3, 2, 10  # pictures a class
SIDE = 64
EPOCHS, RATE = 6, 0.5
HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]])


def files(folder):
    return [path for kind in sorted(folder.iterdir()) for path in sorted(kind.iterdir())]


def tensor(image):
    return F.normalize(F.to_tensor(image), MEAN.tolist(), STD.tolist())


def training_crop(path, seed, epoch, sample):
    random = Random(seed, EVALUATION, epoch, sample)
    image = Image.open(path).convert("RGB")
    box = resized_crop_box(*image.size, (0.08, 1.0), (3 / 4, 4 / 3), random)
    image = F.resized_crop(image, *box, [SIDE, SIDE], InterpolationMode.BILINEAR)
    return tensor(F.hflip(image) if random.chance(0.5) else image)


def validation_crop(path):
    image = F.resize(Image.open(path).convert("RGB"), 80, InterpolationMode.BICUBIC)
    return tensor(F.center_crop(image, SIDE))


class Linear(ParityTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = make_data(cls.folder / "data", TRAIN, VALIDATION, 96)
        cls.settings = dino_recipe(cls.data)
        student = network(cls.settings)
        cls.weights = save_network(student, cls.folder / "weights.safetensors")
        cls.recipe = write_dino_recipe(cls.folder / "linear.toml", cls.settings)
        cls.vit = student.backbone.eval()

    def eval(self, task, *arguments, ranks=1):
        return run_lockstep_json("eval", self.recipe, "--weights", self.weights, "--task", task, *arguments, ranks=ranks)

    @torch.no_grad()
    def features(self, images, blocks, average_pool):
        """The backbone's blocks, walked by hand; positions at this size are the reference's own."""
        patches = self.vit.patch_embed["proj"](images)
        tokens = torch.cat((self.vit.cls_token.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)), 1)
        x = tokens + self.vit.positions(*images.shape[2:])
        outputs = []
        for block in self.vit.blocks:
            x = block(x)
            outputs.append(self.vit.norm(x))
        classes = torch.cat([output[:, 0] for output in outputs[-blocks:]], 1)
        if not average_pool:
            return classes
        return torch.stack((classes, outputs[-1][:, 1:].mean(1)), 2).flatten(1)

    def reference(self, blocks, average_pool):
        """Logits of the validation set, and the accuracy after each epoch."""
        seed = self.settings["seed"]
        training, validation = files(self.data / "train"), files(self.data / "val")
        labels = torch.arange(CLASSES).repeat_interleave(TRAIN)
        truth = torch.arange(CLASSES).repeat_interleave(VALIDATION)
        seen = self.features(torch.stack([validation_crop(path) for path in validation]), blocks, average_pool)
        random = Random(seed, EVALUATION, 0, 0)
        weight = torch.tensor([random.normal(0.0, 0.01) for _ in range(CLASSES * seen.shape[1])])
        classifier = torch.nn.Linear(seen.shape[1], CLASSES)
        with torch.no_grad():
            classifier.weight.copy_(weight.view(CLASSES, -1))
            classifier.bias.zero_()
        peak = RATE * len(training) / 256
        optimizer = torch.optim.SGD(classifier.parameters(), peak, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS, eta_min=0)
        accuracies = []
        for epoch in range(EPOCHS):
            crops = torch.stack([training_crop(path, seed, epoch, sample) for sample, path in enumerate(training)])
            optimizer.zero_grad()
            cross_entropy(classifier(self.features(crops, blocks, average_pool)), labels).backward()
            optimizer.step()
            schedule.step()
            accuracies.append(100 * float((classifier(seen).argmax(1) == truth).float().mean()))
        return classifier(seen).detach(), accuracies

    def check(self, blocks, average_pool, ranks=1):
        file = self.folder / f"logits-{blocks}-{ranks}.safetensors"
        keys = {"linear_epochs": EPOCHS, "linear_batch_size": TRAIN * CLASSES, "linear_learning_rate": RATE,
                "linear_blocks": blocks, "linear_average_pool": str(average_pool).lower()}
        settings = [text for key, value in keys.items() for text in ("--set", f"evaluation.{key}={value}")]
        printed = self.eval("linear", "--outputs", file, *settings, ranks=ranks)
        outputs = load_file(file)
        logits, accuracies = self.reference(blocks, average_pool)
        ours = outputs["logits"][outputs["samples"].argsort()]
        self.assertLess(float((ours - logits).abs().max()), 1e-4 * float(logits.abs().max()))
        self.assertAlmostEqual(printed["linear_top1"], max(accuracies), places=4)
        self.assertAlmostEqual(printed["linear_last_top1"], accuracies[-1], places=4)
        self.assertEqual(printed["linear_epoch"], 1 + int(np.argmax(accuracies)))

    def test_class_tokens_of_four_blocks(self):
        self.check(4, False)

    def test_token_and_mean_patch_of_the_last_block_on_two_ranks(self):
        self.check(1, True, ranks=2)

    def test_attention_maps(self):
        out = self.folder / "maps"
        printed = self.eval("attention", "--images", self.data / "val", "--out", out, "--set",
                            "evaluation.attention_size=224", ranks=2)
        self.assertEqual(printed, {"pictures": VALIDATION * CLASSES, "heads": 3})
        model = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
        model.load_state_dict(self.vit.state_dict())
        path = files(self.data / "val")[5]
        shown = Image.open(path).convert("RGB").resize((224, 224), Image.BILINEAR)
        folder = out / path.parent.name / path.stem
        self.assertTrue(np.array_equal(np.array(Image.open(folder / "picture.png")), np.array(shown)))
        inputs = []
        model.blocks[-1].attn.register_forward_pre_hook(lambda _, x: inputs.append(x[0]))
        with torch.no_grad():
            model(tensor(shown)[None])
            qkv = model.blocks[-1].attn.qkv(inputs[0]).view(197, 3, 3, 64).permute(1, 2, 0, 3)
            attention = (qkv[0] @ qkv[1].transpose(1, 2) / 8).softmax(-1)[:, 0, 1:].view(3, 14, 14).numpy()
        for head, looks in enumerate(attention):
            share = (looks - looks.min()) / (looks.max() - looks.min()) * (len(HEAT) - 1)
            colours = np.stack([np.interp(share, range(len(HEAT)), HEAT[:, c]) for c in range(3)], -1)
            drawn = np.array(Image.open(folder / f"head-{head}.png")).astype(float)
            self.assertLess(np.abs(drawn - colours.repeat(16, 0).repeat(16, 1)).max(), 1.0)
        self.assertEqual(Image.open(out / "sheet.png").size, (4 * 228 - 4, 8 * 228 - 4))


if __name__ == "__main__":
    unittest.main()
