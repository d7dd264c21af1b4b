"""Runs the lockstep binary and reads what it writes, for the tests that hold it against timm and Pillow."""

import json
import os
import subprocess
import tempfile
import unittest
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKSTEP = os.environ.get("LOCKSTEP") or str(REPOSITORY / "build" / "lockstep")
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
FILL = (124, 116, 104)
CLASSES = 10

MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]

BASE_RECIPE = {
    "job": "rsb",
    "seed": 0,
    "precision": "fp32",
    "data": {"threads": 2},
    "batch": {"size": 16, "shards": 1},
    "model": {"name": "resnet18", "classes": 0, "drop_path": 0.0},
    "augmentation": {
        "size": 64,
        "eval_size": 64,
        "eval_crop": 0.95,
        "scale": [0.08, 1.0],
        "ratio": [0.75, 1.3333333333333333],
        "flip": 0.5,
        "interpolation": "bicubic",
        "repeats": 1,
        "rand_augment": "rand-m6-mstd0.5-inc1",
        "mixup": 0.1,
        "cutmix": 1.0,
    },
    "loss": {"name": "bce", "target_threshold": -1.0, "smoothing": 0.0},
    "optimizer": {"name": "lamb", "learning_rate": 3e-4, "weight_decay": 0.02},
    "schedule": {
        "epochs": 1,
        "warmup_epochs": 0,
        "warmup_learning_rate": 1e-6,
        "min_learning_rate": 1e-6,
        "per_update": False,
    },
    "average": {"decay": 0.0},
    "log": {"every": 1},
}


class LockstepFailed(Exception):
    pass


def run_lockstep(*arguments, ranks=1, **extra):
    """Standard output of one call; raises with the program's messages where it fails."""
    command = [LOCKSTEP, *map(str, arguments)]
    if ranks > 1:
        command = [*MPIRUN, "-np", str(ranks), *command]
    threads = "1" if ranks > 1 else "2"
    environment = {"OMP_NUM_THREADS": threads, "OMPI_MCA_mpi_yield_when_idle": "1", **os.environ, **extra}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise LockstepFailed(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stderr}{done.stdout}")
    return done.stdout


def run_lockstep_json(*arguments, ranks=1):
    return json.loads(run_lockstep(*arguments, ranks=ranks))


def in_parallel(function, items, workers=2):
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))


def make_data(directory, train, validation, side):
    """Ten class folders of drawn pictures, `train` and `validation` a class."""
    run_lockstep("data", "make", directory, "--train", train, "--validation", validation, "--side", side)
    return Path(directory)


def make_noise_data(directory, per_class, side, seed=0):
    """Class folders of noise, in which two pictures agree almost nowhere."""
    generator = np.random.default_rng(seed)
    for part in ("train", "val"):
        for label in range(CLASSES):
            folder = Path(directory) / part / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(per_class):
                pixels = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)
    return Path(directory)


def toml_of(settings):
    scalars = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if not isinstance(value, dict)]
    tables = [f"\n[{key}]\n{toml_of(value)}" for key, value in settings.items() if isinstance(value, dict)]
    return "\n".join(scalars + tables) + "\n"


def merged(base, changes):
    result = dict(base)
    for key, value in changes.items():
        result[key] = merged(base.get(key, {}), value) if isinstance(value, dict) else value
    return result


def write_recipe(path, data=None, **changes):
    """The small recipe above with `changes`, one dictionary a table, on the pictures under `data`."""
    settings = merged(BASE_RECIPE, changes)
    if data is not None:
        settings = merged(settings, {"data": {"train": str(Path(data) / "train"), "val": str(Path(data) / "val")}})
    Path(path).write_text(toml_of(settings))
    return Path(path)


def read_metrics(run):
    """The logged steps by their number."""
    lines = (Path(run) / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return {row["step"]: row for row in rows if "loss" in row and "learning_rate" in row}


def read_batch(source, step, out, shard=0):
    run_lockstep("batch", source, "--step", step, "--shard", shard, "--out", out)
    return load_file(out)


def exported_weights(run, out, average=False):
    extra = ["--average"] if average else []
    run_lockstep("export", run, "--format", "timm", out, *extra)
    return load_file(weights_file(out))


def weights_file(out):
    """The one safetensors file that an export wrote: `out` itself or inside the folder `out`."""
    out = Path(out)
    if out.is_file():
        return out
    (found,) = out.glob("*.safetensors")
    return found


def starting_model(name, classes=CLASSES, seed=0, **settings):
    """timm's model from where twenty steps of LAMB do not blow up rounding."""
    torch.manual_seed(seed)
    model = timm.create_model(name, num_classes=classes, **settings)
    if name.startswith("vit"):
        return model
    last_norm = "bn3.weight" if hasattr(model.layer1[0], "bn3") else "bn2.weight"
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.startswith("layer") and key.endswith(last_norm):
                value.fill_(0.1)
        model.fc.weight.mul_(8)
        model.fc.bias.mul_(8)
    return model


def save_weights(model, path):
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return Path(path)


def relative_distance(ours, theirs, keys):
    """Norm of the difference over the norm of `theirs`, of all `keys` together."""
    difference = sum(float((ours[key].double() - theirs[key].double()).square().sum()) for key in keys)
    size = sum(float(theirs[key].double().square().sum()) for key in keys)
    return (difference / size) ** 0.5


class ParityTest(unittest.TestCase):
    """A test with a folder of its own."""

    @classmethod
    def setUpClass(cls):
        warnings.simplefilter("ignore", ResourceWarning)
        torch.set_num_threads(1)  # several spin while they wait for each other, on a busy machine for ever
        cls._folder = tempfile.TemporaryDirectory(prefix="lockstep-parity-")
        cls.folder = Path(cls._folder.name)

    @classmethod
    def tearDownClass(cls):
        cls._folder.cleanup()
