"""DINO's four schedules over whole published runs equal numpy's, to 1e-12."""

import sys
import tomllib
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np

from dino_reference import schedules_of
from support import REPOSITORY, ParityTest, run_lockstep_json

IMAGENET = 1_281_167
NAMES = ("learning_rate", "weight_decay", "teacher_momentum", "teacher_temperature")


class Schedules(ParityTest):
    def test_every_update_of_every_recipe(self):
        for file in sorted((REPOSITORY / "jobs" / "dino" / "recipes").glob("vit_[sb]*.toml")):
            with self.subTest(file.stem):
                recipe = tomllib.loads(file.read_text())
                plan = run_lockstep_json("plan", file, "--samples", IMAGENET, "--json")
                steps_per_epoch = IMAGENET // recipe["batch"]["size"]
                self.assertEqual(plan["steps_per_epoch"], steps_per_epoch)
                self.assertEqual(plan["schedules"]["unit"], "update")
                expected = schedules_of(recipe, steps_per_epoch)
                for name in NAMES:
                    np.testing.assert_allclose(plan["schedules"][name], getattr(expected, name), rtol=1e-12,
                                               atol=1e-15, err_msg=name)

    def test_the_values_of_the_published_log(self):
        """As the log of the vanilla run rounds them, at iteration 2240 (dino issue 69)."""
        schedules = run_lockstep_json("plan", REPOSITORY / "jobs/dino/recipes/vit_small_16.toml",
                                      "--samples", IMAGENET, "--json")["schedules"]
        self.assertEqual(round(schedules["learning_rate"][2240], 6), 0.00009)
        self.assertEqual(round(schedules["weight_decay"][2240], 6), 0.040071)


if __name__ == "__main__":
    unittest.main()
