"""DINO's training follows a plain PyTorch reference, step by step, on the very crops that the program trains on."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from torch.nn.utils import clip_grad_norm_

from dino_reference import DinoTraining, schedules_of
from dino_support import dino_recipe, network, save_network, saved, write_dino_recipe
from support import (ParityTest, in_parallel, make_data, read_batch, read_metrics, relative_distance, run_lockstep)

STEPS = 20
LOSS_TOLERANCE = 1e-4
CENTRE_TOLERANCE = 1e-5
WEIGHT_TOLERANCE = 1e-4
SHORT = {"steps": 10, "schedule": {"epochs": 2}}
PER_CLASS = 8  # of 10 classes: 5 steps an epoch at a batch of 16


class GlobalClip(DinoTraining):
    def clip_gradients(self):
        clip_grad_norm_(self.student.parameters(), self.clip)


class DecayOfEverything(DinoTraining):
    def decays(self, name, value):
        return True


class NoCentre(DinoTraining):
    def update_centre(self, logits):
        pass


class ThawedFromTheStart(DinoTraining):
    def drop_gradients_of_last_layer(self):
        pass


class Momentum(DinoTraining):
    """The optimizer of the published runs of ResNet-50 on few GPUs."""

    def make_optimizer(self):
        return torch.optim.SGD(self.parameter_groups(), lr=0.0, momentum=0.9)


class Lars(DinoTraining):
    """That of the released ResNet-50: rates by the ratio of norms, for what has more than one dimension."""

    def make_optimizer(self):
        self.momenta = {}
        return super().make_optimizer()

    @torch.no_grad()
    def update_student(self, number):
        for name, value in self.student.named_parameters():
            if value.grad is None:
                continue
            move = value.grad
            if value.ndim > 1:
                move = move + self.schedules.weight_decay[number] * value
                if value.norm() > 0 and move.norm() > 0:
                    move = move * 0.001 * value.norm() / move.norm()
            self.momenta[name] = 0.9 * self.momenta.get(name, 0.0) + move
            value.sub_(self.schedules.learning_rate[number] * self.momenta[name])


class StatisticsOfEachShard(Momentum):
    def step(self, number, shards):
        half = len(shards[0][0]) // 2
        return super().step(number, [[crop[:half] for crop in shards[0]], [crop[half:] for crop in shards[0]]])


def without_counters(weights):
    return {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}


def without_key_bias(weights):
    """The bias of the keys has no gradient in mathematics: AdamW walks it by the sign of rounding errors."""
    kept = {}
    for name, value in weights.items():
        if name.endswith("attn.qkv.bias"):
            queries, _, values = value.chunk(3)
            value = torch.cat((queries, values))
        kept[name] = value
    return kept


def distance(ours, theirs):
    ours, theirs = without_key_bias(ours), without_key_bias(theirs)
    return relative_distance(ours, theirs, theirs)


class DinoParity(ParityTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = make_data(cls.folder / "data", PER_CLASS, 1, 96)

    def train(self, name, ranks=1, steps=STEPS, LOCKSTEP_PLAIN="", **changes):
        shards = changes.get("batch", {}).get("shards", 1)
        recipe = dino_recipe(self.data, **{"batch": {"size": 16, "shards": shards}, **changes})
        student = network(recipe)
        recipe["init"] = {"weights": str(save_network(student, self.folder / f"{name}.safetensors"))}
        run = self.folder / name
        run_lockstep("train", write_dino_recipe(self.folder / f"{name}.toml", recipe), "--run", run, ranks=ranks,
                     LOCKSTEP_PLAIN=LOCKSTEP_PLAIN)
        places = [(step, shard) for step in range(steps) for shard in range(shards)]
        batches = in_parallel(lambda place: self.crops(run, *place), places)
        return recipe, student, run, [batches[step * shards : (step + 1) * shards] for step in range(steps)]

    def crops(self, run, step, shard):
        batch = read_batch(run, step, self.folder / f"{run.name}-{step}-{shard}.safetensors", shard)
        return [batch[f"crops.{number}"] for number in range(len(batch) - 1)]

    def follow(self, kind, recipe, student, batches):
        steps_per_epoch = len(batches) // recipe["schedule"]["epochs"]
        training = kind(student, schedules_of(recipe, steps_per_epoch),
                        norm_last_layer=recipe["head"]["norm_last_layer"],
                        freeze_steps=recipe["head"]["freeze_epochs"] * steps_per_epoch,
                        clip=recipe["optimizer"]["clip_gradient"])
        return training, [training.step(number, shards).loss for number, shards in enumerate(batches)]

    def assert_same(self, name, wrong=(), kind=DinoTraining, join=False, **settings):
        recipe, student, run, batches = self.train(name, **settings)
        if join:
            batches = [[[torch.cat(crops) for crops in zip(*shards)]] for shards in batches]
        training, losses = self.follow(kind, recipe, student, batches)
        rows = read_metrics(run)
        steps = len(batches)
        self.assertEqual(sorted(rows), list(range(1, steps + 1)))
        for number, loss in enumerate(losses):
            self.assertLess(abs(rows[number + 1]["loss"] / loss - 1.0), LOSS_TOLERANCE, f"loss of step {number + 1}")
        centre = saved(run, steps, "buffers.safetensors")["center"]
        self.assertLess(float((centre - training.centre).abs().max()), CENTRE_TOLERANCE)
        ours = {"average": saved(run, steps, "average.safetensors"),
                "parameters": saved(run, steps, "parameters.safetensors") | saved(run, steps, "buffers.safetensors")}
        del ours["parameters"]["center"]
        theirs = {"average": without_counters(training.teacher.state_dict()),
                  "parameters": without_counters(training.student.state_dict())}
        for which in ours:
            self.assertEqual(set(ours[which]), set(theirs[which]))
            self.assertLess(distance(ours[which], theirs[which]), WEIGHT_TOLERANCE, which)
        error = distance(ours["parameters"], theirs["parameters"])
        for other_kind in wrong:
            other, _ = self.follow(other_kind, recipe, student, batches)
            seen = distance(without_counters(other.student.state_dict()), theirs["parameters"])
            self.assertGreater(seen, 3 * error, f"{other_kind.__name__} moves {seen}, the program {error}")

    def test_a_frozen_layer_thaws_and_wrong_rules_are_seen(self):
        self.assert_same("frozen", [GlobalClip, DecayOfEverything, NoCentre, ThawedFromTheStart])

    def test_a_last_layer_with_free_norms(self):
        self.assert_same("free", **SHORT, head={"norm_last_layer": False, "freeze_epochs": 0})

    def test_small_patches_without_local_crops(self):
        self.assert_same("global", **SHORT, model={"patch_size": 8}, crops={"global_size": 32, "local_count": 0})

    def test_without_fast_paths(self):
        self.assert_same("plain", **SHORT, LOCKSTEP_PLAIN="all")

    def test_two_shards_on_two_ranks(self):
        self.assert_same("shards", **SHORT, ranks=2, batch={"size": 16, "shards": 2})

    def test_a_resnet_takes_the_statistics_of_the_whole_batch(self):
        resnet = {"model": {"name": "resnet18"}, "head": {"batch_norm": True}, "batch": {"size": 16, "shards": 2},
                  "optimizer": {"name": "momentum", "learning_rate": 2e-4, "weight_decay": 1e-4,
                                "weight_decay_end": 1e-4, "clip_gradient": 0.0}}
        resnet |= {**SHORT, "crops": {"global_size": 48, "local_size": 32, "local_count": 1}}
        self.assert_same("resnet", [StatisticsOfEachShard], Momentum, join=True, **resnet)
        self.assert_same("resnets", (), Momentum, join=True, ranks=2, **resnet)
        resnet["optimizer"] |= {"name": "lars", "learning_rate": 0.005}
        self.assert_same("lars", (), Lars, join=True, ranks=2, **resnet)


if __name__ == "__main__":
    unittest.main()
