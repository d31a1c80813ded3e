"""MoCo v1 on small images in plain PyTorch and torchvision: the peer of `moco pretrain`.

    python3 bench/peers/moco_cifar.py --data train.tar --test test.tar --out peer.jsonl

The same setting as the recipe `moco-v1-small`, written the way a PyTorch user would write it for
speed on a CPU: JPEG bytes in memory, channels-last, fused SGD, in-place moving average. It
prints a line per epoch and writes it as JSON to --out. Training time excludes the kNN evaluation.
"""

import argparse
import io
import json
import math
import tarfile
import time
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models.resnet import BasicBlock, ResNet

SIZE = 32
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
SUFFIXES = (".jpg", ".jpeg", ".png")


# --- data ---------------------------------------------------------------------------------------


def read_files(path: Path) -> dict[str, bytes]:
    """Every image file under a folder or in a tar, by its path, in order of names."""
    if path.is_file():
        with tarfile.open(path) as tar:
            members = [m for m in tar if m.isfile() and m.name.lower().endswith(SUFFIXES)]
            files = {m.name: tar.extractfile(m).read() for m in members}
    else:
        found = [p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES]
        files = {p.relative_to(path.parent).as_posix(): p.read_bytes() for p in found}
    return dict(sorted(files.items()))


class Images(Dataset):
    """Encoded images in memory; an item is what `transform` makes of one, and its label.

    The class is the folder that holds the file.
    """

    def __init__(self, files: dict[str, bytes], transform):
        names = sorted({Path(name).parent.name for name in files})
        self.labels = torch.tensor([names.index(Path(name).parent.name) for name in files])
        self.encoded = list(files.values())
        self.transform = transform

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, i: int):
        image = Image.open(io.BytesIO(self.encoded[i])).convert("RGB")
        return self.transform(image), self.labels[i]


class TwoViews:
    """Two independent draws of one augmentation."""

    def __init__(self, transform):
        self.transform = transform

    def __call__(self, image: Image.Image) -> tuple[Tensor, Tensor]:
        return self.transform(image), self.transform(image)


def augmentation(crop_min: float, crop_max: float) -> transforms.Compose:
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE, scale=(crop_min, crop_max)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.PILToTensor(),
        ]
    )


def normalised(images: Tensor, layout: torch.memory_format) -> Tensor:
    """`ToTensor` and `Normalize` on a batch of bytes, which is cheaper than image by image."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    return images.to(torch.float32, memory_format=layout).div_(255.0).sub_(mean).div_(std)


# --- model --------------------------------------------------------------------------------------


class SplitBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over each of `groups` consecutive parts of the batch; running statistics averaged.

    The encoder brings the samples n with n mod groups = g together as part g. Consecutive parts
    need no copy in channels-last, where folding interleaved groups into channels needs two.
    """

    def __init__(self, channels: int, groups: int):
        super().__init__(channels)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.groups == 1:
            return super().forward(x)
        means = self.running_mean.repeat(self.groups, 1)
        variances = self.running_var.repeat(self.groups, 1)
        affine = self.weight, self.bias
        parts = [
            F.batch_norm(part, mean, variance, *affine, True, self.momentum, self.eps)
            for part, mean, variance in zip(x.chunk(self.groups), means, variances)
        ]
        self.running_mean.copy_(means.mean(0))
        self.running_var.copy_(variances.mean(0))
        return torch.cat(parts)


class SmallResNet18(ResNet):
    """torchvision's ResNet-18 with the CIFAR stem and `width` channels in the first stage."""

    def __init__(self, width: int, outputs: int, bn_groups: int):
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.bn_groups = bn_groups
        self._norm_layer = partial(SplitBatchNorm2d, groups=bn_groups)
        self.inplanes = width
        self.conv1 = nn.Conv2d(3, width, 3, stride=1, padding=1, bias=False)
        self.bn1 = self._norm_layer(width)
        self.maxpool = nn.Identity()
        for stage in range(4):
            blocks = self._make_layer(BasicBlock, width << stage, 2, stride=1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", blocks)
        self.fc = nn.Linear(8 * width, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.bn_groups == 1:
            return super().forward(x)
        order = torch.arange(len(x)).view(-1, self.bn_groups).T.flatten()
        return super().forward(x[order])[order.argsort()]


class Moco(nn.Module):
    """MoCo v1: query and key encoder, queue, and the loss of He et al. 2020, Eq. 1."""

    def __init__(self, encoder: nn.Module, dim: int, queue: int, momentum: float, t: float):
        super().__init__()
        self.query = encoder
        self.key = deepcopy(encoder).requires_grad_(False)
        self.momentum, self.temperature = momentum, t
        self.register_buffer("queue", F.normalize(torch.randn(queue, dim)))
        self.ptr = 0
        self.pairs = list(self.key.parameters()), list(self.query.parameters())

    @torch.no_grad()
    def update_key(self) -> None:
        torch._foreach_lerp_(*self.pairs, 1.0 - self.momentum)

    @torch.no_grad()
    def keys(self, x: Tensor) -> Tensor:
        """Unit keys, computed in a random order of the batch (Sec. 3.3)."""
        order = torch.randperm(len(x))
        return F.normalize(self.key(x[order]))[order.argsort()]

    def forward(self, x_q: Tensor, x_k: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the keys to enqueue."""
        q = F.normalize(self.query(x_q))
        k = self.keys(x_k)
        l_pos = (q * k).sum(dim=1, keepdim=True)
        logits = torch.cat([l_pos, q @ self.queue.T], dim=1) / self.temperature
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long)), k

    @torch.no_grad()
    def enqueue(self, k: Tensor) -> None:
        rows = (self.ptr + torch.arange(len(k))) % len(self.queue)
        self.queue[rows] = k
        self.ptr = (self.ptr + len(k)) % len(self.queue)


# --- training and evaluation --------------------------------------------------------------------


def train_epoch(moco: Moco, loader: DataLoader, optimiser, layout, max_steps: int) -> tuple:
    """Mean loss, images seen and seconds of one epoch, or of its first `max_steps` steps."""
    moco.train()
    losses = []
    start = time.perf_counter()
    for step, ((x_q, x_k), _) in enumerate(loader, 1):
        moco.update_key()
        loss, k = moco(normalised(x_q, layout), normalised(x_k, layout))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        moco.enqueue(k)
        losses.append(loss.detach())
        if step == max_steps:
            break
    seconds = time.perf_counter() - start
    return torch.stack(losses).mean().item(), len(losses) * loader.batch_size, seconds


@torch.inference_mode()
def features(encoder: nn.Module, images: Tensor, head: bool, layout) -> Tensor:
    """Unit features of a set of images in bytes, from the backbone or after the head."""
    encoder.eval()
    fc, encoder.fc = encoder.fc, encoder.fc if head else nn.Identity()
    out = [F.normalize(encoder(normalised(batch, layout))) for batch in images.split(500)]
    encoder.fc = fc
    return torch.cat(out)


@torch.inference_mode()
def knn_accuracy(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], k: int, t: float):
    """Share of test images whose class has the largest sum of exp(cosine / t) over the k nearest.

    Both sets are unit features and labels.
    """
    (bank, labels), (queries, truth) = train, test
    classes, hits = int(labels.max()) + 1, 0
    for query, target in zip(queries.split(500), truth.split(500)):
        similarity, nearest = (query @ bank.T).topk(k, dim=1)
        scores = torch.zeros(len(query), classes)
        scores.scatter_add_(1, labels[nearest], (similarity / t).exp())
        hits += (scores.argmax(1) == target).sum().item()
    return hits / len(queries)


class Monitor:
    """kNN of the query encoder: all training images as bank, the test images as queries."""

    def __init__(self, train: dict, test: dict, args: argparse.Namespace, layout):
        self.args, self.layout = args, layout
        self.sets = [self.decode(files) for files in (train, test)]

    def decode(self, files: dict[str, bytes]) -> tuple[Tensor, Tensor]:
        images = Images(files, transforms.PILToTensor())
        loader = DataLoader(images, batch_size=500, num_workers=self.args.workers)
        pixels, labels = zip(*loader)
        return torch.cat(pixels), torch.cat(labels)

    def run(self, encoder: nn.Module) -> float:
        head = self.args.knn_feature == "head"
        train, test = (
            (features(encoder, pixels, head, self.layout), labels) for pixels, labels in self.sets
        )
        return knn_accuracy(train, test, self.args.knn_k, self.args.knn_temperature)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder or .tar of training images")
    add("--test", type=Path, help="folder or .tar of test images; without it no kNN")
    add("--out", type=Path, help="JSON lines, one per epoch")
    add("--epochs", type=int, default=10)
    add("--max-steps", type=int, default=0, help="stop after so many steps; 0 for no limit")
    add("--batch-size", type=int, default=256)
    add("--lr", type=float, default=0.03, help="at the start, as used: not scaled by the batch")
    add("--weight-decay", type=float, default=5e-4)
    add("--width", type=int, default=16)
    add("--dim", type=int, default=128)
    add("--bn-groups", type=int, default=8)
    add("--queue", type=int, default=4096)
    add("--momentum", type=float, default=0.99, help="of the key encoder")
    add("--temperature", type=float, default=0.1)
    add("--crop", type=float, nargs=2, default=(0.08, 1.0), help="range of the crop's area")
    add("--knn-k", type=int, default=200)
    add("--knn-temperature", type=float, default=0.1)
    add("--knn-feature", choices=["backbone", "head"], default="backbone")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=2)
    add("--workers", type=int, default=0, help="processes that decode and augment besides")
    add("--channels-last", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    begun = time.perf_counter()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    layout = torch.channels_last if args.channels_last else torch.contiguous_format

    train_files = read_files(args.data)
    loader = DataLoader(
        Images(train_files, TwoViews(augmentation(*args.crop))),
        batch_size=args.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
    )
    encoder = SmallResNet18(args.width, args.dim, args.bn_groups).to(memory_format=layout)
    moco = Moco(encoder, args.dim, args.queue, args.momentum, args.temperature)
    optimiser = torch.optim.SGD(
        encoder.parameters(), args.lr, momentum=0.9, weight_decay=args.weight_decay, fused=True
    )
    monitor = Monitor(train_files, read_files(args.test), args, layout) if args.test else None

    left = args.max_steps or math.inf
    with open(args.out or "/dev/null", "w") as out:
        for epoch in range(args.epochs):
            lr = args.lr * 0.5 * (1.0 + math.cos(math.pi * epoch / args.epochs))
            optimiser.param_groups[0]["lr"] = lr
            loss, images, seconds = train_epoch(moco, loader, optimiser, layout, left)
            left -= images // args.batch_size
            line = {
                "epoch": epoch + 1,
                "loss": round(loss, 4),
                "lr": round(lr, 6),
                "seconds": round(seconds, 3),
                "images_per_second": round(images / seconds, 1),
                "knn": monitor.run(encoder) if monitor else None,
                "total": round(time.perf_counter() - begun, 1),
            }
            print(json.dumps(line), flush=True)
            print(json.dumps(line), file=out, flush=True)
            if left <= 0:
                break


if __name__ == "__main__":
    main()
