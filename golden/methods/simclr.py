"""SimCLR v1 and v2 (Chen et al. 2020, arXiv 2002.05709 and 2006.10029): NT-Xent.

The paper averages over the 2N rows (Eq. 1 and Alg. 1), the published code adds the means of the
two halves, which is twice that. v1's trajectory takes the paper's mean, v2's the code's sum. The
head is the code's: no biases, and a last BatchNorm with scale but without shift. v2's memory is in
the paper only: a queue of a moving average's outputs, whose entries are further negatives.
"""

from copy import deepcopy
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
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
from optim import lars_simclr, warm_cosine
from resnet import watch_kinks
from trajectory import pixels

BATCH, SIZE, LR, DECAY, TEMPERATURE = 8, 12, 0.15, 1e-3, 0.5
HEADS = {"simclr": [32, 32, 16], "simclr_v2": [32, 32, 32, 16]}


def nt_xent(z1: Tensor, z2: Tensor, temperature: float, memory: Tensor | None = None) -> Tensor:
    """Eq. 1 on unit rows `[N, D]`, averaged over all 2N; `memory` [K, D] are further negatives."""
    z = torch.cat([z1, z2])
    logits = z @ z.T / temperature
    logits = logits.masked_fill(torch.eye(len(z), dtype=torch.bool), -1e9)
    if memory is not None:
        logits = torch.cat([logits, z @ memory.T / temperature], dim=1)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))


def nt_xent_sum(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """The published code's: mean over view 1's rows plus mean over view 2's."""
    masked = torch.eye(len(z1), dtype=torch.bool)
    positives = torch.arange(len(z1))

    def half(a: Tensor, b: Tensor) -> Tensor:
        own = (a @ a.T / temperature).masked_fill(masked, -1e9)
        return F.cross_entropy(torch.cat([a @ b.T / temperature, own], dim=1), positives)

    return half(z1, z2) + half(z2, z1)


def make() -> list[GoldenFile]:
    """`simclr_loss`, `simclr_trajectory`, `simclr_v2_trajectory`, `simclr_memory_trajectory`."""
    return [
        loss_file(),
        trajectory("simclr", stream=1520),
        trajectory("simclr_v2", stream=1569),
        memory_trajectory(stream=1581),
    ]


def loss_file() -> GoldenFile:
    """NT-Xent at two temperatures in both reductions."""
    rng = random(1500)
    z1 = normal(rng, 6, 16)
    inputs = {"z1": z1, "z2": z1 + 0.8 * normal(rng, 6, 16)}
    inputs["memory"] = F.normalize(normal(rng, 9, 16))

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        results = {}
        for label, temperature in (("t010", 0.1), ("t050", 0.5)):
            with_memory = partial(nt_xent, memory=inputs["memory"].to(dtype))
            losses = ("mean", nt_xent), ("sum", nt_xent_sum), ("memory", with_memory)
            for name, loss_of in losses:
                leaves = [inputs[n].to(dtype, copy=True).requires_grad_() for n in ("z1", "z2")]
                loss = loss_of(*map(F.normalize, leaves), temperature)
                loss.backward()
                results[f"{label}.{name}.loss"] = loss.detach()
                for n, leaf in zip(("z1", "z2"), leaves):
                    results[f"{label}.{name}.grad_{n}"] = leaf.grad
            peer = NTXentLoss(temperature)(*(inputs[n].to(dtype) for n in ("z1", "z2")))
            torch.testing.assert_close(results[f"{label}.mean.loss"], peer)
            torch.testing.assert_close(2 * peer, results[f"{label}.sum.loss"])
        return results

    exact, agreement = in_both_precisions(run)
    holds = (
        "NT-Xent of z1, z2 [N, D] (not yet normalised) at T 0.1 (t010.*) and 0.5 (t050.*): mean.* "
        "averaged over 2N rows (paper), sum.* mean of view 1's rows plus mean of view 2's "
        "(published code, twice the other), memory.* as mean.* with the 9 rows of memory as further "
        "negatives; loss and gradients for z1 and z2 as given."
    )
    return GoldenFile("simclr_loss", holds, inputs | single(exact), agreement)


def online(widths: list[int]) -> nn.Module:
    """Backbone and projector."""
    head = mlp(widths, hidden_bias=False, last_bias=False, last_norm="scale")
    return stack(backbone=backbone(), projector=head)


def start(rng: np.random.Generator, widths: list[int]) -> tuple[dict, dict[str, Tensor]]:
    """Weights of the network, and what a trajectory is given: those, the views and the rates."""
    params = {"online": random_parameters(online(widths), rng)}
    view1, view2 = views_of(rng, BATCH, [SIZE, SIZE])
    rates = table(LR * warm_cosine(t, STEPS, 2) for t in range(STEPS))
    return params, initial(params) | {"view1": view1, "view2": view2, "lr": rates}


def trajectory(name: str, stream: int) -> GoldenFile:
    """Five steps of LARS with the rate inside its buffer."""
    widths, loss_of = HEADS[name], nt_xent if name == "simclr" else nt_xent_sum
    params, inputs = start(random(stream), widths)

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = load(online(widths), params["online"], dtype)
        distances = watch_kinks(net)
        optimiser = Lars(net.parameters(), lars_simclr, DECAY)
        losses = []
        for step in range(STEPS):
            both = torch.cat([inputs["view1"][step], inputs["view2"][step]])
            z1, z2 = F.normalize(net(pixels(both).to(dtype))).chunk(2)
            loss = loss_of(z1, z2, TEMPERATURE)
            loss.backward()
            optimiser.step(inputs["lr"][step].item())
            losses.append(loss.detach())
        results = {"loss": torch.stack(losses)} | final({"online": net})
        return results | kink_margin(distances, dtype)

    reduction = "mean over 2N rows" if name == "simclr" else "mean of view 1 plus mean of view 2"
    holds = (
        f"{STEPS} steps of {name}: {BACKBONE}; projector {widths}: per hidden layer Linear without "
        "bias, BatchNorm, ReLU; then Linear without bias and BatchNorm with scale but no shift. "
        f"[view1, view2] of {BATCH} images in one forward, T {TEMPERATURE}, {reduction}; LARS "
        "(lars, simclr flavour: rate inside the buffer, biases and BatchNorm free of decay and "
        f"adaptation) at lr[step], momentum 0.9, decay {DECAY}. {PIXELS} initial.online.*, loss "
        "per step, final.online.*; online holds backbone.* and projector.*."
    )
    return trajectory_file(f"{name}_trajectory", holds, inputs, run)


def memory_trajectory(stream: int) -> GoldenFile:
    """Five steps of v1's network with a memory: 16 keys a step, 40 places."""
    rng, momentum, places = random(stream), 0.9, 40
    widths = HEADS["simclr"]
    params, inputs = start(rng, widths)
    inputs |= {
        "initial.queue.keys": F.normalize(normal(rng, places, widths[-1])),
        "initial.queue.owners": torch.full((places,), -1.0),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = load(online(widths), params["online"], dtype)
        distances = watch_kinks(net)
        target = deepcopy(net).requires_grad_(False)
        optimiser = Lars(net.parameters(), lars_simclr, DECAY)
        queue, owners = (inputs[f"initial.queue.{n}"].to(dtype) for n in ("keys", "owners"))
        order, losses = torch.arange(places), []
        for step in range(STEPS):
            both = pixels(torch.cat([inputs["view1"][step], inputs["view2"][step]])).to(dtype)
            move_average(target, net, momentum)
            keys = F.normalize(target(both))
            z1, z2 = F.normalize(net(both)).chunk(2)
            loss = nt_xent(z1, z2, TEMPERATURE, queue)
            loss.backward()
            optimiser.step(inputs["lr"][step].item())
            oldest, order = order[: len(keys)], order.roll(-len(keys))
            queue, owners = queue.clone(), owners.clone()
            queue[oldest], owners[oldest] = keys, torch.arange(BATCH).repeat(2).to(dtype)
            losses.append(loss.detach())
        nets = final({"online": net, "target": target})
        results = {"loss": torch.stack(losses), "final.queue.keys": queue} | nets
        return results | {"final.queue.owners": owners} | kink_margin(distances, dtype)

    holds = (
        f"As simclr_trajectory, with v2's memory: {places} places of a queue, random unit rows at "
        f"the start, whose keys are negatives of all 2N rows. A copy of the network moves by "
        f"momentum {momentum} before each step and makes the keys of [view1, view2], which take "
        "the oldest places after the loss. owners: the position in the batch of each key's image, "
        "-1 at the start. final.target.* is the copy."
    )
    return trajectory_file("simclr_memory_trajectory", holds, inputs, run)
