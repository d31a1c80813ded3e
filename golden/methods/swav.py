"""SwAV (Caron et al. 2020, arXiv 2006.09882): swapped prediction of Sinkhorn codes, multi-crop.

The published code's details: prototype rows go to unit length before every forward; their gradient
is dropped in the first iterations, so that nothing, decay included, moves them; the head sees the
features of all crops in one batch; the queue holds, per assigned crop, the newest embeddings first,
is scored with the prototypes of today, goes before the batch in the Sinkhorn matrix, and counts
only once its last row is filled. lightly puts it after the batch, which gives the same codes.
"""

import torch
import torch.nn.functional as F
from lightly.loss.swav_loss import SwaVLoss
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
    random_parameters,
    stack,
    table,
    trajectory_file,
    views_of,
)
from optim import cosine, larc_apex
from resnet import watch_kinks
from trajectory import pixels

TEMPERATURE, EPSILON, ITERATIONS = 0.1, 0.05, 3
BATCH, DIM, PROTOTYPES, QUEUE = 6, 12, 10, 12
CROPS, ASSIGNED = [12, 12, 8, 8], 2
FROZEN_STEPS, QUEUE_FROM, DECAY = 2, 1, 1e-3


@torch.no_grad()
def sinkhorn(scores: Tensor) -> Tensor:
    """Codes `[B, K]` of scores `[B, K]`: columns (samples) are scaled last, so rows sum to 1."""
    q = (scores / EPSILON).exp().T
    q = q / q.sum()
    prototypes, samples = q.shape
    for _ in range(ITERATIONS):
        q = q / q.sum(dim=1, keepdim=True) / prototypes
        q = q / q.sum(dim=0, keepdim=True) / samples
    return (q * samples).T


def swapped(scores: list[Tensor], codes: list[Tensor]) -> Tensor:
    """Mean over assigned crops i of the mean over crops v != i of CE(code i, scores v / T)."""
    total = 0.0
    for i, code in enumerate(codes):
        others = [s for v, s in enumerate(scores) if v != i]
        terms = [-(code * (s / TEMPERATURE).log_softmax(1)).sum(1).mean() for s in others]
        total = total + torch.stack(terms).mean()
    return total / len(codes)


def codes_of(scores: list[Tensor], queue: Tensor | None, prototypes: Tensor) -> list[Tensor]:
    """Codes of the assigned crops, the queue's scores first in the matrix where there is one."""
    codes = []
    for i in range(ASSIGNED):
        matrix = scores[i].detach()
        if queue is not None:
            matrix = torch.cat([queue[i] @ prototypes.detach().T, matrix])
        codes.append(sinkhorn(matrix)[-len(scores[i]) :])
    return codes


def make() -> list[GoldenFile]:
    """`swav_loss`, `swav_trajectory`."""
    return [loss_file(), trajectory(stream=1718)]


def loss_file() -> GoldenFile:
    """Codes, loss and gradients with and without a queue."""
    rng = random(1700)
    inputs = {
        "z": normal(rng, len(CROPS), BATCH, DIM),
        "prototypes": F.normalize(normal(rng, PROTOTYPES, DIM)),
        "queue": F.normalize(normal(rng, ASSIGNED, QUEUE, DIM), dim=2),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        results = {}
        for name in ("batch", "queue"):
            z = inputs["z"].to(dtype, copy=True).requires_grad_()
            prototypes = inputs["prototypes"].to(dtype, copy=True).requires_grad_()
            queue = inputs["queue"].to(dtype) if name == "queue" else None
            scores = list(F.normalize(z, dim=2) @ prototypes.T)
            codes = codes_of(scores, queue, prototypes)
            loss = swapped(scores, codes)
            loss.backward()
            queued = None if queue is None else list(queue @ prototypes.detach().T)
            peer = SwaVLoss()(scores[:ASSIGNED], scores[ASSIGNED:], queued)
            torch.testing.assert_close(peer[0], loss)
            results |= {
                f"{name}.codes": torch.stack(codes),
                f"{name}.loss": loss.detach(),
                f"{name}.grad_z": z.grad,
                f"{name}.grad_prototypes": prototypes.grad,
            }
        return results

    exact, agreement = in_both_precisions(run)
    holds = (
        "SwAV on z [4 crops, N, D] (not yet normalised; the first two are assigned), prototypes "
        "[K, D] (unit rows), T 0.1, epsilon 0.05, 3 iterations: codes [2, N, K] from the batch "
        "alone (batch.*) and with queue [2, L, D] (unit rows) before it (queue.*), the loss and "
        "its gradients for z as given and for the prototypes; codes carry no gradient."
    )
    return GoldenFile("swav_loss", holds, inputs | single(exact), agreement)


def online() -> nn.Module:
    """Backbone and projector; the prototypes are a layer of their own."""
    return stack(
        backbone=backbone(), projector=mlp([32, 24, DIM], hidden_bias=True, last_bias=True)
    )


def trajectory(stream: int) -> GoldenFile:
    """Five steps; the prototypes join at step 2, the queue at step 3."""
    rng = random(stream)
    params = {"online": random_parameters(online(), rng)}
    params["prototypes"] = {"weight": normal(rng, PROTOTYPES, DIM, std=0.3)}
    views = views_of(rng, BATCH, CROPS)
    inputs = initial(params) | {f"view{i + 1}": v for i, v in enumerate(views)}
    inputs["lr"] = table(0.02 + (10.0 - 0.02) * cosine(t, STEPS) for t in range(STEPS))

    holds = (
        f"{STEPS} steps of SwAV: {BACKBONE}; projector [32, 24, {DIM}]: Linear with bias, "
        f"BatchNorm, ReLU, Linear with bias; L2; prototypes [{PROTOTYPES}, {DIM}] without bias. "
        f"Views 1, 2 (12 px, assigned) and 3, 4 (8 px) of {BATCH} images: one backbone forward per "
        "size (crop-major batch), one projector forward on all four. Per step: prototype rows to "
        "unit length; forward; codes (T 0.1, epsilon 0.05, 3 iterations); loss; the prototypes' "
        f"gradient is dropped in steps 0 and 1 (nothing moves them); SGD momentum 0.9, decay "
        f"{DECAY} on everything, in LARC (lars, apex flavour) at lr[step]. Queue [2, {QUEUE}, "
        f"{DIM}] of zeros from step {QUEUE_FROM}; per assigned crop, scored before the batch once "
        "its last row is not zero (steps 3 and 4), then the batch's embeddings enter at the front "
        f"and the rest moves back. {PIXELS} initial.{{online,prototypes}}.*; loss per step, codes "
        "[step, 2, N, K], queue, final.{online,prototypes}.*; online holds backbone.*, projector.*."
    )
    return trajectory_file(
        "swav_trajectory", holds, inputs, lambda dtype: run(params, inputs, dtype)
    )


def run(params: dict, inputs: dict, dtype: torch.dtype) -> dict[str, Tensor]:
    """The five steps."""
    net = load(online(), params["online"], dtype)
    layer = load(nn.Linear(DIM, PROTOTYPES, bias=False), params["prototypes"], dtype)
    distances = watch_kinks(net)
    optimiser = Lars([*net.parameters(), layer.weight], larc_apex, DECAY)
    queue, in_use, losses, history = None, False, [], []
    for step in range(STEPS):
        with torch.no_grad():
            layer.weight.copy_(F.normalize(layer.weight))
        if step == QUEUE_FROM:
            queue = torch.zeros(ASSIGNED, QUEUE, DIM, dtype=dtype)
        views = [pixels(inputs[f"view{i + 1}"][step]).to(dtype) for i in range(len(CROPS))]
        features = [net.backbone(torch.cat(views[:2])), net.backbone(torch.cat(views[2:]))]
        z = F.normalize(net.projector(torch.cat(features)))
        scores = list(layer(z).chunk(len(CROPS)))
        in_use = in_use or (queue is not None and bool((queue[:, -1] != 0).any()))
        codes = codes_of(scores, queue if in_use else None, layer.weight)
        if queue is not None:
            fresh = torch.stack(z.detach().chunk(len(CROPS))[:ASSIGNED])
            queue = torch.cat([fresh, queue[:, :-BATCH]], dim=1)
        loss = swapped(scores, codes)
        loss.backward()
        if step < FROZEN_STEPS:
            layer.weight.grad = None
        optimiser.step(inputs["lr"][step].item())
        losses.append(loss.detach())
        history.append(torch.stack(codes))
    results = {"loss": torch.stack(losses), "codes": torch.stack(history), "queue": queue}
    nets = {"online": net, "prototypes": layer}
    return results | final(nets) | kink_margin(distances, dtype)
