"""Learning rates equal timm's scheduler; the published recipes hold the published numbers."""

import math
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import timm
import torch
from timm.scheduler import CosineLRScheduler

from support import REPOSITORY, ParityTest, run_lockstep_json, write_recipe

IMAGENET = 1281167
RELATIVE = 1e-12
RECIPES = REPOSITORY / "jobs" / "rsb" / "recipes"

COMMON = {
    "job": "rsb",
    "batch.size": 2048,
    "model.name": "resnet50",
    "augmentation.eval_size": 224,
    "augmentation.eval_crop": 0.95,
    "augmentation.scale": [0.08, 1.0],
    "augmentation.ratio": [3 / 4, 4 / 3],
    "augmentation.flip": 0.5,
    "augmentation.interpolation": "bicubic",
    "augmentation.cutmix": 1.0,
    "loss.name": "bce",
    "optimizer.name": "lamb",
    "schedule.warmup_epochs": 5,
    "schedule.per_update": False,
    "average.decay": 0.0,
}
PUBLISHED = {
    "a1": {
        "augmentation.size": 224,
        "schedule.epochs": 600,
        "optimizer.learning_rate": 5e-3,
        "optimizer.weight_decay": 0.01,
        "loss.smoothing": 0.1,
        "model.drop_path": 0.05,
        "augmentation.repeats": 3,
        "augmentation.rand_augment": "rand-m7-mstd0.5-inc1",
        "augmentation.mixup": 0.2,
    },
    "a2": {
        "augmentation.size": 224,
        "schedule.epochs": 300,
        "optimizer.learning_rate": 5e-3,
        "optimizer.weight_decay": 0.02,
        "loss.smoothing": 0.0,
        "model.drop_path": 0.05,
        "augmentation.repeats": 3,
        "augmentation.rand_augment": "rand-m7-mstd0.5-inc1",
        "augmentation.mixup": 0.1,
    },
    "a3": {
        "augmentation.size": 160,
        "schedule.epochs": 100,
        "optimizer.learning_rate": 8e-3,
        "optimizer.weight_decay": 0.02,
        "loss.smoothing": 0.0,
        "model.drop_path": 0.0,
        "augmentation.repeats": 1,
        "augmentation.rand_augment": "rand-m6-mstd0.5-inc1",
        "augmentation.mixup": 0.1,
    },
}


def plan(recipe, samples):
    return run_lockstep_json("plan", recipe, "--samples", samples, "--json")


def value_at(recipe, dotted):
    for key in dotted.split("."):
        recipe = recipe[key]
    return recipe


def timm_rates(recipe, steps_per_epoch):
    """One rate an epoch, or an update where the recipe steps by updates, as timm's train.py sets them."""
    schedule = recipe["schedule"]
    per_update = schedule["per_update"]
    unit = steps_per_epoch if per_update else 1
    rate = recipe["optimizer"]["learning_rate"]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = CosineLRScheduler(
        optimizer,
        t_initial=schedule["epochs"] * unit,
        lr_min=schedule["min_learning_rate"],
        warmup_t=schedule["warmup_epochs"] * unit,
        warmup_lr_init=schedule["warmup_learning_rate"],
        t_in_epochs=not per_update,
    )
    advance = scheduler.step_update if per_update else scheduler.step
    rates = [optimizer.param_groups[0]["lr"]]
    for number in range(1, schedule["epochs"] * unit):
        advance(number)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def per_period(values, periods):
    """`values` with one entry a period, where they came with one an update."""
    if len(values) == periods:
        return values
    length, rest = divmod(len(values), periods)
    if rest:
        raise ValueError(f"{len(values)} values do not divide into {periods} periods")
    for start in range(0, len(values), length):
        if len(set(values[start : start + length])) != 1:
            raise ValueError(f"the schedule changes within the period from update {start}")
    return values[::length]


class ScheduleTest(ParityTest):
    def assert_rates_equal_timm(self, planned):
        recipe = planned["recipe"]
        theirs = timm_rates(recipe, planned["steps_per_epoch"])
        ours = per_period(planned["schedules"]["learning_rate"], len(theirs))
        for number, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            self.assertTrue(math.isclose(our, their, rel_tol=RELATIVE, abs_tol=0.0),
                            f"rate {number}: {our!r} for {their!r}")

    def assert_decay_constant(self, planned):
        decay = planned["schedules"]["weight_decay"]
        values = decay if isinstance(decay, list) else [decay]
        self.assertEqual(set(values), {planned["recipe"]["optimizer"]["weight_decay"]})


class PublishedRecipes(ScheduleTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.plans = {name: plan(RECIPES / f"{name}_resnet50.toml", IMAGENET) for name in PUBLISHED}

    def test_rates_equal_timm(self):
        for name, planned in self.plans.items():
            with self.subTest(recipe=name):
                self.assert_rates_equal_timm(planned)
                self.assert_decay_constant(planned)

    def test_steps(self):
        for name, planned in self.plans.items():
            with self.subTest(recipe=name):
                self.assertEqual(planned["steps_per_epoch"], 625)
                self.assertEqual(planned["steps"], 625 * PUBLISHED[name]["schedule.epochs"])

    def test_published_numbers(self):
        for name, planned in self.plans.items():
            for key, expected in {**COMMON, **PUBLISHED[name]}.items():
                with self.subTest(recipe=name, key=key):
                    self.assert_setting(value_at(planned["recipe"], key), expected)

    def test_targets_stay_soft_where_they_are_smoothed(self):
        self.assertLess(value_at(self.plans["a1"]["recipe"], "loss.target_threshold"), 0)

    def test_parameters_equal_timm(self):
        model = timm.create_model("resnet50", num_classes=1000)
        expected = sum(value.numel() for value in model.parameters())
        for name, planned in self.plans.items():
            with self.subTest(recipe=name):
                self.assertEqual(planned["parameters"], expected)

    def assert_setting(self, ours, expected):
        if isinstance(expected, list):
            self.assertEqual(len(ours), len(expected))
            for our, their in zip(ours, expected):
                self.assertAlmostEqual(our, their, places=12)
        elif isinstance(expected, float):
            self.assertAlmostEqual(ours, expected, places=12)
        else:
            self.assertEqual(ours, expected)


class OtherSchedules(ScheduleTest):
    CASES = {
        "by updates": {"epochs": 7, "warmup_epochs": 2, "per_update": True},
        "by updates, no warm-up": {"epochs": 3, "warmup_epochs": 0, "per_update": True},
        "by epochs, no warm-up": {"epochs": 9, "warmup_epochs": 0, "per_update": False},
        "other ends": {"epochs": 11, "warmup_epochs": 3, "warmup_learning_rate": 1e-4,
                       "min_learning_rate": 1e-5, "per_update": False},
        "warm-up to the end": {"epochs": 4, "warmup_epochs": 4, "per_update": True},
    }

    def test_rates_equal_timm(self):
        for number, (name, schedule) in enumerate(self.CASES.items()):
            with self.subTest(schedule=name):
                recipe = write_recipe(self.folder / f"{number}.toml", data=self.folder,
                                      model={"classes": 10}, schedule=schedule)
                planned = plan(recipe, 16 * 13 + 5)
                self.assertEqual(planned["steps_per_epoch"], 13)
                self.assertEqual(planned["steps"], 13 * schedule["epochs"])
                self.assert_rates_equal_timm(planned)


if __name__ == "__main__":
    unittest.main()
