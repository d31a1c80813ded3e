"""A MoCo training step in PyTorch, timed: the peer of `moco bench step`.

    python3 bench/peers/torch_step.py --backbone resnet18 --size 32 --batch-size 64 --variant eager

Query forward and backward, key forward, moving average, SGD, queue, on one random batch, f32.
Prints one JSON object as its last line. Variants: `eager` (NCHW), `channels-last`, `compiled`
(channels-last under torch.compile).
"""

import argparse
import json
import resource
import statistics
import time
from copy import deepcopy

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

WARM_UP = 3
DIM, KEYS, MOMENTUM, TEMPERATURE = 128, 4096, 0.999, 0.07


def encoder(backbone: str, stem: str) -> nn.Module:
    """torchvision's ResNet with MoCo v1's linear head."""
    net = torchvision.models.get_model(backbone, num_classes=DIM)
    if stem == "cifar":
        net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        net.maxpool = nn.Identity()
    return net


class Step:
    """Two encoders, a queue and SGD."""

    def __init__(self, args: argparse.Namespace):
        channels_last = args.variant != "eager"
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.query = encoder(args.backbone, args.stem).to(memory_format=self.layout).train()
        self.key = deepcopy(self.query).requires_grad_(False)
        self.pairs = list(self.key.parameters()), list(self.query.parameters())
        self.queue = F.normalize(torch.randn(DIM, KEYS), dim=0)
        self.ptr = 0
        self.optimiser = torch.optim.SGD(self.pairs[1], lr=1e-3, momentum=0.9, weight_decay=1e-4)
        shape = args.batch_size, 3, args.size, args.size
        self.views = [torch.rand(shape).contiguous(memory_format=self.layout) for _ in range(2)]
        compiled = args.variant == "compiled"
        self.run_query = torch.compile(self.query) if compiled else self.query
        self.run_key = torch.compile(self.key) if compiled else self.key

    def loss(self) -> tuple[Tensor, Tensor]:
        q = F.normalize(self.run_query(self.views[0]))
        with torch.no_grad():
            torch._foreach_lerp_(*self.pairs, 1.0 - MOMENTUM)
            k = F.normalize(self.run_key(self.views[1]))
        l_pos = (q * k).sum(dim=1, keepdim=True)
        logits = torch.cat([l_pos, q @ self.queue.clone()], dim=1) / TEMPERATURE
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long)), k

    def __call__(self) -> None:
        loss, k = self.loss()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        n = min(len(k), KEYS - self.ptr)
        self.queue[:, self.ptr : self.ptr + n] = k[:n].T
        self.queue[:, : len(k) - n] = k[n:].T
        self.ptr = (self.ptr + len(k)) % KEYS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--stem", choices=["cifar", "imagenet"], default="cifar")
    parser.add_argument("--variant", choices=["eager", "channels-last", "compiled"], default="eager")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    step = Step(args)
    seconds = []
    for i in range(WARM_UP + args.steps):
        begin = time.perf_counter()
        step()
        if i >= WARM_UP:
            seconds.append(time.perf_counter() - begin)
    median = statistics.median(seconds)
    report = {
        "seconds_per_step": median,
        "seconds_fastest": min(seconds),
        "images_per_second": args.batch_size / median,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "variant": args.variant,
        "torch": torch.__version__,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
