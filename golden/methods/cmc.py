"""CMC (Tian et al. 2020, arXiv 1906.05849): two encoders, each scored against the other's bank.

The published code is followed: the L features meet memory_ab and the ab features memory_l on one
set of sampled indices; each view has its own Z, fixed at the first batch; each bank's rows move by
their own view's features, after the loss.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import GoldenFile, in_both_precisions, normal, random, single
from methods.common import (
    PIXELS,
    STEPS,
    final,
    initial,
    kink_margin,
    load,
    random_parameters,
    sgd_step,
    table,
    trajectory_file,
    views_of,
)
from methods.instdisc import bank_scores, nce, random_bank, random_samples, update_bank
from resnet import ResNet, watch_kinks
from trajectory import pixels

IMAGES, DIM, NEGATIVES, BATCH, SIZE, TEMPERATURE = 20, 16, 9, 6, 12, 0.1
VIEWS = {"l": slice(0, 1), "ab": slice(1, 3)}
OTHER = {"l": "ab", "ab": "l"}


def softmax(scores: Tensor) -> Tensor:
    """Cross-entropy of the positive, which is first, on exp(v . M_j / T)."""
    return F.cross_entropy(scores.log(), torch.zeros(len(scores), dtype=torch.long))


def loss_of(
    v: dict, banks: dict, samples: Tensor, kind: str, z: dict, temperature: float
) -> Tensor:
    """loss_l + loss_ab; fills `z` at its first call."""
    total = 0.0
    for view, features in v.items():
        scores = bank_scores(features, banks[OTHER[view]], samples, temperature)
        if kind == "softmax":
            total = total + softmax(scores)
            continue
        z.setdefault(view, scores.mean().item() * IMAGES)
        total = total + nce(scores, z[view], IMAGES)
    return total


def make() -> list[GoldenFile]:
    """`cmc_loss`, `cmc_trajectory`."""
    return [loss_file(), trajectory(stream=1916)]


def loss_file() -> GoldenFile:
    """Both losses on given features, and the banks afterwards."""
    rng, batch, temperature = random(1900), 5, 0.07
    inputs = {f"v_{view}": normal(rng, batch, DIM) for view in VIEWS}
    inputs |= {f"bank_{view}": random_bank(rng, IMAGES, DIM) for view in VIEWS}
    inputs["index"] = torch.tensor([3, 17, 0, 11, 8])
    inputs["samples"] = random_samples(rng, inputs["index"], IMAGES, NEGATIVES)

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        results = {}
        banks = {view: inputs[f"bank_{view}"].to(dtype) for view in VIEWS}
        for kind in ("nce", "softmax"):
            raw = {v: inputs[f"v_{v}"].to(dtype, copy=True).requires_grad_() for v in VIEWS}
            unit = {view: F.normalize(t) for view, t in raw.items()}
            z = {}
            loss = loss_of(unit, banks, inputs["samples"], kind, z, temperature)
            loss.backward()
            swapped = {view: banks[OTHER[view]] for view in VIEWS}
            wrong = loss_of(unit, swapped, inputs["samples"], kind, {}, temperature)
            assert (wrong - loss).abs() > 1e-2
            results |= {f"{kind}.loss": loss.detach(), f"{kind}.uncrossed_loss": wrong.detach()}
            results |= {f"{kind}.grad_v_{view}": t.grad for view, t in raw.items()}
            results |= {f"{kind}.z_{view}": torch.tensor(t, dtype=dtype) for view, t in z.items()}
        for view, bank in banks.items():
            v = F.normalize(inputs[f"v_{view}"].to(dtype))
            results[f"bank_{view}_after"] = update_bank(bank, v, inputs["index"], 0.5)
        return results

    exact, agreement = in_both_precisions(run)
    holds = (
        f"CMC at T {temperature}: features v_l, v_ab [N, D] (not yet normalised), banks bank_l, "
        f"bank_ab [{IMAGES}, D] (not normalised at the start), index, samples [N, 1 + 9] (own "
        "index first). loss = v_l against bank_ab + v_ab against bank_l. nce.*: InstDisc's NCE "
        "with one constant Z per view (z_l belongs to v_l), mean(exp) * 20 over its own scores; "
        "softmax.*: cross-entropy over the 10 sampled rows. Gradients are for the features as "
        "given. uncrossed_loss is what each feature against its own bank would give (with its own "
        "Z). bank_*_after: rows L2(0.5 M + 0.5 v) by the bank's own view."
    )
    return GoldenFile("cmc_loss", holds, inputs | single(exact), agreement)


def encoder(channels: int) -> ResNet:
    """A ResNet-18 of half the width of the others', on one or two channels."""
    net = ResNet(18, 2, "cifar", DIM)
    net.conv1 = nn.Conv2d(channels, 2, 3, padding=1, bias=False)
    return net


def encoders() -> dict[str, ResNet]:
    """One per view."""
    return {view: encoder(cut.stop - cut.start) for view, cut in VIEWS.items()}


def trajectory(stream: int) -> GoldenFile:
    """Five steps with either loss, from one start."""
    rng = random(stream)
    params = {view: random_parameters(net, rng) for view, net in encoders().items()}
    (view,) = views_of(rng, BATCH, [SIZE])
    index = torch.stack([torch.from_numpy(rng.permutation(IMAGES)[:BATCH]) for _ in range(STEPS)])
    inputs = initial(params) | {
        "view": view,
        "index": index,
        "samples": random_samples(rng, index, IMAGES, NEGATIVES),
        "bank_l_initial": random_bank(rng, IMAGES, DIM),
        "bank_ab_initial": random_bank(rng, IMAGES, DIM),
        "lr": table([0.03, 0.03, 0.03, 0.003, 0.003]),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        by_nce, by_softmax = (run_one(params, inputs, dtype, kind) for kind in ("nce", "softmax"))
        margin = torch.minimum(by_nce.pop("kink_margin"), by_softmax.pop("kink_margin"))
        return by_nce | by_softmax | {"kink_margin": margin}

    holds = (
        f"{STEPS} steps of CMC, twice from one start: nce.* and softmax.*. Channel 0 of view is L, "
        f"1 and 2 are ab, already scaled; l and ab: ResNet-18 of width 2, CIFAR stem, 1 and 2 "
        f"input channels, fc to {DIM}, then L2. Batch {BATCH}, {IMAGES} images, T {TEMPERATURE}, "
        "bank momentum 0.5 after the loss, Z per view from the first step, SGD at lr[step], "
        f"momentum 0.9, weight decay 1e-4 on everything. {PIXELS} initial.{{l,ab}}.*, index, "
        "samples; <kind>.loss per step, <kind>.bank_{l,ab} and <kind>.final.{l,ab}.* after the "
        "last, nce.z_{l,ab}."
    )
    return trajectory_file("cmc_trajectory", holds, inputs, run)


def run_one(params: dict, inputs: dict, dtype: torch.dtype, kind: str) -> dict[str, Tensor]:
    """The five steps with one loss."""
    nets = {view: load(net, params[view], dtype) for view, net in encoders().items()}
    distances = watch_kinks(nn.ModuleList(nets.values()))
    weights = [p for net in nets.values() for p in net.parameters()]
    optimiser = torch.optim.SGD(weights, lr=0.0, momentum=0.9, weight_decay=1e-4)
    banks = {view: inputs[f"bank_{view}_initial"].to(dtype) for view in VIEWS}
    z, losses = {}, []
    for step in range(STEPS):
        x = pixels(inputs["view"][step]).to(dtype)
        v = {view: F.normalize(net(x[:, VIEWS[view]])) for view, net in nets.items()}
        loss = loss_of(v, banks, inputs["samples"][step], kind, z, TEMPERATURE)
        sgd_step(optimiser, loss, [inputs["lr"][step].item()])
        for view in VIEWS:
            features, index = v[view].detach(), inputs["index"][step]
            banks[view] = update_bank(banks[view], features, index, 0.5)
        losses.append(loss.detach())
    results = {"loss": torch.stack(losses)} | final(nets)
    results |= {f"bank_{view}": bank for view, bank in banks.items()}
    results |= {f"z_{view}": torch.tensor(value, dtype=dtype) for view, value in z.items()}
    return {f"{kind}.{n}": t for n, t in results.items()} | kink_margin(distances, dtype)
