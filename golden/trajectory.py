"""Ten steps of MoCo in plain PyTorch, small enough to store: v1, v2, and v1 symmetric.

Written from He et al. 2020 (arXiv 1911.05722, Alg. 1 and Sec. 3.3) and Chen et al. 2020
(arXiv 2003.04297). The order within a step is the published code's: the key encoder moves first,
the loss sees the queue as it was, keys enter the queue last.
"""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import GoldenFile, compare, nchw, normal, random, rounded_to, single, uniform
from layers import SplitBatchNorm2d
from loss import info_nce, info_nce_logits
from optim import cosine
from resnet import ResNet, random_tensor, state_of, watch_kinks

STEPS, BATCH, SIZE = 10, 8, 12
# A queue that the batch does not divide: writes wrap round within a batch.
DIM, KEYS = 16, 22
MOMENTUM = 0.9
BASE_LR = 0.05


@dataclass(frozen=True)
class Variant:
    """What sets one trajectory apart from the others."""

    name: str
    temperature: float
    stream: int
    mlp: bool = False
    groups: int = 1
    shuffle: bool = False
    cosine: bool = False
    symmetric: bool = False

    @property
    def passes(self) -> int:
        """Key forwards per step."""
        return 2 if self.symmetric else 1


VARIANTS = [
    Variant("v1", temperature=0.1, groups=2, shuffle=True, stream=569),
    Variant("v2", temperature=0.2, mlp=True, cosine=True, stream=594),
    Variant("symmetric", temperature=0.1, groups=2, shuffle=True, symmetric=True, stream=608),
]


class Moco:
    """Query and key encoder and the queue."""

    def __init__(self, query: nn.Module, queue: Tensor, temperature: float):
        self.query = query
        self.key = deepcopy(query).requires_grad_(False)
        self.queue = queue.clone()  # [D, K]
        self.ptr = 0
        self.temperature = temperature

    @torch.no_grad()
    def update_key(self) -> None:
        """Eq. 2, over parameters only: the key's running statistics come from its own forwards."""
        for k, q in zip(self.key.parameters(), self.query.parameters(), strict=True):
            k.copy_(MOMENTUM * k + (1.0 - MOMENTUM) * q)

    @torch.no_grad()
    def keys(self, x: Tensor, perm: Tensor | None) -> Tensor:
        """Unit keys `[N, D]`, through the key encoder in the order `perm` (Sec. 3.3) if given."""
        if perm is None:
            return F.normalize(self.key(x))
        shuffled = F.normalize(self.key(x[perm]))
        return shuffled[perm.argsort()]

    def contrast(self, x_q: Tensor, x_k: Tensor, perm: Tensor | None) -> tuple[Tensor, ...]:
        """Loss of queries from `x_q` with keys from `x_k` (Eq. 1), and both."""
        q = F.normalize(self.query(x_q))
        k = self.keys(x_k, perm)
        loss = info_nce(info_nce_logits(q, k, self.queue.clone(), self.temperature))
        return loss, q, k

    def loss(self, x1: Tensor, x2: Tensor, perms: list) -> tuple[Tensor, ...]:
        """The step's loss, the first pass's queries, and the keys in the order they enqueue.

        One permutation: view 1 asks, view 2 is the key. Two: also the other way round, with the
        second permutation, and the losses add.
        """
        self.update_key()
        loss_12, q1, k2 = self.contrast(x1, x2, perms[0])
        if len(perms) == 1:
            return loss_12, q1, k2
        loss_21, _, k1 = self.contrast(x2, x1, perms[1])
        return loss_12 + loss_21, q1, torch.cat([k1, k2])

    def enqueue(self, keys: Tensor) -> None:
        """Column (ptr + i) mod K takes key i."""
        for i, key in enumerate(keys):
            self.queue[:, (self.ptr + i) % self.queue.shape[1]] = key
        self.ptr = (self.ptr + len(keys)) % self.queue.shape[1]


def make() -> list[GoldenFile]:
    """One file per variant."""
    return [trajectory(variant) for variant in VARIANTS]


def trajectory(variant: Variant) -> GoldenFile:
    """Runs a variant in both precisions and packs inputs and results."""
    rng = random(variant.stream)
    params = initial_parameters(build(variant), rng)
    view1, view2 = related_views(rng)
    inputs = {
        "view1": view1,
        "view2": view2,
        "queue_initial": F.normalize(normal(rng, DIM, KEYS), dim=0),
        "lr": torch.tensor(
            [BASE_LR * (cosine(t, STEPS) if variant.cosine else 1.0) for t in range(STEPS)],
            dtype=torch.float64,
        ),
    }
    if variant.shuffle:
        perms = [rng.permutation(BATCH) for _ in range(STEPS * variant.passes)]
        inputs["perm"] = torch.from_numpy(np.stack(perms)).view(STEPS, variant.passes, BATCH)
    exact = run(variant, params, inputs, torch.float64)
    rounded = run(variant, params, inputs, torch.float32)
    agreement = compare(exact, rounded)
    by_step = ((rounded["loss"].double() - exact["loss"]) / exact["loss"]).abs()
    agreement["loss"]["by_step"] = [rounded_to(d.item(), digits=2) for d in by_step]
    initial = {f"initial.{name}": p for name, p in params.items()}
    tensors = inputs | initial | single(exact)
    return GoldenFile(f"moco_trajectory_{variant.name}", describe(variant), tensors, agreement)


def run(variant: Variant, params: dict, inputs: dict, dtype: torch.dtype) -> dict[str, Tensor]:
    """The ten steps."""
    query = build(variant)
    with torch.no_grad():
        for name, p in query.named_parameters():
            p.copy_(params[name])
    moco = Moco(query.to(dtype), inputs["queue_initial"].to(dtype), variant.temperature)
    distances = watch_kinks(moco.query)
    optimiser = torch.optim.SGD(moco.query.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4)
    results, losses = {}, []
    for step in range(STEPS):
        x1, x2 = (pixels(inputs[view][step]).to(dtype) for view in ("view1", "view2"))
        perms = inputs["perm"][step] if variant.shuffle else [None] * variant.passes
        loss, q, k = moco.loss(x1, x2, perms)
        optimiser.param_groups[0]["lr"] = inputs["lr"][step].item()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        moco.enqueue(k)
        if step == 0:
            results |= {"first.q": q.detach(), "first.k": k}
        losses.append(loss.detach())
    results |= {"loss": torch.stack(losses), "queue": moco.queue, "ptr": torch.tensor([moco.ptr])}
    results["kink_margin"] = torch.tensor(min(distances), dtype=dtype)
    for side, net in (("query", moco.query), ("key", moco.key)):
        results |= {f"{side}.{name}": value for name, value in state_of(net).items()}
    return results


def build(variant: Variant) -> ResNet:
    """ResNet-18 of width 4 with the CIFAR stem and the variant's head as `fc`."""
    norm = partial(SplitBatchNorm2d, groups=variant.groups)
    net = ResNet(18, 4, "cifar", DIM, norm)
    if variant.mlp:
        width = net.fc.in_features
        net.fc = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, DIM))
    return net


def initial_parameters(net: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
    """Random parameters, BatchNorm's included."""
    params = {}
    for name, p in net.named_parameters():
        if name.startswith("fc"):
            bound = net.get_submodule(name.rpartition(".")[0]).in_features ** -0.5
            params[name] = uniform(rng, *p.shape, low=-bound, high=bound)
        else:
            params[name] = random_tensor(name, p.shape, 18, rng)
    return params


def related_views(rng: np.random.Generator) -> list[Tensor]:
    """Two views in bytes, `[STEPS, N, H, W, 3]` each.

    The pair shares a smooth picture and differs in contrast and noise.
    """
    coarse = torch.from_numpy(rng.standard_normal((STEPS * BATCH, 3, 4, 4)))
    image = F.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    views = []
    for _ in range(2):
        contrast = torch.from_numpy(rng.uniform(0.6, 1.4, (STEPS * BATCH, 3, 1, 1)))
        noise = torch.from_numpy(rng.standard_normal(image.shape))
        levels = (128 + 64 * (contrast * image + 0.3 * noise)).round().clamp(0, 255)
        stored = levels.permute(0, 2, 3, 1).reshape(STEPS, BATCH, SIZE, SIZE, 3)
        views.append(stored.to(torch.uint8).contiguous())
    return views


def pixels(view: Tensor) -> Tensor:
    """Bytes `[N, H, W, 3]` to the input `[N, 3, H, W]`: (byte - 128) / 64, exact in float32."""
    return nchw((view.float() - 128.0) / 64.0)


def describe(variant: Variant) -> str:
    """The manifest's sentence on a variant."""
    return (
        f"{STEPS} steps of MoCo ({variant.name}): ResNet-18 of width 4, CIFAR stem, "
        f"{'MLP' if variant.mlp else 'linear'} head to {DIM}, batch {BATCH}, queue {KEYS}, "
        f"m {MOMENTUM}, T {variant.temperature}, SGD {BASE_LR} "
        f"{'with a cosine per step' if variant.cosine else 'constant'}, momentum 0.9, weight decay "
        f"5e-4 on everything; {variant.groups} BatchNorm group(s), keys "
        f"{'shuffled by perm' if variant.shuffle else 'not shuffled'}"
        f"{', loss L12 + L21, keys [k1, k2] enqueued' if variant.symmetric else ''}. "
        "Input = (byte - 128) / 64. Both encoders start at initial.*, running statistics at 0 "
        "and 1; query.*, key.*, queue, ptr are the state after the last step."
    )
