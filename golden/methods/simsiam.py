"""SimSiam (Chen & He 2021, arXiv 2011.10566): stop-gradient, and a predictor at a fixed rate.

As in the published code the last projector layer has a bias that is not trained (the BatchNorm
behind it removes it), and the predictor's rate does not follow the schedule.
"""

import torch
import torch.nn.functional as F
from lightly.loss import NegativeCosineSimilarity
from torch import Tensor, nn

from common import GoldenFile, in_both_precisions, normal, random, single
from methods.common import (
    BACKBONE,
    PIXELS,
    STEPS,
    backbone,
    final,
    initial,
    kink_margin,
    load,
    mlp,
    random_parameters,
    sgd_step,
    stack,
    table,
    trajectory_file,
    views_of,
)
from optim import cosine
from resnet import watch_kinks
from trajectory import pixels

BATCH, SIZE, LR = 8, 12, 0.05
PROJECTOR, PREDICTOR = [32, 24, 24, 20], [20, 8, 20]


def simsiam(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    """Eq. 4 with the stop-gradient of Eq. 3: -(cos(p1, sg z2) + cos(p2, sg z1)) / 2, mean."""

    def distance(p: Tensor, z: Tensor) -> Tensor:
        return -(F.normalize(p) * F.normalize(z.detach())).sum(dim=1).mean()

    return (distance(p1, z2) + distance(p2, z1)) / 2


def make() -> list[GoldenFile]:
    """`simsiam_loss`, `simsiam_trajectory`."""
    return [loss_file(), trajectory(stream=1316)]


def loss_file() -> GoldenFile:
    """The loss on given predictions and projections."""
    rng = random(1300)
    inputs = {name: normal(rng, 6, 16) for name in ("p1", "p2", "z1", "z2")}

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        leaves = {n: t.to(dtype, copy=True).requires_grad_() for n, t in inputs.items()}
        loss = simsiam(**leaves)
        loss.backward()
        assert leaves["z1"].grad is None and leaves["z2"].grad is None
        peer = NegativeCosineSimilarity()
        p1, p2, z1, z2 = (inputs[n].to(dtype) for n in ("p1", "p2", "z1", "z2"))
        torch.testing.assert_close(loss, 0.5 * (peer(p1, z2) + peer(p2, z1)))
        grads = {f"grad_{n}": leaves[n].grad for n in ("p1", "p2")}
        return {"loss": loss.detach()} | grads

    exact, agreement = in_both_precisions(run)
    holds = (
        "SimSiam's loss -(cos(p1, z2) + cos(p2, z1)) / 2, mean over the batch, of p1, p2, z1, z2 "
        "[N, D] (none normalised), and its gradients for p1 and p2; z1 and z2 receive none."
    )
    return GoldenFile("simsiam_loss", holds, inputs | single(exact), agreement)


def online() -> nn.Module:
    """Backbone and projector."""
    projector = mlp(PROJECTOR, hidden_bias=False, last_bias=True, last_norm="plain")
    projector[6].bias.requires_grad_(False)
    return stack(backbone=backbone(), projector=projector)


def predictor() -> nn.Module:
    """Two layers with a bottleneck."""
    return mlp(PREDICTOR, hidden_bias=False, last_bias=True)


def trajectory(stream: int) -> GoldenFile:
    """Five steps; the encoder's rate falls, the predictor's does not."""
    rng = random(stream)
    params = {"online": random_parameters(online(), rng)}
    params["predictor"] = random_parameters(predictor(), rng)
    view1, view2 = views_of(rng, BATCH, [SIZE, SIZE])
    inputs = initial(params) | {
        "view1": view1,
        "view2": view2,
        "lr": table(LR * cosine(t, STEPS) for t in range(STEPS)),
        "predictor_lr": table([LR] * STEPS),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = load(online(), params["online"], dtype)
        head = load(predictor(), params["predictor"], dtype)
        distances = watch_kinks(nn.ModuleList([net, head]))
        groups = [
            {"params": [p for p in net.parameters() if p.requires_grad]},
            {"params": head.parameters()},
        ]
        optimiser = torch.optim.SGD(groups, lr=0.0, momentum=0.9, weight_decay=1e-3)
        losses = []
        for step in range(STEPS):
            z1, z2 = (net(pixels(inputs[v][step]).to(dtype)) for v in ("view1", "view2"))
            loss = simsiam(head(z1), head(z2), z1, z2)
            rates = [inputs[n][step].item() for n in ("lr", "predictor_lr")]
            sgd_step(optimiser, loss, rates)
            losses.append(loss.detach())
        results = {"loss": torch.stack(losses)} | final({"online": net, "predictor": head})
        return results | kink_margin(distances, dtype)

    holds = (
        f"{STEPS} steps of SimSiam: {BACKBONE}; projector {PROJECTOR}: [Linear without bias, "
        "BatchNorm, ReLU] x2, Linear with a bias that is not trained (projector.6), BatchNorm "
        f"without scale and shift; predictor {PREDICTOR}: Linear without bias, BatchNorm, ReLU, "
        f"Linear with bias. Batch {BATCH}, one forward per view (view 1 first), SGD momentum 0.9, "
        "weight decay 1e-3 on everything trained, rate lr[step] and for the predictor "
        f"predictor_lr[step]. {PIXELS} initial.{{online,predictor}}.*, loss per step, "
        "final.{online,predictor}.*; online holds backbone.* and projector.*."
    )
    return trajectory_file("simsiam_trajectory", holds, inputs, run)
