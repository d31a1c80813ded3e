"""Optimisers step by step on fixed gradients, and the schedules as tables."""

import math
from functools import partial

import numpy as np
import torch
from lightly.utils.lars import LARS as LightlyLars
from torch import Tensor

from common import GoldenFile, in_both_precisions, normal, random, single


def make() -> list[GoldenFile]:
    """The optimisers, then the schedules."""
    return [sgd(), adam(), lars(), clip(), schedules(), method_schedules()]


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


RATES = [3.0, 3.0, 2.0, 0.5, 4.0]
# A weight, a bias, a BatchNorm scale, and a weight that starts at 0, where no ratio of norms is
# defined.
SHAPES = {"weight": (4, 3), "bias": (4,), "scale": (5,), "zero": (3, 2)}


def start_and_gradients(stream: int) -> dict[str, Tensor]:
    """`<tensor>.initial` and `<tensor>.grad` (first axis = step)."""
    rng = random(stream)
    inputs = {}
    for name, shape in SHAPES.items():
        inputs[f"{name}.initial"] = normal(rng, *shape) * (name != "zero")
        inputs[f"{name}.grad"] = normal(rng, len(RATES), *shape)
    return inputs


def adam() -> GoldenFile:
    """AdamW as MoCo v3/DINO and as MAE set it, and CPC's Adam, whose decay is in the gradient."""
    inputs = start_and_gradients(401)
    rates = [r / 100 for r in RATES]
    settings = {
        "adamw": (torch.optim.AdamW, {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}),
        "adamw_mae": (torch.optim.AdamW, {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.05}),
        "adam_cpc": (torch.optim.Adam, {"betas": (0.8, 0.999), "eps": 1e-7, "weight_decay": 1e-5}),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        results = {}
        for setting, (build, options) in settings.items():
            params = {n: inputs[f"{n}.initial"].to(dtype, copy=True) for n in SHAPES}
            optimiser = build(list(params.values()), lr=0.0, **options)
            for step, rate in enumerate(rates):
                optimiser.param_groups[0]["lr"] = rate
                for name, p in params.items():
                    p.grad = inputs[f"{name}.grad"][step].to(dtype)
                optimiser.step()
                for name, p in params.items():
                    state = optimiser.state[p]
                    history = {"param": p, "m": state["exp_avg"], "v": state["exp_avg_sq"]}
                    for what, value in history.items():
                        results.setdefault(f"{setting}.{name}.{what}", []).append(value.clone())
        return {name: torch.stack(values) for name, values in results.items()}

    exact, agreement = in_both_precisions(run)
    holds = (
        "Five steps at the rates in lr on weight, bias, scale and zero (<tensor>.initial, .grad "
        "per step): torch.optim.AdamW with betas (0.9, 0.999), eps 1e-8, decoupled decay 0.1 on every "
        "tensor (adamw.*), betas (0.9, 0.95), decay 0.05 (adamw_mae.*), and torch.optim.Adam with "
        "betas (0.8, 0.999), eps 1e-7, decay 1e-5 added to the gradient (adam_cpc.*): parameter, "
        "first and second moment after each step, the moments without bias correction."
    )
    lr = torch.tensor(rates, dtype=torch.float64)
    return GoldenFile("adam", holds, inputs | single(exact) | {"lr": lr}, agreement)


MOMENTUM, DECAY = 0.9, 0.01


def ratio(p: Tensor, update: Tensor, eta: float) -> Tensor:
    """LARS's eta |p| / |update|, and 1 where a norm is 0."""
    if p.norm() == 0 or update.norm() == 0:
        return torch.ones((), dtype=p.dtype)
    return eta * p.norm() / update.norm()


def lars_moco_v3(
    p: Tensor, grad: Tensor, buffer: Tensor, lr: float, decay: float
) -> tuple[Tensor, Tensor]:
    """MoCo v3, MAE (adapted where ndim > 1) and BYOL (all but biases and BatchNorm)."""
    update = grad
    if p.ndim > 1:
        update = grad + decay * p
        update = update * ratio(p, update, 0.001)
    buffer = MOMENTUM * buffer + update
    return p - lr * buffer, buffer


def lars_simclr(
    p: Tensor, grad: Tensor, buffer: Tensor, lr: float, decay: float
) -> tuple[Tensor, Tensor]:
    """SimCLR's TensorFlow code: the rate is inside the buffer."""
    update, trust = grad, 1.0
    if p.ndim > 1:
        update = grad + decay * p
        trust = ratio(p, update, 0.001)
    buffer = MOMENTUM * buffer + lr * trust * update
    return p - buffer, buffer


def larc_apex(
    p: Tensor, grad: Tensor, buffer: Tensor, lr: float, decay: float
) -> tuple[Tensor, Tensor]:
    """SwAV, SimSiam's probe: LARC(clip=False) around SGD, on every tensor.

    Where a norm is 0 there is neither adaptation nor decay.
    """
    update = grad
    if p.norm() != 0 and grad.norm() != 0:
        trust = 0.001 * p.norm() / (grad.norm() + decay * p.norm() + 1e-8)
        update = trust * (grad + decay * p)
    buffer = MOMENTUM * buffer + update
    return p - lr * buffer, buffer


def lars_solo_learn(
    p: Tensor, grad: Tensor, buffer: Tensor, lr: float, decay: float, eta: float = 0.02
) -> tuple[Tensor, Tensor]:
    """solo-learn: eta 0.02, the adapted rate never above the global one, tensors of ndim 1 free."""
    update = grad
    if p.ndim != 1 and p.norm() != 0 and grad.norm() != 0:
        trust = eta * p.norm() / (grad.norm() + decay * p.norm() + 1e-8)
        update = min(trust / lr, 1.0) * (grad + decay * p)
    buffer = MOMENTUM * buffer + update
    return p - lr * buffer, buffer


FLAVOURS = {
    "moco_v3": lars_moco_v3,
    "simclr": lars_simclr,
    "apex": larc_apex,
    "solo_learn": lars_solo_learn,
    # Large enough that the limit acts at some steps and not at others.
    "solo_learn_limited": partial(lars_solo_learn, eta=1.0),
}


def lars() -> GoldenFile:
    """LARS in the flavours of the published codes."""
    inputs = start_and_gradients(402)

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        results = {}
        for flavour, step_of in FLAVOURS.items():
            for name in SHAPES:
                p = inputs[f"{name}.initial"].to(dtype)
                buffer, params, buffers = torch.zeros_like(p), [], []
                for step, rate in enumerate(RATES):
                    p, buffer = step_of(
                        p, inputs[f"{name}.grad"][step].to(dtype), buffer, rate, DECAY
                    )
                    params.append(p)
                    buffers.append(buffer)
                results[f"{flavour}.{name}.param"] = torch.stack(params)
                results[f"{flavour}.{name}.momentum"] = torch.stack(buffers)
        return results | lars_lightly(inputs, dtype)

    exact, agreement = in_both_precisions(run)
    holds = (
        f"Five steps of LARS at the rates in lr, momentum {MOMENTUM}, decay {DECAY}, on weight, "
        "bias, scale (BatchNorm's) and zero (a weight that starts at 0), <tensor>.initial and "
        ".grad per step; parameter and momentum buffer after each step. moco_v3.* (also MAE's and "
        "BYOL's): trust 0.001, matrices only are decayed and adapted, ratio 1 where a norm is 0, "
        "rate outside the buffer. simclr.*: the same with the rate inside the buffer. apex.*: LARC "
        "clip=False, trust 0.001 |p| / (|g| + wd |p| + 1e-8) on every tensor, times (g + wd p), "
        "neither where a norm is 0. solo_learn.*: eta 0.02 in that formula, min(trust / lr, 1), "
        "tensors of ndim 1 get neither; solo_learn_limited.*: with eta 1, where the minimum is 1 at "
        "some steps. lightly.*: lightly.utils.lars, decay 0 for bias and scale."
    )
    lr = torch.tensor(RATES, dtype=torch.float64)
    return GoldenFile("lars", holds, inputs | single(exact) | {"lr": lr}, agreement)


def lars_lightly(inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """lightly's own class, which must equal apex's formula on the tensors that it decays."""
    params = {n: inputs[f"{n}.initial"].to(dtype, copy=True) for n in SHAPES}
    groups = [
        {"params": [params["weight"], params["zero"]], "weight_decay": DECAY},
        {"params": [params["bias"], params["scale"]], "weight_decay": 0.0},
    ]
    optimiser = LightlyLars(groups, lr=0.0, momentum=MOMENTUM)
    history = {f"lightly.{n}.{what}": [] for n in SHAPES for what in ("param", "momentum")}
    for step, rate in enumerate(RATES):
        for group in optimiser.param_groups:
            group["lr"] = rate
        for name, p in params.items():
            p.grad = inputs[f"{name}.grad"][step].to(dtype, copy=True)
        optimiser.step()
        for name, p in params.items():
            history[f"lightly.{name}.param"].append(p.clone())
            buffer = optimiser.state[p]["momentum_buffer"]
            history[f"lightly.{name}.momentum"].append(buffer.clone())
    results = {name: torch.stack(values) for name, values in history.items()}
    p, buffer = inputs["weight.initial"].to(dtype), torch.zeros(SHAPES["weight"], dtype=dtype)
    for step, rate in enumerate(RATES):
        p, buffer = larc_apex(p, inputs["weight.grad"][step].to(dtype), buffer, rate, DECAY)
    torch.testing.assert_close(p, results["lightly.weight.param"][-1])
    return results


def clip_each(grad: Tensor, limit: float) -> Tensor:
    """DINO: each parameter's gradient by itself, scaled by limit / (norm + 1e-6) if below 1."""
    return grad * min(1.0, limit / (grad.norm().item() + 1e-6))


def clip() -> GoldenFile:
    """Clipping per parameter beside clipping by the global norm."""
    rng = random(403)
    inputs = {f"grad.{i}": normal(rng, *s, std=0.9) for i, s in enumerate([(8, 5), (3,), (30,)])}

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        grads = {name: g.to(dtype) for name, g in inputs.items()}
        each = {f"each.{n[5:]}": clip_each(g, 3.0) for n, g in grads.items()}
        whole = [g.clone().requires_grad_() for g in grads.values()]
        for p, g in zip(whole, grads.values()):
            p.grad = g.clone()
        torch.nn.utils.clip_grad_norm_(whole, 3.0)
        return each | {f"global.{i}": p.grad for i, p in enumerate(whole)}

    exact, agreement = in_both_precisions(run)
    holds = (
        "Gradients grad.i clipped at 3.0: each.i by its own norm (DINO: factor 3 / (norm + 1e-6) "
        "where below 1), global.i by the norm of all (torch.nn.utils.clip_grad_norm_)."
    )
    return GoldenFile("clip", holds, inputs | single(exact), agreement)


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


def cosine_iterations(
    base: float, final: float, total: int, warmup: int = 0, start: float = 0.0
) -> list[float]:
    """DINO's and SwAV's tables: the warm-up's last step is at `base` already (it is a linspace),
    then a cosine that would reach `final` one step after the last.
    """
    line = np.linspace(start, base, warmup).tolist()
    rest = total - warmup
    return line + [final + (base - final) * cosine(i, rest) for i in range(rest)]


def method_schedules() -> GoldenFile:
    """Rates, momenta, decays and temperatures of the other methods."""
    epochs, per_epoch = 30, 13
    total = epochs * per_epoch
    tables = {
        "dino.lr": cosine_iterations(5e-4, 1e-6, total, warmup=10 * per_epoch),
        "dino.weight_decay": cosine_iterations(0.04, 0.4, total),
        "dino.momentum": cosine_iterations(0.996, 1.0, total),
        "dino.teacher_temperature": np.linspace(0.04, 0.07, 10).tolist() + [0.07] * 20,
        "swav.lr_4096": cosine_iterations(4.8, 0.0048, total, warmup=10 * per_epoch, start=0.3),
        "swav.lr_256": cosine_iterations(0.6, 0.0006, total),
        "moco_v3.momentum": [1 - 0.01 * cosine(i / per_epoch, epochs) for i in range(total)],
        "byol.momentum": [1 - (1 - 0.996) * cosine(i, total) for i in range(total)],
        "byol.lr": [0.45 * warm_cosine(i, total, 10 * per_epoch) for i in range(total)],
        "mae.lr": [1.5e-4 * warm_cosine(i / per_epoch, epochs, 4) for i in range(total)],
        "simsiam.lr": [0.05 * cosine(e, epochs) for e in range(epochs)],
        "instdisc_cifar.lr": [0.03 * 0.1 ** max(0, (e - 80) // 40) for e in range(200)],
        "invaspread.lr": [
            0.03 * ([1.0, 0.1, 0.05, 0.01][sum(e >= m for m in (120, 160, 200))])
            for e in range(301)
        ],
        "cmc.lr": [0.03 * steps(e, [120, 160, 200]) for e in range(240)],
        "mae.layer_decay": [0.65 ** (13 - i) for i in range(14)],
    }
    holds = (
        "Schedules in float64; 30 epochs of 13 steps per step unless said. dino.lr 5e-4 to 1e-6 "
        "and swav.lr_4096 4.8 to 0.0048 (from 0.3) with 10 epochs of warm-up as linspace, i.e. "
        "step i of W at start + (base - start) i / (W - 1), then final + (base - final) (1 + cos "
        "(pi i / rest)) / 2; swav.lr_256 0.6 to 0.0006 without. dino.weight_decay 0.04 to 0.4, "
        "dino.momentum 0.996 to 1; dino.teacher_temperature per epoch, linspace(0.04, 0.07, 10) "
        "then 0.07. moco_v3.momentum from 0.99 at fractional epochs, byol.momentum from 0.996 per "
        "step. byol.lr 0.45 (10 epochs of warm-up, step i at i / W), mae.lr 1.5e-4 (4 epochs). Per "
        "epoch: simsiam.lr, instdisc_cifar.lr, invaspread.lr, cmc.lr. mae.layer_decay: the factor "
        "0.65^(13 - i) of layer i for depth 12 (0 = patches, class token, positions; block b = "
        "b + 1; 13 = final norm and head)."
    )
    tensors = {name: torch.tensor(v, dtype=torch.float64) for name, v in tables.items()}
    return GoldenFile("method_schedules", holds, tensors)
