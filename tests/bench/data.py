#!/usr/bin/env python3
"""Times `lockstep bench data` beside other loaders and beside itself, on the same files, in turns.

    python tests/bench/data.py PICTURES [--threads 2] [--rounds 3] [--batches 64] [--only NAME]... [--json FILE]

PICTURES is a class-folder set of ImageNet's kind. The peers have as many workers as ours has threads: timm's loader
(ResNet-strikes-back's A2 augmentation), NVIDIA DALI's on the processor (crop, flip, normalise alone) where
`import nvidia.dali` works, and the official DINO code's multi-crop where DINO names a checkout. Pictures a second by the
clock, and the processor's milliseconds a picture, which a busy machine changes less. Only the ratios count, since machines
differ; their spread says how much to believe.
"""

import argparse
import ctypes
import json
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from steps import MPIRUN

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKSTEP = os.environ.get("LOCKSTEP") or str(REPOSITORY / "build" / "lockstep")
RSB = REPOSITORY / "jobs" / "rsb" / "recipes" / "a2_resnet50.toml"
DINO = REPOSITORY / "jobs" / "dino" / "recipes" / "vit_small_16.toml"
BATCH = 64
WARM_UP = 8  # batches
REPEATS = ("model.classes=0",)
A2 = (*REPEATS, "augmentation.repeats=1")
CROP_ALONE = (*A2, "augmentation.rand_augment=", "augmentation.mixup=0", "augmentation.cutmix=0")


def ours(options, recipe, *settings, pictures=None, threads=None):
    fixed = [f"data.train={pictures or options.pictures}", "data.val=", "precision=fp32", f"batch.size={BATCH}",
             "batch.shards=1", *settings]
    command = [LOCKSTEP, "bench", "data", str(recipe), "--threads", str(threads or options.threads)]
    for setting in fixed:
        command += ["--set", setting]
    return lambda batches: [*command, "--steps", str(batches)]


def theirs(options, peer):
    command = [sys.executable, __file__, options.pictures, "--threads", str(options.threads), "--peer", peer.__name__]
    return lambda batches: [*command, "--batches", str(batches)]


def measure(command_of, batches):
    """Pictures a second, and milliseconds of all processors a picture: of a long launch, less a short one."""
    seconds = []
    for count in (WARM_UP, WARM_UP + batches):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command_of(count), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command_of(count))}\n{done.stderr}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    rate = json.loads(done.stdout.splitlines()[-1])["images_per_second"]
    return rate, 1000 * (seconds[1] - seconds[0]) / (batches * BATCH)


# --- The peers, each in a process of its own


def time_peer(loader, batches):
    """`loader` yields the size of each batch and never ends."""
    pictures, start = 0, 0.0
    for number, size in enumerate(loader):
        if number == WARM_UP - 1:
            start = time.perf_counter()
        elif number >= WARM_UP:
            pictures += size
        if number + 1 == batches:
            break
    print(json.dumps({"images_per_second": pictures / (time.perf_counter() - start)}))


def forever(loader):
    while True:
        for _, labels in loader:
            yield len(labels)


def timm_loader(options):
    import timm.data
    import torch

    torch.set_num_threads(1)
    dataset = timm.data.create_dataset("", root=options.pictures, is_training=True)
    loader = timm.data.create_loader(
        dataset, (3, 224, 224), BATCH, is_training=True, auto_augment="rand-m7-mstd0.5-inc1",
        interpolation="bicubic", num_workers=options.threads, use_prefetcher=False,
        device=torch.device("cpu"), persistent_workers=True)
    return forever(loader)


def dino_loader(options):
    import torch
    from torchvision.datasets import ImageFolder

    sys.path.insert(0, os.environ["DINO"])
    from main_dino import DataAugmentationDINO

    torch.set_num_threads(1)
    dataset = ImageFolder(options.pictures, DataAugmentationDINO((0.4, 1.0), (0.05, 0.4), 8))
    loader = torch.utils.data.DataLoader(dataset, BATCH, shuffle=True, num_workers=options.threads, drop_last=True)
    return forever(loader)


def dali_loader(options):
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=BATCH, num_threads=options.threads, device_id=None, prefetch_queue_depth=2)
    def pipeline():
        files, labels = fn.readers.file(file_root=options.pictures, random_shuffle=True)
        images = fn.decoders.image_random_crop(files, random_area=[0.08, 1.0], random_aspect_ratio=[0.75, 4 / 3])
        images = fn.resize(images, size=[224, 224], interp_type=types.INTERP_CUBIC, antialias=True)
        return fn.crop_mirror_normalize(images, dtype=types.FLOAT, output_layout="HWC", mean=[123.7, 116.3, 103.5],
                                        std=[58.4, 57.1, 57.4], mirror=fn.random.coin_flip()), labels

    built = pipeline()
    built.build()

    while True:
        built.run()
        yield BATCH


PEERS = {peer.__name__: peer for peer in (timm_loader, dali_loader, dino_loader)}


def why_absent(peer):
    if peer is dino_loader and not os.environ.get("DINO"):
        return "DINO names no checkout of the official code"
    if peer is dali_loader:
        try:
            import nvidia.dali  # noqa: F401
        except ImportError:
            return "`import nvidia.dali` does not work here"
    return ""


# --- Comparisons: rounds in turns, and what is asked


class OpensOf:
    """How often a file in a folder, or in one right below it, is opened while it lives, as the kernel counts."""

    IN_OPEN, IN_ISDIR, EVENT = 0x20, 0x40000000, struct.Struct("iIII")

    def __init__(self, folder):
        libc = ctypes.CDLL(None, use_errno=True)
        self.events = libc.inotify_init1(os.O_NONBLOCK)
        for place in [folder, *(entry for entry in Path(folder).iterdir() if entry.is_dir())]:
            if libc.inotify_add_watch(self.events, os.fsencode(str(place)), self.IN_OPEN) < 0:
                raise OSError(ctypes.get_errno(), "inotify", str(place))

    def count(self):
        opens = 0
        while True:
            try:
                events = os.read(self.events, 1 << 20)
            except BlockingIOError:
                return opens
            at = 0
            while at < len(events):
                _, mask, _, length = self.EVENT.unpack_from(events, at)
                opens += length > 0 and not mask & self.IN_ISDIR
                at += self.EVENT.size + length


def opens_of(folder, command):
    opens = OpensOf(folder)
    subprocess.run(command, check=True, capture_output=True)
    return opens.count()


def compare(options, what, asked, first, second, batches=None):
    batches = batches or options.batches
    rounds = [(measure(first, batches), measure(second, batches)) for _ in range(options.rounds)]
    clock = sorted(mine[0] / other[0] for mine, other in rounds)
    figure = {
        "what": what, "asked": asked, "ratio": statistics.median(clock), "ratios": clock,
        "ratio_by_the_processor": statistics.median(other[1] / mine[1] for mine, other in rounds),
        "images_per_second": [[round(mine[0], 1), round(other[0], 1)] for mine, other in rounds],
        "processor_milliseconds": [[round(mine[1], 3), round(other[1], 3)] for mine, other in rounds]}
    rates = [statistics.median(pair[side] for pair in figure["images_per_second"]) for side in (0, 1)]
    print(f"{what}: {figure['ratio']:.2f} times (asked {asked:g}; {clock[0]:.2f} to {clock[-1]:.2f}; by the processor "
          f"{figure['ratio_by_the_processor']:.2f}); {rates[0]:.0f} and {rates[1]:.0f} images/s", flush=True)
    return figure


def beside(peer, what, asked, recipe, *settings, share=1):
    """`share`: so many times fewer batches, of a slow peer."""
    def comparison(options):
        why = why_absent(peer)
        if why:
            print(f"{what}: left out, {why}", flush=True)
            return {"what": what, "asked": asked, "left_out": why}
        return compare(options, what, asked, ours(options, recipe, *settings), theirs(options, peer),
                       options.batches // share)
    return comparison


def threads(options):
    return compare(options, f"A2, {options.threads} threads beside one", 0.95 * options.threads,
                   ours(options, RSB, *A2), ours(options, RSB, *A2, threads=1))


def processes(options):
    """What the machine gives to as many threads that know nothing of each other."""
    alone = ours(options, RSB, *A2, f"batch.shards={options.threads}", threads=1)
    launcher = [*MPIRUN[:-1], str(options.threads)]
    return compare(options, f"A2, {options.threads} threads beside as many processes of one thread", 1.0,
                   ours(options, RSB, *A2), lambda batches: [*launcher, *alone(batches)])


def files(options):
    """Eight names of each picture: the set is larger, the pictures are the same."""
    with tempfile.TemporaryDirectory(dir=Path(options.pictures).resolve().parent) as folder:
        count = 0
        for picture in sorted(path for path in Path(options.pictures).glob("*/*") if path.is_file()):
            (Path(folder) / picture.parent.name).mkdir(exist_ok=True)
            for number in range(8):
                os.link(picture, Path(folder) / picture.parent.name / f"{number}-{picture.name}")
            count += 1
        return compare(options, f"A2 of {8 * count} files beside {count}", 1.0,
                       ours(options, RSB, *A2, pictures=folder), ours(options, RSB, *A2), 2 * options.batches)


def shards(options):
    with tempfile.TemporaryDirectory(dir=Path(options.pictures).resolve().parent) as folder:
        packed = Path(folder) / "shards"
        subprocess.run([LOCKSTEP, "data", "pack", options.pictures, packed], check=True, capture_output=True)
        of_shards, of_folders = ours(options, RSB, *A2, pictures=packed), ours(options, RSB, *A2)
        figure = compare(options, "A2 from tar shards beside folders, both in the system's memory", 1.0, of_shards,
                         of_folders)
        figure["opens"] = [opens_of(packed, of_shards(options.batches)),
                           opens_of(options.pictures, of_folders(options.batches))]
        print(f"files opened for {options.batches * BATCH} pictures: {figure['opens'][0]} beside {figure['opens'][1]} "
              f"(asked 1/1000)", flush=True)
        return figure


COMPARISONS = {
    "timm": beside(timm_loader, "A2 beside timm's loader", 3.0, RSB, *A2),
    "repeats": beside(timm_loader, "A2 with its three repeats of a picture beside timm's loader", 3.0, RSB, *REPEATS),
    "dali": beside(dali_loader, "crop, flip and normalise beside DALI's, cubic", 2.0, RSB, *CROP_ALONE),
    "dino": beside(dino_loader, "DINO, 2 x 224 and 8 x 96 pixels, beside the official code", 6.0, DINO, share=4),
    "threads": threads,
    "processes": processes,
    "files": files,
    "shards": shards,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=64)
    parser.add_argument("--only", action="append", choices=COMPARISONS)
    parser.add_argument("--json", help="also write all figures to this file; what it has of others stays")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        time_peer(PEERS[options.peer](options), options.batches)
        return
    figures = {name: COMPARISONS[name](options) for name in options.only or COMPARISONS}
    if options.json:
        out = Path(options.json)
        before = json.loads(out.read_text())["figures"] if out.exists() else {}
        record = {"date": date.today().isoformat(), "cores": os.cpu_count(), "threads": options.threads,
                  "figures": {**before, **figures}}
        out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
