"""DINO in plain PyTorch, after the paper (Caron et al., "Emerging properties in self-supervised vision transformers",
ICCV 2021) and its published rules: what the `dino` job is held against. Parameters have the published names."""

import math
from copy import deepcopy
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn.functional import gelu, interpolate, normalize

WIDTHS_AND_HEADS = {"vit_tiny": (192, 3), "vit_small": (384, 6), "vit_base": (768, 12)}
DEPTH = 12
TRAINED_SIDE = 224
STUDENT_TEMPERATURE = 0.1
CENTRE_MOMENTUM = 0.9


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        queries, keys, values = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = queries @ keys.transpose(-2, -1) / math.sqrt(width // self.heads)
        return self.proj((scores.softmax(-1) @ values).transpose(1, 2).reshape(batch, tokens, width))


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    def __init__(self, name, patch_size):
        super().__init__()
        width, heads = WIDTHS_AND_HEADS[name]
        self.patch_size = patch_size
        self.grid = TRAINED_SIDE // patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch_size, patch_size)})
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def positions(self, height, width):
        """The learned grid at the picture's size; the tenth of a patch belongs to the published rule."""
        rows, columns = height // self.patch_size, width // self.patch_size
        if rows == self.grid and height == width:
            return self.pos_embed
        learned = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
        scale = ((rows + 0.1) / self.grid, (columns + 0.1) / self.grid)
        resized = interpolate(learned, scale_factor=scale, mode="bicubic")
        assert resized.shape[2:] == (rows, columns)
        return torch.cat((self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)), 1)

    def tokens(self, images):
        """Of the picture and of its patches, [pictures, 1 + patches, width]."""
        patches = self.patch_embed["proj"](images)
        tokens = torch.cat((self.cls_token.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)), 1)
        return self.norm(self.blocks(tokens + self.positions(*images.shape[2:])))

    def forward(self, images):
        return self.tokens(images)[:, 0]


def make_backbone(name, patch_size):
    """The network and the width of its features."""
    if name in WIDTHS_AND_HEADS:
        return VisionTransformer(name, patch_size), WIDTHS_AND_HEADS[name][0]
    network = getattr(torchvision.models, name)()
    width, network.fc = network.fc.in_features, nn.Identity()
    return network, width


class Head(nn.Module):
    def __init__(self, width, out_dim, hidden_dim, bottleneck_dim, batch_norm=False):
        super().__init__()
        layers = []
        for inputs in (width, hidden_dim):
            layers += [nn.Linear(inputs, hidden_dim), *([nn.BatchNorm1d(hidden_dim)] if batch_norm else []), nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden_dim, bottleneck_dim))
        self.last_layer = nn.ParameterDict({
            "weight_g": nn.Parameter(torch.ones(out_dim, 1)),
            "weight_v": nn.Parameter(torch.empty(out_dim, bottleneck_dim).uniform_(-1, 1) / bottleneck_dim**0.5),
        })

    def forward(self, features):
        rows = self.last_layer["weight_v"]
        prototypes = self.last_layer["weight_g"] * rows / rows.norm(dim=1, keepdim=True)
        return normalize(self.mlp(features), eps=1e-12) @ prototypes.T


class Network(nn.Module):
    """A backbone with its head: the student or the teacher."""

    def __init__(self, name, patch_size, **head):
        super().__init__()
        self.backbone, width = make_backbone(name, patch_size)
        self.head = Head(width, **head)

    def forward(self, crops):
        """Crops of one size go through together, as batch norms notice."""
        sizes = [torch.cat(list(same)) for _, same in groupby(crops, key=lambda crop: crop.shape[-1])]
        return self.head(torch.cat([self.backbone(crops) for crops in sizes])).chunk(len(crops))


def dino_loss(student, teacher, centre, temperature):
    """The cross-entropy of every pair of a teacher's crop with another crop of the student's, averaged."""
    targets = [((logits - centre) / temperature).softmax(-1) for logits in teacher]
    guesses = [(logits / STUDENT_TEMPERATURE).log_softmax(-1) for logits in student]
    terms = [-(target * guess).sum(-1).mean()
             for view, target in enumerate(targets) for crop, guess in enumerate(guesses) if crop != view]
    return torch.stack(terms).mean()


def cosine_schedule(base, final, epochs, steps_per_epoch, warmup_epochs=0):
    """One value an update: linear from 0 to `base`, both ends included, then the cosine over what is left."""
    warmup = np.linspace(0, base, warmup_epochs * steps_per_epoch)
    steps = np.arange(epochs * steps_per_epoch - len(warmup))
    cosine = final + 0.5 * (base - final) * (1 + np.cos(np.pi * steps / len(steps)))
    return np.concatenate((warmup, cosine))


def temperature_schedule(warmup, final, epochs, steps_per_epoch, warmup_epochs=0):
    """One value an update; it changes by epochs."""
    by_epoch = np.concatenate((np.linspace(warmup, final, warmup_epochs), np.full(epochs - warmup_epochs, final)))
    return np.repeat(by_epoch, steps_per_epoch)


@dataclass
class Schedules:
    learning_rate: np.ndarray
    weight_decay: np.ndarray
    teacher_momentum: np.ndarray
    teacher_temperature: np.ndarray


def schedules_of(recipe, steps_per_epoch):
    """The four schedules of a recipe, given as nested tables."""
    optimizer, schedule, teacher = recipe["optimizer"], recipe["schedule"], recipe["teacher"]
    length = (schedule["epochs"], steps_per_epoch)
    rate = optimizer["learning_rate"] * recipe["batch"]["size"] / optimizer["learning_rate_at"]
    return Schedules(
        cosine_schedule(rate, schedule["min_learning_rate"], *length, schedule["warmup_epochs"]),
        cosine_schedule(optimizer["weight_decay"], optimizer["weight_decay_end"], *length),
        cosine_schedule(teacher["momentum"], 1.0, *length),
        temperature_schedule(teacher["warmup_temperature"], teacher["temperature"], *length, teacher["warmup_epochs"]))


@dataclass
class StepResult:
    loss: float
    gradient_norm: float  # before clipping, without what is frozen


class DinoTraining:
    """Each published rule is a method, so that a test can put a wrong one in its place."""

    def __init__(self, student, schedules, *, norm_last_layer, freeze_steps, clip):
        self.schedules, self.freeze_steps, self.clip = schedules, freeze_steps, clip
        self.student = deepcopy(student)
        self.teacher = deepcopy(student).requires_grad_(False)
        self.student.head.last_layer["weight_g"].requires_grad_(not norm_last_layer)
        self.centre = torch.zeros(1, len(student.head.last_layer["weight_g"]))
        self.optimizer = self.make_optimizer()

    def make_optimizer(self):
        return torch.optim.AdamW(self.parameter_groups())

    def parameter_groups(self):
        trained = [(name, value) for name, value in self.student.named_parameters() if value.requires_grad]
        return [{"params": [value for name, value in trained if self.decays(name, value)]},
                {"params": [value for name, value in trained if not self.decays(name, value)], "weight_decay": 0.0}]

    def decays(self, name, value):
        return value.ndim > 1 and not name.endswith(".bias")

    def step(self, number, shards):
        """`shards` of crops: each has its own loss, all have the mean gradient and one centre."""
        self.optimizer.zero_grad()
        losses, logits = [], []
        for crops in shards:
            teacher = self.teacher(crops[:2])
            loss = dino_loss(self.student(crops), teacher, self.centre, self.schedules.teacher_temperature[number])
            (loss / len(shards)).backward()
            losses.append(loss.item())
            logits.extend(teacher)
        self.update_centre(torch.cat(logits))
        if number < self.freeze_steps:
            self.drop_gradients_of_last_layer()
        result = StepResult(sum(losses) / len(losses), float(torch.nn.utils.get_total_norm(self.gradients())))
        self.clip_gradients()
        self.update_student(number)
        self.update_teacher(self.schedules.teacher_momentum[number])
        return result

    def gradients(self):
        return [value.grad for value in self.student.parameters() if value.grad is not None]

    @torch.no_grad()
    def update_centre(self, logits):
        self.centre = CENTRE_MOMENTUM * self.centre + (1 - CENTRE_MOMENTUM) * logits.mean(0, keepdim=True)

    def drop_gradients_of_last_layer(self):
        for value in self.student.head.last_layer.values():
            value.grad = None

    def clip_gradients(self):
        if self.clip == 0:
            return
        for gradient in self.gradients():
            gradient.mul_((self.clip / (gradient.norm() + 1e-6)).clamp(max=1.0))

    def update_student(self, number):
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedules.learning_rate[number]
        self.optimizer.param_groups[0]["weight_decay"] = self.schedules.weight_decay[number]
        self.optimizer.step()

    @torch.no_grad()
    def update_teacher(self, momentum):
        for teacher, student in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            teacher.mul_(momentum).add_(student, alpha=1 - momentum)
