"""torch's SGD step by step, and the learning-rate schedules as tables."""

import math

import torch
from torch import Tensor

from common import GoldenFile, in_both_precisions, normal, random, single


def make() -> list[GoldenFile]:
    """`sgd` and `schedules`."""
    return [sgd(), schedules()]


def sgd() -> GoldenFile:
    """Six steps of torch.optim.SGD with a moving rate, on fixed gradients."""
    rates = [0.1, 0.1, 0.06, 0.03, 0.003, 0.2]
    shapes = [(4, 3), (5,), (2, 2, 3, 3)]
    rng = random(400)
    inputs = {}
    for i, shape in enumerate(shapes):
        inputs[f"p{i}.initial"] = normal(rng, *shape)
        inputs[f"p{i}.grad"] = normal(rng, len(rates), *shape)

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        ids = range(len(shapes))
        start = [inputs[f"p{i}.initial"].to(dtype, copy=True) for i in ids]
        params = [p.requires_grad_() for p in start]
        optimiser = torch.optim.SGD(params, lr=rates[0], momentum=0.9, weight_decay=1e-2)
        history = {f"p{i}.{what}": [] for i in ids for what in ("param", "momentum")}
        for step, rate in enumerate(rates):
            optimiser.param_groups[0]["lr"] = rate
            for i, p in enumerate(params):
                p.grad = inputs[f"p{i}.grad"][step].to(dtype)
            optimiser.step()
            for i, p in enumerate(params):
                history[f"p{i}.param"].append(p.detach().clone())
                history[f"p{i}.momentum"].append(optimiser.state[p]["momentum_buffer"].clone())
        return {name: torch.stack(values) for name, values in history.items()}

    exact, agreement = in_both_precisions(run)
    holds = (
        "torch.optim.SGD, momentum 0.9, weight decay 1e-2, 6 steps at the rates in lr: for three "
        "tensors the start, the gradient of each step, and the parameter and momentum buffer "
        "after each step (first axis = step)."
    )
    lr = torch.tensor(rates, dtype=torch.float64)
    return GoldenFile("sgd", holds, inputs | single(exact) | {"lr": lr}, agreement)


def cosine(t: float, total: float) -> float:
    """Half a cosine from 1 at t = 0 to 0 at t = total."""
    return 0.5 * (1.0 + math.cos(math.pi * t / total))


def warm_cosine(t: float, total: float, warmup: float) -> float:
    """MoCo v3: a line from 0 over `warmup`, then half a cosine over the rest."""
    return t / warmup if t < warmup else cosine(t - warmup, total - warmup)


def steps(t: float, milestones: list[int]) -> float:
    """A tenth at each milestone passed."""
    return math.prod(0.1 for milestone in milestones if t >= milestone)


def schedules() -> GoldenFile:
    """Rates of MoCo's recipes, per epoch (t = epoch) or per step (t = step / steps per epoch)."""
    per_epoch = range(200)
    per_step = [step / 13 for step in range(30 * 13)]
    tables = {
        "cosine_epoch": [0.06 * cosine(t, 200) for t in per_epoch],
        "cosine_step": [0.06 * cosine(t, 30) for t in per_step],
        "milestones_epoch": [0.03 * steps(t, [120, 160]) for t in per_epoch],
        "warmup_cosine_epoch": [0.6 * warm_cosine(t, 200, 10) for t in per_epoch],
        "warmup_cosine_step": [0.6 * warm_cosine(t, 30, 10) for t in per_step],
    }
    holds = (
        "Learning rates as float64. *_epoch: 200 epochs, constant within one. *_step: 30 epochs "
        "of 13 steps. cosine: base 0.06. milestones: base 0.03, x0.1 at 120 and 160. "
        "warmup_cosine: base 0.6, 10 epochs of linear warm-up from 0."
    )
    tensors = {name: torch.tensor(v, dtype=torch.float64) for name, v in tables.items()}
    return GoldenFile("schedules", holds, tensors)
