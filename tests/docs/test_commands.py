"""Every command that the documents show is run by a test: here, or by one that is named here, or there is a reason why not."""

import os
import re
import shutil
import subprocess
import sys
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "integration"))
from support import LOCKSTEP, MPIRUN, RECIPE, RunTest, run  # noqa: E402
from test_dino import RECIPE as DINO_RECIPE  # noqa: E402

PROGRAMS = ("lockstep mpirun srun sbatch scontrol scancel cmake tensorboard find rm cp mkdir docker apptainer kubectl curl python3 "
            "touch source nvidia-smi").split()
# docs/measurements names the command of each figure: minutes on a quiet machine. What coming_from translates is others'.
FOREIGN = ("torchrun", "python", "composer")

# As they stand, but for these names.
NAMES = {"RECIPE": "runs/a3/recipe.toml", "RUN --task": "runs/dino --task", "RUN...": "runs/a3 runs/dino", "RUN": "runs/a3",
         "SET": "data/train", "gpu1:8,gpu2:8": "localhost:2", "16": "2", "ppr:8:node:PE=8": "ppr:2:node:PE=1",
         "a3.toml": "runs/a3/recipe.toml", "/shared/runs": "out",
         "OUT": "out", "DIR": "out", "VERB": "train", "F.safetensors": "weights.safetensors", "S": "0.05",
         "/shared/targets": "targets", "/etc/grafana": "etc/grafana", "/var/lib/grafana": "lib/grafana"}
RUN_HERE = """
lockstep VERB --help
lockstep metrics
lockstep manual
lockstep validate RECIPE
lockstep plan RECIPE
lockstep plan RECIPE --link 400Gb --step-seconds S
lockstep status RUN
lockstep verify RUN
lockstep plot RUN... --out DIR
lockstep data pack SET OUT
lockstep eval RECIPE --weights F.safetensors
lockstep eval RUN --task linear --set evaluation.linear_blocks=4
mpirun --host gpu1:8,gpu2:8 -np 16 --map-by ppr:8:node:PE=8 --bind-to core lockstep train a3.toml --run /shared/runs/a3
lockstep manual train | man -l -
source <(lockstep completions bash)
lockstep completions fish | source
tensorboard --logdir RUN
find /shared/targets -name '*.json' -mmin +60 -delete
rm -rf /dev/shm/lockstep-$SLURM_JOB_UID
cp -r deploy/grafana/provisioning/. /etc/grafana/provisioning/
mkdir -p /var/lib/grafana/dashboards/lockstep
cp deploy/grafana/*.json /var/lib/grafana/dashboards/lockstep/
python3 -c "import torch; from safetensors.torch import save_file; save_file(torch.load('dino_deitsmall16_pretrain.pth'), 'dino.safetensors')"
python3 -c "import json, pickle; json.dump(pickle.load(open('gnd_roxford5k.pkl', 'rb')), open('ground_truth.json', 'w'), default=lambda x: x.tolist())"
""".strip().splitlines()

# The test that runs it, on a small recipe and on hosts that are there: it has the verb, every option and every key. What README
# shows in the section that is run line by line has them in one line.
ELSEWHERE = {
    "README.md": """
        mpirun -np N lockstep train RECIPE --run DIR
        mpirun -np 8 lockstep train RECIPE
        mpirun -np 8 lockstep train a3.toml --run runs/a3
        mpirun -np 4 lockstep train jobs/rsb/recipes/a3_resnet50.toml --set data.train=/data/imagenet/train --set data.val=/data/imagenet/val
        mpirun -np 8 lockstep train jobs/dino/recipes/vit_small_16.toml --set data.train=/data/imagenet/train
        lockstep resume RUN
        lockstep eval RUN
        lockstep eval RUN --task attention --images DIR --out DIR
        lockstep eval SOURCE --task NAME --images DIR
        lockstep export RUN --format timm OUT
        lockstep export RUN --format dino OUT""",
    "tests/integration/test_hosts.py": "mpirun -np 16 --host a:8,b:8 lockstep train RECIPE",
    "tests/integration/test_restarts.py": """
        deploy/run.sh -np 16 --host a:8,b:8 -- RECIPE RUN
        deploy/run.sh -np 16 --host a:8,b:8,spare:8 -- RECIPE RUN""",
    "tests/integration/test_slurm.py": """
        SLURM_PMIX_FENCE=ring srun --mpi=pmix -n N lockstep train ...
        SLURM_PMIX_FENCE=ring srun --mpi=pmix -N 2 --ntasks-per-node=8 lockstep train a3.toml --run /shared/runs/a3
        srun --mpi=list
        export RECIPE=a3.toml RUN=/shared/runs/a3
        sbatch deploy/slurm/mpirun.sbatch --set data.train=/data/imagenet/train --set data.val=/data/imagenet/val
        sbatch --nodes=3 --ntasks-per-node=8 ...
        sbatch --array=1-3 deploy/slurm/srun.sbatch --set seed=%a
        deploy/slurm/chain.sh 4 --time=06:00:00 deploy/slurm/mpirun.sbatch
        scancel --batch --signal=USR2 JOB
        scancel JOB
        scontrol requeue JOB""",
    "tests/integration/test_requests.py": """
        lockstep resume RUN --set optimizer.learning_rate=1e-3 --allow-change optimizer.learning_rate
        lockstep ctl RUN stop
        lockstep ctl RUN checkpoint
        touch RUN/STOP
        touch RUN/CHECKPOINT""",
    "tests/integration/test_bench.py": """
        lockstep bench PART RECIPE
        lockstep bench data RECIPE
        lockstep bench sum RECIPE
        lockstep bench step RECIPE --profile
        lockstep bench data|sum|step|checkpoint RECIPE""",
    "tests/integration/test_preflight.py": "lockstep doctor [RECIPE|RUN] [--folder DIR] [--json]",
    "tests/deploy/test_install.py": "cmake --install build --prefix /opt/lockstep",
}

NOT_RUN = {
    "docker": "no Docker here; hadolint reads the file (deploy/test_containers.py), its steps are deploy/test_install.py's",
    "apptainer": "no Apptainer here; its sections are checked by deploy/test_containers.py",
    "SLURM_PMIX_FENCE=ring srun --mpi=pmix apptainer": "the same",
    "cmake --install build --prefix /opt/lockstep --component libtorch": "copies 4 GB; deploy/test_install.py lays a link there",
    "nvidia-smi": "no GPU here",
    "deploy/demo.sh": "installs, builds and trains for minutes: by hand, with its figures in docs/measurements",
    "deploy/setup.sh": "installs packages: tests/run.sh calls it before the tests",
    "deploy/build.sh": "tests/run.sh calls it before the tests",
    "tests/sanitize.sh": "builds for ten minutes: by hand",
    "tests/faults/run.py": "breaks runs on somebody's hosts, for minutes: ctest's `faults` is its short form",
    "tests/bench": "times against others, for minutes on a quiet machine: by hand, with its figures in docs/measurements",
}


# Modules that a test uses: what runs, submits and starts.
SHARED = [REPOSITORY / "tests" / "integration" / name for name in ("support.py", "cluster.py")]


def essence(command):
    """Patterns of what makes it this command: program, verb, options and the keys that are set."""
    words = re.sub(r"[][|]", " ", command).split()
    for before, word in zip(["", *words], words):
        if words[0] == "export":
            yield word.split("=")[0] + "=" if "=" in word else ""
        elif before == "--set":
            yield rf"\b{word.split('=')[0].rsplit('.', 1)[-1]}\b"
        elif word.startswith("-") and word != "--":
            yield rf"(?<![\w-]){word if word.startswith('--mpi=') else word.split('=')[0]}(?![\w-])"
        elif word == "lockstep":
            yield r"\bLOCKSTEP\b"
        elif re.fullmatch("[a-z]+", word):
            yield rf'"{word}"|\.{word}\('  # as a word of a call, or a method of a path
        elif re.match(r"(deploy/\S+|RUN)/\w+", word):
            yield rf'"{word.rsplit("/", 1)[1]}"'


def shows(text, command):
    return all(re.search(pattern, text) for pattern in essence(command))


def words_of(command):
    return re.sub(r"^([A-Z_]+=\S* )+", "", command).split()


def is_command(text):
    """Of words in running text: a program and what it is told. `lockstep plan` alone is the name of a verb."""
    words = words_of(text)
    if not words or words[0] in FOREIGN:
        return False
    if re.match(r"(deploy|tests)/[\w/]+\.(sh|py)$", words[0]):
        return len(words) > 1
    if text in ("srun --mpi=pmix", "lockstep plot RUN..."):  # named with what follows left out
        return False
    named = [word for word in words[1:] if not word.islower() or not word.isalpha()]
    return words[0] in PROGRAMS and (bool(named) or text in RUN_HERE)


def commands():
    """{command: its document}, without comments, continued lines joined."""
    found = {}
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()
    for name in listed:
        if name.startswith("docs/measurements"):
            continue
        text = (REPOSITORY / name).read_text()
        for block in re.findall(r"```\n(.*?)```", text, flags=re.DOTALL):
            if name == "README.md" and "build/lockstep" in block:
                continue  # all of it is run, line by line
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                line = re.sub(r"\s{2,}#.*", "", line).strip()
                if words_of(line) and (words_of(line)[0] in (*PROGRAMS, "export") or line.startswith(("deploy/", "tests/"))):
                    found[line] = name
        for code in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            code = " ".join(code.split())
            if is_command(code):
                found[code] = name
    return found


class Commands(RunTest):
    """A folder that looks like the clone to a command, in which README's section on training was run line by line: on small
    recipes under the names of the large ones, and with two ranks where it says more."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lay_out()
        cls.environment = {**os.environ, "PATH": f"{cls.folder}/bin:{os.environ['PATH']}", "LOCKSTEP": LOCKSTEP}
        section = (REPOSITORY / "README.md").read_text().split("## Training")[1].split("\n## ")[0]
        (block,) = re.findall(r"```\n(.*?)```", section, flags=re.DOTALL)
        cls.done = {}
        with ThreadPoolExecutor() as pool:  # each job's lines one after the other
            for done in pool.map(cls.run_lines, re.sub(r"\\\n", " ", block).split("\n\n")):
                cls.done |= done

    @classmethod
    def run_lines(cls, lines):
        return {line: subprocess.run(["bash", "-c", line.replace("/data/imagenet", str(cls.data))], cwd=cls.folder,
                                     env=cls.environment, capture_output=True, text=True, check=False, timeout=300)
                for line in lines.splitlines()}

    @classmethod
    def lay_out(cls):
        (cls.folder / "build").symlink_to(Path(LOCKSTEP).parent)
        (cls.folder / "deploy").symlink_to(REPOSITORY / "deploy")
        small = (("rsb", "a3_resnet50", RECIPE.replace("[model]\n", "[model]\nclasses = 10\n").replace("shards = 4\n", "")),
                 ("dino", "vit_small_16", DINO_RECIPE.replace(
                     "[evaluation]\n", "[evaluation]\nlinear_epochs = 1\nlinear_batch_size = 64\n")))
        for job, name, text in small:
            folder = cls.folder / "jobs" / job / "recipes"
            folder.mkdir(parents=True)
            (folder / f"{name}.toml").write_text(text.replace('"{data}/train"', '""').replace('"{data}/val"', '""'))
        (cls.folder / "photos").symlink_to(next((cls.data / "val").iterdir()))
        launcher = cls.folder / "bin" / "mpirun"
        launcher.parent.mkdir()
        launcher.write_text('#!/bin/sh\n[ "$1" != -np ] || { shift 2; set -- -np 2 --oversubscribe --bind-to none "$@"; }\n'
                            f'exec /usr/bin/mpirun {"--allow-run-as-root " if "--allow-run-as-root" in MPIRUN else ""}"$@"\n')
        launcher.chmod(0o755)

    def test_readmes_section_on_training(self):
        self.assertGreater(len(self.done), 12)
        for line, done in self.done.items():
            with self.subTest(command=line):
                self.assertEqual(done.returncode, 0, done.stderr)
        for name in ("my-resnet50/model.safetensors", "runs/a3/plots", "maps/sheet.png", "my-vit/checkpoint.pth"):
            self.assertTrue((self.folder / name).exists(), name)

    def test_every_command_is_run_somewhere(self):
        elsewhere = {" ".join(line.split()): file for file, lines in ELSEWHERE.items() for line in lines.strip().splitlines()}
        seen = commands()
        for command, document in seen.items():
            with self.subTest(document=document, command=command):
                self.assertTrue(command in RUN_HERE or command in elsewhere
                                or any(command.startswith(start) for start in NOT_RUN))
        stale = {*RUN_HERE, *elsewhere} - set(seen)
        self.assertEqual(stale, set())
        shared = "".join(file.read_text() for file in SHARED)
        for command, file in elsewhere.items():
            with self.subTest(command=command, file=file):
                texts = ([" ".join(f'"{word}"' for word in line.replace("build/lockstep", "LOCKSTEP").split()) for line in self.done]
                         if file == "README.md" else [(REPOSITORY / file).read_text() + shared])
                self.assertTrue(any(shows(text, command) for text in texts),
                                list(essence(command)))

    def test_what_a_test_lacks_is_seen(self):
        self.assertTrue(shows('call("srun", "--mpi=pmix", "-N", 2, LOCKSTEP, "train")', "srun --mpi=pmix -N 2 lockstep train ..."))
        for command in ("srun --mpi=list", "srun --mpi=pmix -n 2 lockstep train", "srun -N 2 lockstep resume RUN"):
            self.assertFalse(shows('call("srun", "--mpi=pmix", "-N", 2, LOCKSTEP, "train")', command), command)

    def prepare(self):
        """What the commands find."""
        for folder in ("targets", "etc/grafana/provisioning", "lib/grafana/dashboards/lockstep"):
            (self.folder / folder).mkdir(parents=True)
        old, new = self.folder / "targets/old.json", self.folder / "targets/new.json"
        old.touch()
        new.touch()
        os.utime(old, (time.time() - 7200,) * 2)
        done = run("export", self.folder / "runs/a3", "--format", "safetensors", self.folder / "weights.safetensors")
        self.ok(done)
        subprocess.run([sys.executable, "-c", "import torch, pickle, numpy; torch.save({'w': torch.ones(3)}, "
                        "'dino_deitsmall16_pretrain.pth'); pickle.dump({'a': numpy.arange(3)}, open('gnd_roxford5k.pkl', 'wb'))"],
                       cwd=self.folder, check=True)
        self.memory = Path(f"/dev/shm/lockstep-test{os.getpid()}")
        self.memory.mkdir()
        self.addCleanup(shutil.rmtree, self.memory, ignore_errors=True)

    def test_those_that_are_run_here(self):
        self.prepare()
        environment = {**self.environment, "SLURM_JOB_UID": f"test{os.getpid()}",
                       "PATH": f"{Path(LOCKSTEP).parent}:{Path(sys.executable).parent}:{self.environment['PATH']}"}

        def run_one(number):
            line = RUN_HERE[number]
            for name, is_here in NAMES.items():
                line = re.sub(rf"(?<![\w/]){re.escape(name)}(?![\w.=-])", is_here.replace("out", f"out{number}"), line)
            if line.startswith("tensorboard"):
                line += " --inspect"  # else it serves for ever
            shell = ["fish", "--no-config", "-c", line] if "fish" in line else ["bash", "-ec", f"set -o pipefail; {line}"]
            return line, subprocess.run(shell, cwd=self.folder, env=environment, capture_output=True, text=True, check=False,
                                        timeout=300)

        with ThreadPoolExecutor(2) as pool:
            for line, done in pool.map(run_one, range(len(RUN_HERE))):
                with self.subTest(command=line):
                    self.assertEqual(done.returncode, 0, done.stderr)
                    if line.startswith("tensorboard"):
                        self.assertIn("train/loss", done.stdout)
        self.assertEqual([file.name for file in (self.folder / "targets").iterdir()], ["new.json"])
        self.assertFalse(self.memory.exists())
        self.assertTrue((self.folder / "lib/grafana/dashboards/lockstep/lockstep_compare.json").exists())
        self.assertTrue((self.folder / "etc/grafana/provisioning/dashboards/lockstep.yml").exists())
        self.assertEqual((self.folder / "ground_truth.json").read_text(), '{"a": [0, 1, 2]}')
        self.assertTrue((self.folder / "dino.safetensors").exists())


if __name__ == "__main__":
    unittest.main()
