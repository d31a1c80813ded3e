"""BYOL (Grill et al. 2020, arXiv 2006.07733): a predictor onto a moving average.

As in the published code the target moves after the optimiser's step, with the momentum of that
step, by parameters only, and its BatchNorms keep their own statistics. That code draws the target
from another seed than the online network; here it starts as a copy. The running
variance is torch's (unbiased), the published framework's is biased.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from lightly.loss import NegativeCosineSimilarity
from torch import Tensor, nn

from common import GoldenFile, in_both_precisions, normal, random, single
from methods.common import (
    BACKBONE,
    PIXELS,
    STEPS,
    Lars,
    backbone,
    final,
    initial,
    kink_margin,
    load,
    mlp,
    move_average,
    random_parameters,
    stack,
    table,
    trajectory_file,
    views_of,
)
from optim import cosine, lars_moco_v3, warm_cosine
from resnet import watch_kinks
from trajectory import pixels

BATCH, SIZE, LR, DECAY, TAU = 8, 12, 0.6, 1e-3, 0.9
PROJECTOR, PREDICTOR = [32, 24, 16], [16, 24, 16]


def byol(q1: Tensor, q2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    """Eq. 2, both ways: |L2 q1 - sg L2 z2|^2 + |L2 q2 - sg L2 z1|^2, mean over the batch."""

    def distance(q: Tensor, z: Tensor) -> Tensor:
        return (F.normalize(q) - F.normalize(z.detach())).square().sum(dim=1).mean()

    return distance(q1, z2) + distance(q2, z1)


def make() -> list[GoldenFile]:
    """`byol_loss`, `byol_trajectory`."""
    return [loss_file(), trajectory(stream=1409)]


def loss_file() -> GoldenFile:
    """The loss on given predictions and targets."""
    rng = random(1400)
    inputs = {name: normal(rng, 6, 16) for name in ("q1", "q2", "z1", "z2")}

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        leaves = {n: t.to(dtype, copy=True).requires_grad_() for n, t in inputs.items()}
        loss = byol(**leaves)
        loss.backward()
        peer = NegativeCosineSimilarity()
        q1, q2, z1, z2 = (inputs[n].to(dtype) for n in ("q1", "q2", "z1", "z2"))
        torch.testing.assert_close(loss, 4 + 2 * (peer(q1, z2) + peer(q2, z1)))
        return {"loss": loss.detach()} | {f"grad_{n}": leaves[n].grad for n in ("q1", "q2")}

    exact, agreement = in_both_precisions(run)
    holds = (
        "BYOL's loss |L2 q1 - L2 z2|^2 + |L2 q2 - L2 z1|^2, mean over the batch, of q1, q2, z1, z2 "
        "[N, D] (none normalised), and its gradients for q1 and q2; the targets z receive none."
    )
    return GoldenFile("byol_loss", holds, inputs | single(exact), agreement)


def online() -> nn.Module:
    """Backbone and projector."""
    return stack(backbone=backbone(), projector=mlp(PROJECTOR, hidden_bias=True, last_bias=False))


def predictor() -> nn.Module:
    """Of the projector's shape."""
    return mlp(PREDICTOR, hidden_bias=True, last_bias=False)


def trajectory(stream: int) -> GoldenFile:
    """Five steps of LARS, the target following."""
    rng = random(stream)
    params = {"online": random_parameters(online(), rng)}
    params["predictor"] = random_parameters(predictor(), rng)
    view1, view2 = views_of(rng, BATCH, [SIZE, SIZE])
    inputs = initial(params) | {
        "view1": view1,
        "view2": view2,
        "lr": table(LR * warm_cosine(t, STEPS, 2) for t in range(STEPS)),
        "momentum": table(1 - (1 - TAU) * cosine(t, STEPS) for t in range(STEPS)),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = load(online(), params["online"], dtype)
        head = load(predictor(), params["predictor"], dtype)
        target = deepcopy(net).requires_grad_(False)
        distances = watch_kinks(nn.ModuleList([net, head]))
        optimiser = Lars([*net.parameters(), *head.parameters()], lars_moco_v3, DECAY)
        losses = []
        for step in range(STEPS):
            x1, x2 = (pixels(inputs[v][step]).to(dtype) for v in ("view1", "view2"))
            loss = byol(head(net(x1)), head(net(x2)), target(x1), target(x2))
            loss.backward()
            optimiser.step(inputs["lr"][step].item())
            move_average(target, net, inputs["momentum"][step].item())
            losses.append(loss.detach())
        nets = {"online": net, "predictor": head, "target": target}
        return {"loss": torch.stack(losses)} | final(nets) | kink_margin(distances, dtype)

    holds = (
        f"{STEPS} steps of BYOL: {BACKBONE}; projector {PROJECTOR} and predictor {PREDICTOR}: "
        "Linear with bias, BatchNorm, ReLU, Linear without bias. The target starts as a copy of "
        f"online and moves after each step with momentum[step]. Batch {BATCH}, one forward per "
        "view and network (view 1 first), LARS (lars, moco_v3 flavour: biases and BatchNorm free "
        f"of decay and adaptation) at lr[step], momentum 0.9, decay {DECAY}. {PIXELS} "
        "initial.{online,predictor}.*, loss per step, final.{online,predictor,target}.*; online "
        "and target hold backbone.* and projector.*."
    )
    return trajectory_file("byol_trajectory", holds, inputs, run)
