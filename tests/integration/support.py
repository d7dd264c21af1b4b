"""Runs whole jobs, breaks them, and reads what they leave, for the tests of whole runs."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKSTEP = os.environ.get("LOCKSTEP") or str(REPOSITORY / "build" / "lockstep")
RUN_SH = REPOSITORY / "deploy" / "run.sh"
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none"]
if os.geteuid() == 0:
    MPIRUN.append("--allow-run-as-root")

# Small enough for seconds, with everything on that could part the bits.
RECIPE = """\
job = "rsb"
seed = 3
precision = "fp32"

[data]
train = "{data}/train"
val = "{data}/val"

[batch]
size = 16
shards = 4

[model]
name = "vit_tiny_patch16_224"
drop_path = 0.1

[augmentation]
size = 32
eval_size = 32
repeats = 2
rand_augment = "rand-m7-mstd0.5-inc1"
mixup = 0.2
cutmix = 1.0

[loss]
name = "bce"
smoothing = 0.1

[optimizer]
name = "lamb"
learning_rate = 5e-3
weight_decay = 0.02

[schedule]
epochs = 2
warmup_epochs = 1

[average]
decay = 0.9

[evaluation]
every = 2

[checkpoint]
every = 5
keep = 3
memory_every = 0

[log]
every = 1
weights_hash = true

[monitoring]
port = -1
"""

RESNET = RECIPE.replace("vit_tiny_patch16_224", "resnet18")  # twice as slow, and has statistics to sum


class Done:
    def __init__(self, process):
        self.code = process.returncode
        self.out = process.stdout
        self.err = process.stderr


def command(arguments, ranks=1):
    line = [LOCKSTEP, *map(str, arguments)]
    return line if ranks == 1 else [*MPIRUN, "-np", str(ranks), *line]


def environment(extra):
    return {**os.environ, **{name: str(value) for name, value in extra.items()}}


def run(*arguments, ranks=1, **extra):
    """The call to its end; keyword arguments are environment variables."""
    process = subprocess.run(command(arguments, ranks), capture_output=True, text=True, timeout=300,
                             env=environment(extra), check=False)
    return Done(process)


def start(*arguments, ranks=1, **extra):
    return subprocess.Popen(command(arguments, ranks), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=environment(extra), start_new_session=True)


def finish(process):
    """Waits for it; whatever of its session is left over is killed."""
    try:
        out, err = process.communicate(timeout=300)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if err is None:
        err = process.words.read_text()
    process.stdout, process.stderr = out, err
    return Done(process)


def ranks_of(launcher):
    """The processes that an mpirun started, in the order of their ranks."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) != launcher.pid:
                continue
            variables = (entry.parent / "environ").read_bytes().split(b"\0")
            rank = next(v for v in variables if v.startswith(b"OMPI_COMM_WORLD_RANK="))
            found.append((int(rank.split(b"=")[1]), int(entry.parent.name)))
        except (OSError, StopIteration):
            continue
    return [process for _, process in sorted(found)]


def children_of(process):
    children = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in children.read_text().split()] if children.exists() else []


class Launcher:
    """An mpirun by its process number, as ranks_of() wants it."""

    def __init__(self, pid):
        self.pid = pid


def rows(folder):
    file = Path(folder) / "metrics.jsonl"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]


def wait_for_step(folder, step, process):
    """Returns once the run has logged the step; fails where it ends before."""
    while not any(row["step"] >= step for row in rows(folder)):
        if process.poll() is not None:
            raise AssertionError(f"the job ended with {process.returncode}: {finish(process).err}")
        time.sleep(0.01)


def hashes(folder):
    return {row["step"]: row["weights_hash"] for row in rows(folder)}


class RunTest(unittest.TestCase):
    """A folder for each class of tests with a data set `data` and the recipe `recipe` in it."""

    maxDiff = None
    recipe_text = RECIPE

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="lockstep-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.data = cls.folder / "data"
        made = run("data", "make", cls.data, "--train", 20, "--validation", 4, "--side", 40)
        assert made.code == 0, made.err
        cls.recipe = cls.write_recipe("recipe.toml", cls.recipe_text)

    @classmethod
    def write_recipe(cls, name, text=None):
        path = cls.folder / name
        path.write_text((text or RECIPE).replace("{data}", str(cls.data)))
        return path

    def killed(self, arguments, folder, step, ranks=2):
        """Starts a job and kills its last rank once `step` is logged."""
        process = start(*arguments, ranks=ranks)
        try:
            wait_for_step(folder, step, process)
            os.kill(ranks_of(process)[-1], signal.SIGKILL)
        finally:
            done = finish(process)
        self.assertNotEqual(done.code, 0)

    def ok(self, done):
        self.assertEqual(done.code, 0, done.err)
        return done

    def assert_error(self, done, code, identity, *fragments):
        """One message with this number and these words, this exit code, and no trace of the program."""
        self.assertEqual(done.code, code, done.err)
        self.assertEqual(done.err.count("error["), 1, done.err)
        self.assertIn(f"error[{identity}]:", done.err)
        for fragment in fragments:
            self.assertIn(fragment, done.err)
        for trace in ("terminate called", "frame #", "Traceback", "core dumped", "Segmentation"):
            self.assertNotIn(trace, done.err)


class SameRunTest(RunTest):
    """With a whole run of the recipe that others must equal, to the last bit of every column `same`."""

    STEPS = 24  # 2 epochs of 12
    same = ("weights_hash",)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.reference = cls.folder / "reference"
        done = run("train", cls.recipe, "--run", cls.reference)
        assert done.code == 0, done.err
        cls.expected = rows(cls.reference)

    def assert_same_run(self, folder):
        ours = rows(folder)
        self.assertEqual([row["step"] for row in ours], list(range(1, self.STEPS + 1)))
        for name in self.same:
            self.assertEqual([row[name] for row in ours], [row[name] for row in self.expected], name)


class RestartedTest(SameRunTest):
    """Runs that deploy/run.sh starts again, with a copy in memory after every step."""

    def start(self, folder, *arguments, ranks=2, options=(), **extra):
        memory = self.folder / f"memory-{folder.name}"
        memory.mkdir()
        line = [RUN_SH, *options, "-np", ranks, *MPIRUN[1:], "--", self.recipe, folder,
                "--set", "checkpoint.memory_every=1", "--set", f"checkpoint.memory_folder={memory}", *arguments]
        words = self.folder / f"{folder.name}.err"  # a pipe would be full after many restarts
        with words.open("w") as stream:
            script = subprocess.Popen([str(word) for word in line], stdout=stream, stderr=stream, start_new_session=True,
                                      env=environment({"LOCKSTEP": LOCKSTEP, "MPIRUN": MPIRUN[0], **extra}))
        script.words = words
        return script

    def launcher_of(self, script):
        """The mpirun that the script runs now; None between two."""
        for child in children_of(script.pid):
            try:
                if b"mpirun" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0]:
                    return Launcher(child)
            except OSError:
                continue
        return None
