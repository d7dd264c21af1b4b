"""The commands of README's section on training, run one after the other as they stand there: on small recipes under the names
of the large ones, and with two ranks where it says more."""

import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "integration"))
from support import LOCKSTEP, MPIRUN, RECIPE, RunTest  # noqa: E402
from test_dino import RECIPE as DINO_RECIPE  # noqa: E402


class Readme(RunTest):
    def lay_out(self):
        """A folder that looks like the clone to a command."""
        (self.folder / "build").symlink_to(Path(LOCKSTEP).parent)
        (self.folder / "deploy").symlink_to(REPOSITORY / "deploy")
        small = (("rsb", "a3_resnet50", RECIPE.replace("[model]\n", "[model]\nclasses = 10\n").replace("shards = 4\n", "")),
                 ("dino", "vit_small_16", DINO_RECIPE.replace(
                     "[evaluation]\n", "[evaluation]\nlinear_epochs = 1\nlinear_batch_size = 64\n")))
        for job, name, text in small:
            folder = self.folder / "jobs" / job / "recipes"
            folder.mkdir(parents=True)
            (folder / f"{name}.toml").write_text(text.replace('"{data}/train"', '""').replace('"{data}/val"', '""'))
        (self.folder / "photos").symlink_to(next((self.data / "val").iterdir()))
        launcher = self.folder / "bin" / "mpirun"
        launcher.parent.mkdir()
        launcher.write_text(f'#!/bin/sh\n[ "$1" = -np ] || exit 9\nshift 2\nexec /usr/bin/{" ".join(MPIRUN)} -np 2 "$@"\n')
        launcher.chmod(0o755)

    def test_every_command(self):
        self.lay_out()
        section = (REPOSITORY / "README.md").read_text().split("## Training")[1].split("\n## ")[0]
        (block,) = re.findall(r"```\n(.*?)```", section, flags=re.DOTALL)
        lines = [line for line in re.sub(r"\\\n", " ", block).splitlines() if line.strip()]
        self.assertGreater(len(lines), 12)
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "LOCKSTEP": LOCKSTEP}
        for line in lines:
            with self.subTest(command=line):
                done = subprocess.run(["bash", "-c", line.replace("/data/imagenet", str(self.data))], cwd=self.folder,
                                      env=environment, capture_output=True, text=True, check=False, timeout=300)
                self.assertEqual(done.returncode, 0, done.stderr)
        for name in ("my-resnet50/model.safetensors", "runs/a3/plots", "maps/sheet.png", "my-vit/checkpoint.pth"):
            self.assertTrue((self.folder / name).exists(), name)


if __name__ == "__main__":
    unittest.main()
