"""What the real TensorBoard reads of a run's event files: curves that neither double nor zig-zag over a kill and a resume,
the recipe under HPARAMS, and the pictures that the first step trains on."""

import io
import unittest

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from support import RunTest, rows, run

EVERYTHING = {"scalars": 0, "images": 0, "tensors": 0}


def read(folder):
    accumulator = EventAccumulator(str(folder), size_guidance=EVERYTHING)
    accumulator.Reload()
    return accumulator


def events(folder):
    """All of them, from the files alone."""
    return [Event.FromString(record) for file in sorted(folder.glob("events.out.tfevents.*"))
            for record in RawEventFileLoader(str(file)).Load()]


def hparams(accumulator, tag):
    content = accumulator.summary_metadata[tag].plugin_data.content
    return HParamsPluginData.FromString(content)


class TensorBoard(RunTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = cls.folder / "run"
        test = cls("killed_and_resumed")
        test.killed_and_resumed()

    def killed_and_resumed(self):
        self.killed(("train", self.recipe, "--run", self.run_folder), self.run_folder, 8)
        reached = rows(self.run_folder)[-1]["step"]
        self.ok(run("resume", self.run_folder, ranks=2))
        type(self).steps_twice = set(range(6, reached + 1))  # saved every 5

    def test_scalars_are_those_of_the_log(self):
        accumulator = read(self.run_folder)
        logged = rows(self.run_folder)
        for tag, column in (("train/loss", "loss"), ("train/learning_rate", "learning_rate"),
                            ("train/gradient_norm", "gradient_norm"), ("speed/compute_seconds", "compute_seconds"),
                            ("evaluation/val_top1", "val_top1"), ("evaluation/average_val_top1", "average_val_top1")):
            shown = {scalar.step: np.float32(scalar.value) for scalar in accumulator.Scalars(tag)}
            self.assertEqual(shown, {row["step"]: np.float32(row[column]) for row in logged if column in row}, tag)
        self.assertTrue(accumulator.Scalars("speed/images_per_second"))

    def test_no_step_twice_after_a_resume(self):
        steps = [scalar.step for scalar in read(self.run_folder).Scalars("train/loss")]
        self.assertEqual(steps, list(range(1, 25)))
        # The files have more than is shown: SessionLog takes back what was done and done again.
        told = [event.step for event in events(self.run_folder)
                for value in event.summary.value if value.tag == "train/loss"]
        self.assertEqual({step for step in told if told.count(step) == 2}, self.steps_twice)
        starts = [event.step for event in events(self.run_folder) if event.session_log.status == SessionLog.START]
        self.assertEqual(starts, [1, 6])

    def test_the_recipe_is_under_hparams(self):
        accumulator = read(self.run_folder)
        start = hparams(accumulator, "_hparams_/session_start_info").session_start_info
        self.assertEqual(start.hparams["optimizer.learning_rate"].number_value, 5e-3)
        self.assertEqual(start.hparams["model.name"].string_value, "vit_tiny_patch16_224")
        self.assertIs(start.hparams["log.weights_hash"].bool_value, True)
        end = hparams(accumulator, "_hparams_/session_end_info").session_end_info
        self.assertEqual(end.status, 1)  # success

    def test_the_pictures_of_the_first_step(self):
        image, = read(self.run_folder).Images("input")
        shown = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
        self.assertEqual(shown.shape, (image.height, image.width, 3))
        sheet = self.folder / "sheet.png"
        self.ok(run("preview", self.run_folder, "--out", sheet))  # shard 0 of step 0
        self.assertTrue(np.array_equal(shown, np.asarray(Image.open(sheet))))

    def test_a_roll_back_takes_steps_back(self):
        folder = self.folder / "rolled"
        self.ok(run("train", self.recipe, "--run", folder, "--set", "check.non_finite=roll_back", "--set", "schedule.epochs=1",
                    "--set", "evaluation.every=0", LOCKSTEP_FAULT="nan@rank0:step7"))
        self.assertEqual([scalar.step for scalar in read(folder).Scalars("train/loss")], list(range(1, 13)))

    def test_a_stop_is_no_end(self):
        folder = self.folder / "stopped"
        self.assertEqual(run("train", self.recipe, "--run", folder, "--deadline", "1s").code, 75)
        end = hparams(read(folder), "_hparams_/session_end_info").session_end_info
        self.assertEqual(end.status, 3)  # running


if __name__ == "__main__":
    unittest.main()
