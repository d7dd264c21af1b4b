#!/usr/bin/env python3
"""Times `lockstep bench data` beside other loaders, on the same files, in turns, with as many threads as they have workers.

    python tests/bench/data.py PICTURES [--threads 2] [--rounds 3] [--batches 64]

PICTURES is a class-folder set of ImageNet's kind. Beside timm's loader (ResNet-strikes-back's A2 augmentation) stand
NVIDIA DALI's on the processor (crop, flip, normalise alone) where `import nvidia.dali` works, and the official DINO
code's multi-crop where DINO names a checkout. One JSON line each, with pictures a second by the clock, and with the
processor's milliseconds a picture, which a busy machine changes less. Only the ratios count, since machines differ.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKSTEP = os.environ.get("LOCKSTEP") or str(REPOSITORY / "build" / "lockstep")
RSB = REPOSITORY / "jobs" / "rsb" / "recipes" / "a2_resnet50.toml"
DINO = REPOSITORY / "jobs" / "dino" / "recipes" / "vit_small_16.toml"
BATCH = 64
WARM_UP = 8  # batches


def ours(options, recipe, *settings):
    fixed = [f"data.train={options.pictures}", f"data.threads={options.threads}", "precision=fp32",
             f"batch.size={BATCH}", "batch.shards=1", *settings]
    command = [LOCKSTEP, "bench", "data", str(recipe)]
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
        out = subprocess.run(command_of(count), check=True, capture_output=True, text=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    rate = json.loads(out.splitlines()[-1])["images_per_second"]
    return rate, 1000 * (seconds[1] - seconds[0]) / (batches * BATCH)


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


def has_dali():
    try:
        import nvidia.dali  # noqa: F401
    except ImportError:
        return False
    return True


def compare(options, name, peer, recipe, *settings):
    rounds = [(measure(ours(options, recipe, *settings), options.batches),
               measure(theirs(options, peer), options.batches)) for _ in range(options.rounds)]
    print(json.dumps({
        "beside": name, "threads": options.threads,
        "ratio_by_the_clock": round(statistics.median(mine[0] / other[0] for mine, other in rounds), 2),
        "ratio_by_the_processor": round(statistics.median(other[1] / mine[1] for mine, other in rounds), 2),
        "images_per_second": [[round(mine[0]), round(other[0])] for mine, other in rounds],
        "processor_milliseconds": [[round(mine[1], 2), round(other[1], 2)] for mine, other in rounds]}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=64)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peers = {peer.__name__: peer for peer in (timm_loader, dali_loader, dino_loader)}
        time_peer(peers[options.peer](options), options.batches)
        return
    rsb = (RSB, "model.classes=0", "augmentation.repeats=1")
    compare(options, "timm, RandAugment", timm_loader, *rsb)
    compare(options, "timm, RandAugment, ours with A2's three repeats of a picture", timm_loader, *rsb[:2])
    if has_dali():
        compare(options, "DALI, cubic", dali_loader, *rsb, "augmentation.rand_augment=", "augmentation.mixup=0",
                "augmentation.cutmix=0")
    if os.environ.get("DINO"):
        compare(options, "official DINO, 2 x 224 and 8 x 96", dino_loader, DINO)


if __name__ == "__main__":
    main()
