"""What steps.py times beside ours: PyTorch, timm and the official DINO code, one function a peer. Each rank calls it; the
first prints one JSON line.

    mpirun -np 2 python tests/bench/peers.py NAME STEPS
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

WARM_UP = 2


def join_world():
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=os.environ.get("MASTER_PORT", "29517"),
                      RANK=os.environ["OMPI_COMM_WORLD_RANK"], WORLD_SIZE=os.environ["OMPI_COMM_WORLD_SIZE"])
    dist.init_process_group("gloo")
    torch.manual_seed(dist.get_rank())
    return torch, dist


def report(dist, **numbers):
    if dist.get_rank() == 0:
        print(json.dumps(numbers), flush=True)
    dist.destroy_process_group()


def median_seconds(dist, step, steps):
    seconds = []
    for _ in range(WARM_UP + steps):
        dist.barrier()
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP:])


def timm_step(steps):
    torch, dist = join_world()
    import timm
    from timm.loss import BinaryCrossEntropy
    from timm.optim import create_optimizer_v2
    from torch.nn.parallel import DistributedDataParallel

    last = torch.channels_last
    model = DistributedDataParallel(timm.create_model("resnet50").to(memory_format=last), gradient_as_bucket_view=True)
    optimizer = create_optimizer_v2(model, opt="lamb", lr=1e-3, weight_decay=0.02)
    average = timm.utils.ModelEmaV3(model.module, decay=0.9999)
    criterion = BinaryCrossEntropy(smoothing=0.0, target_threshold=0.2)
    images = torch.randn(16, 3, 160, 160).contiguous(memory_format=last)
    targets = torch.zeros(16, 1000).scatter_(1, torch.randint(0, 1000, (16, 1)), 1.0)

    def step():
        criterion(model(images), targets).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        average.update(model.module)

    report(dist, images_per_second=16 * dist.get_world_size() / median_seconds(dist, step, steps))


def timm_vit_step(steps):
    torch, dist = join_world()
    import timm
    from timm.loss import BinaryCrossEntropy
    from timm.optim import create_optimizer_v2
    from torch.nn.parallel import DistributedDataParallel

    model = DistributedDataParallel(timm.create_model("vit_small_patch16_224"), gradient_as_bucket_view=True)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
    criterion = BinaryCrossEntropy(smoothing=0.0, target_threshold=0.2)
    images = torch.randn(16, 3, 224, 224)
    targets = torch.zeros(16, 1000).scatter_(1, torch.randint(0, 1000, (16, 1)), 1.0)

    def step():
        criterion(model(images), targets).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    report(dist, images_per_second=16 * dist.get_world_size() / median_seconds(dist, step, steps))


def dino_step(steps):
    torch, dist = join_world()
    sys.path.insert(0, os.environ["DINO"])
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_, **__: self  # it is written for GPUs alone
    import utils
    import vision_transformer
    from main_dino import DINOLoss
    from torch.nn.parallel import DistributedDataParallel
    from vision_transformer import DINOHead

    outputs, each = 65536, 4
    student, teacher = (vision_transformer.vit_small(patch_size=16, drop_path_rate=rate) for rate in (0.1, 0.0))
    student = utils.MultiCropWrapper(student, DINOHead(384, outputs, norm_last_layer=False))
    teacher = utils.MultiCropWrapper(teacher, DINOHead(384, outputs))
    student = DistributedDataParallel(student, gradient_as_bucket_view=True)
    teacher.load_state_dict(student.module.state_dict())
    teacher.requires_grad_(False)
    criterion = DINOLoss(outputs, 10, 0.04, 0.07, 30, 100)
    optimizer = torch.optim.AdamW(utils.get_params_groups(student), lr=1e-4, weight_decay=0.04)
    crops = [torch.randn(each, 3, side, side) for side in [224] * 2 + [96] * 8]

    def step():
        with torch.no_grad():
            targets = teacher(crops[:2])
        loss = criterion(student(crops), targets, 50)
        optimizer.zero_grad()
        loss.backward()
        utils.clip_gradients(student, 3.0)
        utils.cancel_gradients_last_layer(50, student, 1)
        optimizer.step()
        with torch.no_grad():
            for mine, follower in zip(student.module.parameters(), teacher.parameters()):
                follower.mul_(0.996).add_(0.004 * mine.detach())

    report(dist, images_per_second=each * dist.get_world_size() / median_seconds(dist, step, steps))


def gloo_sum(steps):
    torch, dist = join_world()
    large, small = torch.ones(25_610_496), torch.ones(1024)
    seconds = median_seconds(dist, lambda: dist.all_reduce(large), 2 * steps)
    report(dist, seconds=seconds, small_sum_seconds=median_seconds(dist, lambda: dist.all_reduce(small), 200))


def first_step(_):
    torch, dist = join_world()
    import timm
    from timm.optim import create_optimizer_v2

    model = torch.nn.parallel.DistributedDataParallel(timm.create_model("resnet18", num_classes=10))
    optimizer = create_optimizer_v2(model, opt="lamb", lr=1e-3)
    model(torch.randn(16, 3, 32, 32)).sum().backward()
    optimizer.step()
    report(dist)


def torch_save(steps):
    torch, dist = join_world()
    if dist.get_rank() == 0:
        import timm
        from timm.optim import create_optimizer_v2

        model = timm.create_model("resnet50")
        optimizer = create_optimizer_v2(model, opt="lamb", lr=1e-3)
        average = timm.utils.ModelEmaV3(model, decay=0.9999)
        model(torch.randn(1, 3, 64, 64).repeat(2, 1, 1, 1)).sum().backward()
        optimizer.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average.state_dict()}
        seconds = []
        with tempfile.TemporaryDirectory() as folder:
            for i in range(WARM_UP + steps):
                start = time.perf_counter()
                with open(Path(folder) / f"{i % 2}.pt", "wb") as file:
                    torch.save(state, file)
                    file.flush()
                    os.fsync(file.fileno())
                seconds.append(time.perf_counter() - start)
        print(json.dumps({"stall_seconds": statistics.median(seconds[WARM_UP:])}), flush=True)
    dist.barrier()
    dist.destroy_process_group()


PEERS = {function.__name__: function for function in (timm_step, timm_vit_step, dino_step, gloo_sum, first_step, torch_save)}


if __name__ == "__main__":
    PEERS[sys.argv[1]](int(sys.argv[2]))
