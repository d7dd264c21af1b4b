"""Each verb as its user calls it, on a small run."""

import json
import os
import pty
import socket
import subprocess
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from safetensors.numpy import load_file
from PIL import Image

from support import REPOSITORY, RESNET, RunTest, command, rows, run

RESNET18_PARAMETERS = 11_181_642  # with 10 classes; timm says so too (tests/parity)


def size_of(picture):
    with Image.open(picture) as image:
        return image.size


class Verbs(RunTest):
    recipe_text = RESNET

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = cls.folder / "run"
        done = run("train", cls.recipe, "--run", cls.run_folder, ranks=2)
        assert done.code == 0, done.err

    def test_validate(self):
        self.assertIn("24 steps", self.ok(run("validate", self.recipe)).out)
        answer = json.loads(self.ok(run("validate", self.recipe, "--json")).out)
        self.assertEqual(answer, {"valid": True, "steps": 24})

    def test_plan(self):
        plan = json.loads(self.ok(run("plan", self.recipe, "--json")).out)
        self.assertEqual(plan["steps_per_epoch"], 12)  # 200 pictures in batches of 16
        self.assertEqual(plan["steps"], 24)
        self.assertEqual(plan["parameters"], RESNET18_PARAMETERS)
        self.assertEqual(plan["bytes"]["parameters"], 4 * RESNET18_PARAMETERS)
        self.assertEqual(len(plan["schedules"]["learning_rate"]), 2)
        self.assertEqual(plan["recipe"]["model"]["classes"], 10)
        self.assertEqual(json.loads(self.ok(run("plan", self.run_folder, "--json")).out), plan)
        self.assertIn('name = "resnet18"', self.ok(run("plan", self.recipe)).out)

    def test_plan_of_longer_worlds(self):
        plan = json.loads(self.ok(run("plan", self.recipe, "--world", 4, "--link", "8Gb", "--node-ranks", 2, "--node-link", "1GB",
                                      "--step-seconds", 3, "--json")).out)
        self.assertEqual([step["world"] for step in plan["scaling"]], [1, 4, 8, 64, 512, 4096])
        self.assertEqual(plan["scaling"][0]["step_seconds"], 3)
        bytes_summed = 4 * RESNET18_PARAMETERS + plan["bytes"]["buffers"]
        # Half of a rank's bytes each way in the node and over the link; the messages of one hop there and back take microseconds.
        self.assertAlmostEqual(plan["scaling"][1]["sum_seconds"], 2 * bytes_summed / 1e9, delta=1e-3)

    def test_plan_without_data_for_a_world(self):
        recipe = REPOSITORY / "jobs" / "rsb" / "recipes" / "a3_resnet50.toml"
        plan = json.loads(self.ok(run("plan", recipe, "--samples", 1281167, "--world", 8, "--json")).out)
        self.assertEqual(plan["recipe"]["batch"]["shards"], 8)
        self.assertEqual(plan["steps"], 62500)
        self.assert_error(run("plan", self.recipe, "--world", 3), 2, "E109", "1, 2, 4")

    def test_a_resolved_recipe_is_a_recipe(self):
        text = (self.run_folder / "recipe.toml").read_text()
        again = json.loads(self.ok(run("plan", self.write_recipe("again.toml", text), "--json")).out)
        self.assertEqual(again, json.loads(run("plan", self.recipe, "--json").out))

    def test_every_recipe_of_the_project_is_sound(self):
        for recipe in sorted(REPOSITORY.glob("jobs/*/recipes/*.toml")):
            with self.subTest(recipe=recipe.name):
                options = [] if "dino" in recipe.parts else ["--set", "model.classes=1000"]
                self.ok(run("validate", recipe, "--samples", 1281167, *options))

    def test_batch(self):
        files = [self.folder / name for name in ("a.safetensors", "b.safetensors", "c.safetensors")]
        self.ok(run("batch", self.recipe, "--step", 7, "--shard", 2, "--out", files[0]))
        self.ok(run("batch", self.run_folder, "--step", 7, "--shard", 2, "--out", files[1]))
        self.ok(run("batch", self.run_folder, "--step", 7, "--shard", 3, "--out", files[2]))
        self.assertEqual(files[0].read_bytes(), files[1].read_bytes())
        self.assertNotEqual(files[0].read_bytes(), files[2].read_bytes())
        batch = load_file(files[0])
        self.assertEqual({name: (str(a.dtype), a.shape) for name, a in batch.items()},
                         {"images": ("float32", (4, 3, 32, 32)), "targets": ("float32", (4, 10)),
                          "samples": ("int64", (4,))})
        self.assert_error(run("batch", self.recipe, "--step", 24, "--out", files[0]), 2, "E105", "24")

    def test_an_epoch_shows_each_picture_as_often_as_asked(self):
        seen = []
        file = self.folder / "samples.safetensors"
        for step in range(12):
            self.ok(run("batch", self.recipe, "--step", step, "--out", file, "--set", "batch.shards=1"))
            seen += load_file(file)["samples"].tolist()
        # 12 steps of 16 rows, each picture twice (repeats): 96 pictures of 200.
        self.assertEqual(len(set(seen)), 96)
        self.assertTrue(all(seen.count(sample) == 2 for sample in seen))

    def test_eval(self):
        last = rows(self.run_folder)[-1]
        for source in (self.run_folder, self.run_folder / "checkpoints" / "step-00000024"):
            measures = json.loads(self.ok(run("eval", source)).out)
            self.assertEqual(sorted(measures), ["loss", "samples", "top1", "top5"])
            self.assertEqual(measures["samples"], 40)
            self.assertEqual(measures["top1"], last["val_top1"])
        average = json.loads(self.ok(run("eval", self.run_folder, "--average")).out)
        self.assertEqual(average["loss"], last["average_val_loss"])
        self.assert_error(run("eval", self.recipe), 2, "E106", "--weights")

    def test_inspect_and_verify(self):
        self.assertIn("24", self.ok(run("inspect", self.run_folder)).out)
        checkpoint = self.run_folder / "checkpoints" / "step-00000024"
        self.assertIn("parameters.safetensors", self.ok(run("inspect", checkpoint)).out)
        listing = self.ok(run("inspect", checkpoint / "parameters.safetensors")).out
        self.assertIn(f"62 tensors, {RESNET18_PARAMETERS} elements", listing)
        self.assertEqual(self.ok(run("verify", self.run_folder)).out.count("sound"), 3)
        self.assertEqual(self.ok(run("verify", checkpoint)).out.count("sound"), 1)

    def test_export_for_timm_is_a_folder_that_timm_reads(self):
        out = self.folder / "for-timm"
        self.ok(run("export", self.run_folder, "--format", "timm", out))
        config = json.loads((out / "config.json").read_text())
        self.assertEqual(config["architecture"], "resnet18")
        self.assertEqual(config["pretrained_cfg"]["input_size"], [3, 32, 32])
        self.assertEqual(len(load_file(out / "model.safetensors")), 122)
        self.assert_error(run("export", self.run_folder, "--format", "dino", out), 2, "E105", "'dino'")

    def test_plot(self):
        out = self.folder / "plots"
        listed = self.ok(run("plot", self.run_folder, "--out", out)).out.split()
        self.assertEqual(sorted(Path(name).name for name in listed), sorted(p.name for p in out.iterdir()))
        for name in ("loss", "learning_rate", "val_top1", "images_per_second", "phases", "overview"):
            root = ElementTree.parse(out / f"{name}.svg").getroot()
            self.assertTrue(list(root.iter("{http://www.w3.org/2000/svg}path")), name)
            self.assertEqual(size_of(out / f"{name}.png")[0], 2560 if name == "overview" else 1800)
        self.assert_error(run("plot", self.data, "--out", out), 2, "E112", "metrics.jsonl")

    def test_preview_draws_the_batch(self):
        sheet = self.folder / "sheet.png"
        self.ok(run("preview", self.recipe, "--out", sheet))
        self.assertEqual(size_of(sheet), (4 * 32 + 3 * 2, 32))
        self.assert_error(run("preview", "--out", sheet), 2, "E100")

    def test_preview_of_one_operation(self):
        picture = next((self.data / "train").glob("*/*.jpg"))
        out = self.folder / "op.png"
        self.ok(run("preview", "--image", picture, "--op", "EvaluationCrop=24,0.9", "--out", out))
        self.assertEqual(size_of(out), (24, 24))
        done = run("preview", "--image", picture, "--op", "Rotat=3", "--out", out)
        self.assert_error(done, 2, "E105", "did you mean 'Rotate'?")

    def test_data_make_is_a_pure_function_of_its_seed(self):
        made = []
        for name, seed in (("x", 1), ("y", 1), ("z", 2)):
            folder = self.folder / f"made-{name}"
            self.ok(run("data", "make", folder, "--train", 2, "--validation", 1, "--side", 16, "--seed", seed))
            made.append([file.read_bytes() for file in sorted(folder.rglob("*.jpg"))])
        self.assertEqual(len(made[0]), 30)
        self.assertEqual(made[0], made[1])
        self.assertNotEqual(made[0], made[2])

    def test_run_folder_of_the_contract(self):
        names = {path.name for path in self.run_folder.iterdir()}
        self.assertLessEqual({"recipe.toml", "run.json", "metrics.jsonl", "log", "checkpoints"}, names)
        self.assertEqual({path.name for path in (self.run_folder / "log").iterdir()},
                         {"rank-00000.log", "rank-00001.log"})
        latest = (self.run_folder / "checkpoints" / "LATEST").read_text().strip()
        self.assertEqual(latest, "step-00000024")
        first = rows(self.run_folder)[0]
        for name in ("step", "epoch", "loss", "learning_rate", "gradient_norm", "samples", "seconds"):
            self.assertIn(name, first)


class Training(RunTest):
    def first_loss(self, name, *options):
        folder = self.folder / name
        done = run("train", self.recipe, "--run", folder, "--set", "schedule.epochs=1",
                   "--set", "evaluation.every=0", *options)
        return done, rows(folder)

    def test_bf16_trains_beside_fp32(self):
        done, bf16 = self.first_loss("bf16", "--set", "precision=bf16")
        if done.code == 77:  # a processor that traps, found out before the run began
            self.assert_error(done, 77, "E701", "bf16", "fp32")
            return
        self.ok(done)
        _, fp32 = self.first_loss("fp32")
        self.assertNotEqual(bf16[0]["loss"], fp32[0]["loss"])
        for ours, reference in zip(bf16[:3], fp32[:3]):
            self.assertAlmostEqual(ours["loss"] / reference["loss"], 1.0, delta=0.01)

    def test_a_terminal_gets_one_line_that_is_written_over(self):
        reader, writer = pty.openpty()
        process = subprocess.Popen(command(("train", self.recipe, "--run", self.folder / "terminal", "--set",
                                            "schedule.epochs=1", "--set", "evaluation.every=0")), stderr=writer)
        os.close(writer)
        shown = read_all(reader)
        self.assertEqual(process.wait(), 0)
        self.assertIn("\r\x1b[K", shown)
        self.assertIn("step 12/12", shown)

    def test_into_a_folder_of_its_own_with_plain_lines_in_a_file_and_no_free_port(self):
        with socket.socket() as taken:
            taken.bind(("0.0.0.0", 0))
            taken.listen()
            port = taken.getsockname()[1]
            done = subprocess.run(command(("train", self.recipe, "--set", "schedule.epochs=1", "--set", "evaluation.every=0",
                                           "--set", f"monitoring.port={port}")), cwd=self.folder, capture_output=True, text=True,
                                  check=True)
        made = list((self.folder / "runs").iterdir())
        self.assertEqual(len(made), 1, done.stderr)
        self.assertRegex(made[0].name, r"^recipe-\d{8}T\d{6}Z$")
        self.assertNotIn("\r", done.stderr)
        self.assertIn("step 12/12", done.stderr)
        self.assertIn("warning: no Prometheus endpoint", done.stderr)


def read_all(descriptor):
    """What a pseudo-terminal gives until its other end is closed, which it says by an error."""
    chunks = []
    try:
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
    except OSError:
        pass
    os.close(descriptor)
    return b"".join(chunks).decode()


if __name__ == "__main__":
    unittest.main()
