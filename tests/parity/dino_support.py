"""A small DINO run for the tests that hold it against its reference."""

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dino_reference import Network
from support import merged, toml_of

RECIPE = {
    "job": "dino",
    "seed": 5,
    "precision": "fp32",
    "data": {"threads": 2},
    "batch": {"size": 16, "shards": 1},
    "model": {"name": "vit_tiny", "patch_size": 16, "drop_path": 0.0},
    "crops": {"global_size": 64, "global_scale": [0.4, 1.0], "local_size": 32, "local_scale": [0.05, 0.4],
              "local_count": 4},
    "head": {"out_dim": 512, "hidden_dim": 128, "bottleneck_dim": 64, "norm_last_layer": True, "freeze_epochs": 1},
    "teacher": {"momentum": 0.99, "temperature": 0.06, "warmup_temperature": 0.04, "warmup_epochs": 2},
    "optimizer": {"name": "adamw", "learning_rate": 1e-3, "learning_rate_at": 256, "weight_decay": 0.04,
                  "weight_decay_end": 0.4, "clip_gradient": 0.3, "clip_scope": "parameter"},
    "schedule": {"epochs": 4, "warmup_epochs": 1, "warmup_learning_rate": 0.0, "min_learning_rate": 1e-6,
                 "per_update": True, "cosine": "after_warmup"},
    "evaluation": {"every": 0, "resize": 80, "crop": 64},
    "checkpoint": {"every": 0},
    "log": {"every": 1},
    "monitoring": {"port": -1},
}
HEAD = ("out_dim", "hidden_dim", "bottleneck_dim", "batch_norm")


def dino_recipe(data=None, **changes):
    """The recipe above with `changes`, one dictionary a table."""
    settings = merged(RECIPE, changes)
    if settings["model"]["name"].startswith("resnet"):
        settings["model"] = {"name": settings["model"]["name"]}
    folders = {} if data is None else {"data": {"train": str(data / "train"), "val": str(data / "val")}}
    return merged(settings, folders)


def write_dino_recipe(path, recipe):
    path.write_text(toml_of(recipe))
    return path


def network(recipe, seed=0):
    """A student of the recipe's shape, with positions and tokens that tell places apart."""
    torch.manual_seed(seed)
    head = {key: recipe["head"][key] for key in HEAD if key in recipe["head"]}
    student = Network(recipe["model"]["name"], recipe["model"].get("patch_size"), **head)
    if not hasattr(student.backbone, "pos_embed"):
        return student
    with torch.no_grad():
        student.backbone.pos_embed.normal_(std=0.2)
        student.backbone.cls_token.normal_(std=0.2)
        # Logits of some size, so that targets differ and rounding does not decide.
        student.backbone.patch_embed["proj"].weight.mul_(4)
    return student


def save_network(student, path):
    save_file({name: value.contiguous() for name, value in student.state_dict().items()}, path)
    return path


def saved(run, step, file):
    return load_file(run / "checkpoints" / f"step-{step:08d}" / file)


def picture(width, height, seed):
    """Waves with rectangles on them."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([128 + 60 * np.sin(x / generator.uniform(5, 30)) + 60 * np.cos(y / generator.uniform(5, 30))
                       for _ in range(3)], -1)
    for _ in range(4):
        left, top = generator.integers(0, width), generator.integers(0, height)
        pixels[top:top + height // 3, left:left + width // 3] = generator.integers(0, 256, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
