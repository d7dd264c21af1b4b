"""Ten and twenty steps on the tensors that `batch` writes, beside timm's model, loss and optimizer."""

import sys
import unittest
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from timm.loss import BinaryCrossEntropy, SoftTargetCrossEntropy
from timm.optim import Lamb, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3

from support import (
    CLASSES, ParityTest, exported_weights, in_parallel, make_data, read_batch, read_metrics, relative_distance,
    run_lockstep, save_weights, starting_model, write_recipe,
)

SIDE = 64
SHARD_BATCH = 16
PER_CLASS = 16
LOSS_TOLERANCE = 1e-4
WEIGHT_TOLERANCE = 1e-3
FIRST_NORM_TOLERANCE = 1e-3
NORM_TOLERANCE = 1e-2
MOTION_TOLERANCE = 0.03


@dataclass
class Result:
    losses: list
    gradient_norms: list
    weights: dict
    average: dict | None = None


def parameter_names(model):
    return [name for name, _ in model.named_parameters()]


def running_statistics(weights):
    return [name for name in weights if name.endswith(("running_mean", "running_var"))]


def averaged_gradients(replicas):
    for values in zip(*(replica.parameters() for replica in replicas), strict=True):
        values[0].grad = torch.stack([value.grad for value in values]).mean(0)


def follow_first(replicas):
    with torch.no_grad():
        for replica in replicas[1:]:
            for value, first in zip(replica.parameters(), replicas[0].parameters(), strict=True):
                value.copy_(first)


def shared_weights(replicas):
    """The first replica's parameters with the statistics of BatchNorm averaged over all."""
    states = [replica.state_dict() for replica in replicas]
    weights = {name: value.clone() for name, value in states[0].items()}
    for name in running_statistics(weights):
        weights[name] = torch.stack([state[name] for state in states]).mean(0)
    return weights


def train_reference(model, steps, loss, make_optimizer, rates=None, average_decay=0.0):
    """Trains one replica a shard; each has its own BatchNorm forward, all have the mean gradient."""
    replicas = [deepcopy(model).train() for _ in steps[0]]
    first = replicas[0]
    optimizer = make_optimizer(first)
    average = ModelEmaV3(first, decay=average_decay) if average_decay else None
    losses, norms = [], []
    for number, shards in enumerate(steps):
        if rates:
            for group in optimizer.param_groups:
                group["lr"] = rates[number]
        values = []
        for replica, shard in zip(replicas, shards, strict=True):
            replica.zero_grad()
            value = loss(replica(shard["images"]), shard["targets"])
            value.backward()
            values.append(value.item())
        averaged_gradients(replicas)
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in first.parameters()])))
        losses.append(sum(values) / len(values))
        optimizer.step()
        follow_first(replicas)
        if average:
            average.update(first, step=number + 1)
    return Result(losses, norms, shared_weights(replicas), average.module.state_dict() if average else None)


def lamb(rate, decay, **changes):
    return lambda model: Lamb(param_groups_weight_decay(model, decay), lr=rate, **changes)


def lamb_without_clip(rate, decay):
    return lamb(rate, decay, max_grad_norm=None)


def lamb_adapting_norms(rate, decay):
    """Weight decay and trust ratio on every parameter, norms and biases too."""
    return lambda model: Lamb(model.parameters(), lr=rate, weight_decay=decay)


def smoothed(loss, smoothing):
    """The targets of timm's Mixup with label smoothing, from those without."""
    return lambda logits, targets: loss(logits, targets * (1 - smoothing) + smoothing / CLASSES)


def cosine_rates(rate, schedule, steps_per_epoch):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = CosineLRScheduler(
        optimizer,
        t_initial=schedule["epochs"] * steps_per_epoch,
        lr_min=schedule["min_learning_rate"],
        warmup_t=schedule["warmup_epochs"] * steps_per_epoch,
        warmup_lr_init=schedule["warmup_learning_rate"],
        t_in_epochs=False,
    )
    rates = []
    for number in range(schedule["epochs"] * steps_per_epoch):
        scheduler.step_update(number)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


class TrainingTest(ParityTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = make_data(cls.folder / "data", PER_CLASS, 1, 96)

    def train(self, name, *, model, optimizer, shards=1, ranks=1, steps=10, schedule=None, LOCKSTEP_PLAIN="", **changes):
        """A run of some steps, the model it began from and the tensors it trained on."""
        steps_per_epoch = CLASSES * PER_CLASS // (SHARD_BATCH * shards)
        constant = {"epochs": steps // steps_per_epoch, "min_learning_rate": optimizer["learning_rate"]}
        start = starting_model(model, **({"img_size": SIDE} if model.startswith("vit") else {}))
        weights = save_weights(start, self.folder / f"{name}.safetensors")
        recipe = write_recipe(
            self.folder / f"{name}.toml",
            data=self.data,
            batch={"size": SHARD_BATCH * shards, "shards": shards},
            model={"name": model},
            augmentation={"size": SIDE},
            optimizer=optimizer,
            schedule=schedule or constant,
            init={"weights": str(weights)},
            **changes,
        )
        run = self.folder / name
        run_lockstep("train", recipe, "--run", run, ranks=ranks, LOCKSTEP_PLAIN=LOCKSTEP_PLAIN)
        return start, run, self.batches(run, steps, shards)

    def batches(self, run, steps, shards):
        places = [(step, shard) for step in range(steps) for shard in range(shards)]
        found = in_parallel(lambda place: self.batch(run, *place), places)
        return [found[step * shards : (step + 1) * shards] for step in range(steps)]

    def batch(self, run, step, shard):
        return read_batch(run, step, self.folder / f"{run.name}-batch-{step}-{shard}.safetensors", shard)

    def assert_same_course(self, run, reference):
        rows = read_metrics(run)
        self.assertEqual(sorted(rows), list(range(1, len(reference.losses) + 1)))
        for number, loss in enumerate(reference.losses):
            row = rows[number + 1]
            self.assert_close(row["loss"], loss, LOSS_TOLERANCE, f"loss of step {number + 1}")
            tolerance = NORM_TOLERANCE if number else FIRST_NORM_TOLERANCE
            self.assert_close(row["gradient_norm"], reference.gradient_norms[number], tolerance,
                              f"gradient norm of step {number + 1}")

    def assert_close(self, ours, theirs, tolerance, what):
        self.assertLessEqual(abs(ours - theirs), tolerance * abs(theirs), f"{what}: {ours} for {theirs}")

    def assert_same_weights(self, ours, theirs, start):
        """Returns the error over the distance that the parameters moved."""
        parameters, statistics = parameter_names(start), running_statistics(theirs)
        counters = {name for name in ours if name.endswith("num_batches_tracked")}
        self.assertEqual(set(ours) - counters, {*parameters, *statistics})
        self.assertLess(relative_distance(ours, theirs, parameters), WEIGHT_TOLERANCE, "parameters")
        if statistics:
            self.assertLess(relative_distance(ours, theirs, statistics), WEIGHT_TOLERANCE, "statistics of BatchNorm")
        error = self.error_over_distance(ours, theirs, start)
        self.assertLess(error, MOTION_TOLERANCE, "parameters, over the distance they moved")
        return error

    def error_over_distance(self, ours, theirs, start):
        """The difference of the parameters over how far training moved them."""
        names = parameter_names(start)
        begin = start.state_dict()
        moved = {name: theirs[name].double() - begin[name].double() for name in names}
        error = {name: ours[name].double() - begin[name].double() for name in names}
        return relative_distance(error, moved, names)


class LambTraining(TrainingTest):
    def assert_lamb(self, name, rate, decay, criterion, visible, **settings):
        start, run, batches = self.train(
            name, optimizer={"name": "lamb", "learning_rate": rate, "weight_decay": decay}, **settings)
        reference = train_reference(start, batches, criterion, lamb(rate, decay))
        self.assert_same_course(run, reference)
        ours = exported_weights(run, self.folder / f"{name}-exported")
        error = self.assert_same_weights(ours, reference.weights, start)
        for variant, ratio in visible:
            other = train_reference(start, batches, criterion, variant(rate, decay))
            theirs = self.error_over_distance(other.weights, reference.weights, start)
            self.assertGreater(theirs, ratio * error, f"{variant.__name__} moves {theirs}, the program {error}")

    def test_resnet18_and_wrong_lambs_are_seen(self):
        self.assert_lamb(
            "lamb", 3e-4, 0.02, BinaryCrossEntropy(), [(lamb_without_clip, 3), (lamb_adapting_norms, 30)],
            model="resnet18", steps=20)

    def test_resnet50_with_thresholded_targets(self):
        self.assert_lamb(
            "lamb50", 5e-5, 0.02, BinaryCrossEntropy(target_threshold=0.2), [(lamb_adapting_norms, 10)],
            model="resnet50", steps=20, loss={"target_threshold": 0.2})

    def test_two_shards_on_two_ranks_with_smoothed_targets(self):
        self.assert_lamb(
            "shards", 1e-4, 0.01, smoothed(BinaryCrossEntropy(), 0.1), [],
            model="resnet18", shards=2, ranks=2, loss={"smoothing": 0.1})

    def test_two_shards_on_one_rank(self):
        self.assert_lamb("accumulated", 1e-4, 0.02, BinaryCrossEntropy(), [], model="resnet18", shards=2)

    def test_without_fast_paths(self):
        self.assert_lamb("plain", 1e-4, 0.02, BinaryCrossEntropy(), [], model="resnet18", LOCKSTEP_PLAIN="all")


class Transformers(TrainingTest):
    MODEL = "vit_tiny_patch16_224"

    def assert_adamw(self, name, rate, decay, **settings):
        def adamw(left_out):
            return lambda model: torch.optim.AdamW(
                param_groups_weight_decay(model, decay, model.no_weight_decay() if left_out else ()), lr=rate)

        start, run, batches = self.train(
            name, model=self.MODEL, optimizer={"name": "adamw", "learning_rate": rate, "weight_decay": decay}, **settings)
        reference = train_reference(start, batches, BinaryCrossEntropy(), adamw(True))
        self.assert_same_course(run, reference)
        ours = exported_weights(run, self.folder / f"{name}-exported")
        error = self.assert_same_weights(ours, reference.weights, start)
        other = train_reference(start, batches, BinaryCrossEntropy(), adamw(False))
        self.assertGreater(self.error_over_distance(other.weights, reference.weights, start), 3 * error,
                           "decay of the positions is not seen")

    def test_adamw_leaves_the_positions_alone(self):
        self.assert_adamw("vit", 1e-4, 5.0)

    def test_two_shards_on_two_ranks(self):
        self.assert_adamw("vit-shards", 1e-4, 5.0, shards=2, ranks=2)

    def test_without_fast_paths(self):
        self.assert_adamw("vit-plain", 1e-4, 5.0, LOCKSTEP_PLAIN="all")


class OtherOptimizers(TrainingTest):
    def test_adamw_with_a_schedule_by_updates(self):
        rate, decay = 3e-5, 0.05
        schedule = {"epochs": 2, "warmup_epochs": 1, "warmup_learning_rate": 1e-6, "min_learning_rate": 1e-6,
                    "per_update": True}
        start, run, batches = self.train(
            "adamw", model="resnet18", steps=20, schedule=schedule, loss={"name": "cross_entropy"},
            optimizer={"name": "adamw", "learning_rate": rate, "weight_decay": decay})
        rates = cosine_rates(rate, schedule, 20 // schedule["epochs"])
        reference = train_reference(
            start, batches, SoftTargetCrossEntropy(),
            lambda model: torch.optim.AdamW(param_groups_weight_decay(model, decay), lr=rate), rates)
        self.assert_same_course(run, reference)
        self.assert_same_weights(exported_weights(run, self.folder / "adamw-exported"), reference.weights, start)
        for number, row in read_metrics(run).items():
            self.assert_close(row["learning_rate"], rates[number - 1], 1e-6, f"rate of step {number}")

    def test_sgd_and_the_average(self):
        rate, decay, kept = 3e-5, 1e-3, 0.9
        start, run, batches = self.train(
            "sgd", model="resnet18", average={"decay": kept},
            optimizer={"name": "sgd", "learning_rate": rate, "weight_decay": decay})
        reference = train_reference(
            start, batches, BinaryCrossEntropy(),
            lambda model: torch.optim.SGD(param_groups_weight_decay(model, decay), lr=rate, momentum=0.9,
                                          nesterov=True),
            average_decay=kept)
        self.assert_same_course(run, reference)
        self.assert_same_weights(exported_weights(run, self.folder / "sgd-exported"), reference.weights, start)
        average = exported_weights(run, self.folder / "sgd-average", average=True)
        own = self.assert_same_weights(average, reference.average, start)
        weights_instead = self.error_over_distance(reference.weights, reference.average, start)
        self.assertGreater(weights_instead, 10 * own, "the average is not told from the weights")


if __name__ == "__main__":
    unittest.main()
