"""A step in PyTorch, timed: the peer of `moco bench step`.

    python3 bench/peers/torch_step.py --backbone resnet18 --size 32 --batch-size 64 --variant eager

Three kinds of work, f32, on one random batch:

    method   MoCo: query forward and backward, key forward, moving average, SGD, queue
    train    network and a linear layer of 1000 classes: forward, cross-entropy, backward, SGD for
             ResNets and AdamW for transformers
    forward  the network without a head, in evaluation and inference mode

Prints one JSON object as its last line. Variants: `eager` (NCHW), `channels-last`, `compiled`
(channels-last under torch.compile; inference is frozen first, which folds BatchNorm). `--device
cuda` runs it there, with PyTorch's own default for convolutions (TF32); `--precision` f32 or tf32
sets it for these and for products, bf16 and f16 run the networks under autocast, f16 with a scaled loss. With `--count` it runs one step and tells its floating-point operations, a multiply-add as two, as the
direct algorithm of each layer takes them.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy

import timm
import torch
import torch._inductor.config
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

WARM_UP = 3
DIM, KEYS, MOMENTUM, TEMPERATURE = 128, 4096, 0.999, 0.07
CLASSES = 1000
TRANSFORMERS = {"vit-tiny": "vit_tiny_patch16_224", "vit-small": "vit_small_patch16_224"}


def network(args: argparse.Namespace, outputs: int) -> nn.Module:
    """torchvision's ResNet or timm's transformer with a linear layer; with none for 0 outputs."""
    if args.backbone in TRANSFORMERS:
        name = TRANSFORMERS[args.backbone]
        return timm.create_model(name, num_classes=outputs, img_size=args.size)
    net = torchvision.models.get_model(args.backbone, num_classes=max(outputs, 1))
    if outputs == 0:
        net.fc = nn.Identity()
    if args.stem == "cifar":
        net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        net.maxpool = nn.Identity()
    return net


def layout(args: argparse.Namespace) -> torch.memory_format:
    return torch.contiguous_format if args.variant == "eager" else torch.channels_last


def images(args: argparse.Namespace) -> Tensor:
    shape = args.batch_size, 3, args.size, args.size
    return torch.rand(shape).contiguous(memory_format=layout(args))


HALF = {"bf16": torch.bfloat16, "f16": torch.float16}


def half(args: argparse.Namespace) -> AbstractContextManager:
    """Autocast, if the precision asks for it."""
    kind = HALF.get(args.precision)
    return torch.autocast(args.device.split(":")[0], kind) if kind else nullcontext()


def scaler(args: argparse.Namespace) -> torch.amp.GradScaler:
    return torch.amp.GradScaler(args.device.split(":")[0], enabled=args.precision == "f16")


def learn(loss: Tensor, optimiser: torch.optim.Optimizer, scale: torch.amp.GradScaler) -> None:
    optimiser.zero_grad()
    scale.scale(loss).backward()
    scale.step(optimiser)
    scale.update()


class MocoStep:
    """Two encoders, a queue and SGD."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.scaler = args, scaler(args)
        self.query = network(args, DIM).to(memory_format=layout(args)).train()
        self.key = deepcopy(self.query).requires_grad_(False)
        self.pairs = list(self.key.parameters()), list(self.query.parameters())
        self.queue = F.normalize(torch.randn(DIM, KEYS), dim=0)
        self.ptr = 0
        self.optimiser = torch.optim.SGD(self.pairs[1], lr=1e-3, momentum=0.9, weight_decay=1e-4)
        self.views = [images(args) for _ in range(2)]
        compiled = args.variant == "compiled"
        self.run_query = torch.compile(self.query) if compiled else self.query
        self.run_key = torch.compile(self.key) if compiled else self.key

    def loss(self) -> tuple[Tensor, Tensor]:
        with half(self.args):
            q = self.run_query(self.views[0])
        q = F.normalize(q.float())
        with torch.no_grad():
            torch._foreach_lerp_(*self.pairs, 1.0 - MOMENTUM)
            with half(self.args):
                k = self.run_key(self.views[1])
            k = F.normalize(k.float())
        l_pos = (q * k).sum(dim=1, keepdim=True)
        logits = torch.cat([l_pos, q @ self.queue.clone()], dim=1) / TEMPERATURE
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long)), k

    def __call__(self) -> None:
        loss, k = self.loss()
        learn(loss, self.optimiser, self.scaler)
        n = min(len(k), KEYS - self.ptr)
        self.queue[:, self.ptr : self.ptr + n] = k[:n].T
        self.queue[:, : len(k) - n] = k[n:].T
        self.ptr = (self.ptr + len(k)) % KEYS


class Training:
    """A classifier and its optimiser."""

    def __init__(self, args: argparse.Namespace):
        net = network(args, CLASSES).to(memory_format=layout(args)).train()
        self.images, self.labels = images(args), torch.arange(args.batch_size) % CLASSES
        if args.backbone in TRANSFORMERS:
            self.optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
        else:
            self.optimiser = torch.optim.SGD(
                net.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4
            )
        self.args, self.scaler = args, scaler(args)
        self.net = torch.compile(net) if args.variant == "compiled" else net

    def __call__(self) -> None:
        with half(self.args):
            logits = self.net(self.images)
        learn(F.cross_entropy(logits.float(), self.labels), self.optimiser, self.scaler)


class Forward:
    """Images to features."""

    def __init__(self, args: argparse.Namespace):
        net = network(args, 0).to(memory_format=layout(args)).eval().requires_grad_(False)
        self.images = images(args)
        self.args = args
        self.net = torch.compile(net) if args.variant == "compiled" else net

    @torch.inference_mode()
    def __call__(self) -> None:
        with half(self.args):
            self.net(self.images)


WORK = {"method": MocoStep, "train": Training, "forward": Forward}


def count(step: Callable[[], None]) -> dict:
    """Operations of one step; attention as the two products that it is."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        step()
    return {"flops": counter.get_total_flops()}


def measure(step: Callable[[], None], steps: int) -> dict:
    """Seconds of each step after a warm-up, and the largest memory of this process."""
    seconds, wait = [], torch.get_default_device().type == "cuda"
    for i in range(WARM_UP + steps):
        begin = time.perf_counter()
        step()
        if wait:
            torch.cuda.synchronize()
        if i >= WARM_UP:
            seconds.append(time.perf_counter() - begin)
    return {
        "seconds_per_step": statistics.median(seconds),
        "seconds_fastest": min(seconds),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", choices=list(WORK), default="method")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--stem", choices=["cifar", "imagenet"], default="cifar")
    parser.add_argument("--variant", choices=["eager", "channels-last", "compiled"], default="eager")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["f32", "tf32", "bf16", "f16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--count", action="store_true", help="operations instead of times")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_default_device(args.device)
    torch.manual_seed(0)
    if args.precision:
        torch.backends.cuda.matmul.allow_tf32 = args.precision != "f32"
        torch.backends.cudnn.allow_tf32 = args.precision != "f32"
    if args.variant == "compiled" and args.work == "forward":
        torch._inductor.config.freezing = True
    step = WORK[args.work](args)
    report = count(step) if args.count else measure(step, args.steps)
    if "seconds_per_step" in report:
        report["images_per_second"] = args.batch_size / report["seconds_per_step"]
    print(json.dumps(report | {"variant": args.variant, "precision": args.precision, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
