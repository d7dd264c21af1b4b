"""`cmake --install` makes a tree that runs where it is moved to, with all that belongs to it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from deploy_support import FOLDER, REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests" / "integration"))
from support import MPIRUN, RECIPE  # noqa: E402

BUILD = Path(os.environ["LOCKSTEP"]).parent
WHEELS = next(Path(sys.prefix).glob("lib/python3*/site-packages"))


def run(*words, **options):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True, **options).stdout


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="lockstep-install-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        run("cmake", "--install", BUILD, "--prefix", cls.folder / "first")
        cls.tree = (cls.folder / "first").rename(cls.folder / "moved")
        # As `--component libtorch` would copy it: 4 GB.
        (cls.tree / "lib").mkdir()
        (cls.tree / "lib" / "libtorch").symlink_to(WHEELS)
        cls.lockstep = cls.tree / "bin" / "lockstep"

    def libraries(self, program):
        found = {}
        for line in run("ldd", self.tree / "bin" / program).splitlines():
            name, arrow, path = line.partition(" => ")
            if arrow:
                found[name.strip()] = path.split(" (")[0]
        return found

    def test_libraries_are_looked_for_beside_the_programs(self):
        beside = f"{self.tree}/bin/../lib/libtorch/"
        self.assertTrue(self.libraries("lockstep-torch")["libtorch_cpu.so"].startswith(beside))
        cuda = self.libraries("liblockstep_cuda.so")
        for name in ("libcudart.so.13", "libnccl.so.2"):
            self.assertTrue(cuda[name].startswith(beside), cuda[name])

    def test_setup_names_the_packages_of_all_other_libraries(self):
        text = (FOLDER / "setup.sh").read_text()
        named = set(text.split("run_packages=(")[1].split(")")[0].split())
        # What these depend on comes with them.
        needed = run("apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
                     "--no-breaks", "--no-replaces", "--no-enhances", *named)
        for program in ("lockstep", "lockstep-torch"):
            for name, path in self.libraries(program).items():
                if path.startswith(("/usr", "/lib")):
                    # Packages know files by the name before or after /lib became a link to /usr/lib.
                    package = run("dpkg", "-S", f"*{str(Path(path).resolve()).removeprefix('/usr')}").split(":")[0]
                    with self.subTest(program=program, library=name):
                        self.assertRegex(needed, rf"(?m)^{package.replace('+', '.')}$")

    def test_it_trains_from_there(self):
        data = self.folder / "data"
        run(self.lockstep, "data", "make", data, "--train", 4, "--validation", 2, "--side", 40)
        recipe = self.folder / "recipe.toml"
        recipe.write_text(RECIPE.replace("{data}", str(data)))
        run(*MPIRUN, "-np", 2, self.lockstep, "train", recipe, "--run", self.folder / "run", "--set", "schedule.epochs=1",
            "--set", "schedule.warmup_epochs=0")
        self.assertTrue((self.folder / "run" / "checkpoints" / "LATEST").exists())

    def test_recipes(self):
        for recipe in sorted((REPOSITORY / "jobs").glob("*/recipes/*.toml")):
            job = recipe.parent.parent.name
            there = self.tree / "share" / "lockstep" / "recipes" / job / recipe.name
            with self.subTest(recipe=recipe.name):
                classes = ("--set", "model.classes=1000") if job == "rsb" else ()
                plan = json.loads(run(self.lockstep, "plan", there, "--samples", 1281167, "--json", *classes))
                self.assertEqual(plan["recipe"]["job"], job)

    def test_what_operators_use(self):
        share = self.tree / "share" / "lockstep" / "deploy"
        for name in ("run.sh", "launcher.sh", "slurm/mpirun.sbatch", "slurm/job.sh", "prometheus/alerts.yml", "grafana/lockstep.json",
                     "kubernetes/mpijob.yaml", "container/Dockerfile", "notebooks/metrics.ipynb"):
            self.assertEqual((share / name).read_bytes(), (FOLDER / name).read_bytes())
        self.assertTrue(os.access(share / "run.sh", os.X_OK))

    def test_manual_pages_and_completions(self):
        man = self.tree / "share" / "man" / "man1"
        self.assertEqual((man / "lockstep-train.1").read_text(), run(self.lockstep, "manual", "train"))
        for shell, place in (("bash", "bash-completion/completions/lockstep"), ("zsh", "zsh/site-functions/_lockstep"),
                             ("fish", "fish/vendor_completions.d/lockstep.fish")):
            self.assertEqual((self.tree / "share" / place).read_text(), run(self.lockstep, "completions", shell))


if __name__ == "__main__":
    unittest.main()
