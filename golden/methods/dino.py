"""DINO (Caron et al. 2021, arXiv 2104.14294): self-distillation with centre and sharpening.

As in the published code: the centre moves after the loss has used it, by the teacher's logits; each
parameter's gradient is clipped by its own norm; the last layer's gradient is dropped in the first
epoch after that; weight decay spares biases and one-dimensional parameters (class token, positions
and the last layer's g are decayed); the teacher moves last, by parameters only. lightly clips by
the global norm and is the second opinion on the loss only.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from lightly.loss import DINOLoss
from torch import Tensor, nn

from common import GoldenFile, in_both_precisions, normal, random, single
from methods.common import (
    ADAM_EPS,
    STEPS,
    initial,
    load,
    move_average,
    table,
    trajectory_file,
    views_of,
)
from methods.mae import decays
from optim import clip_each, cosine_iterations
from resnet import running_statistics
from trajectory import pixels
from vit import build, features, random_state

STUDENT_TEMPERATURE, CENTRE_MOMENTUM = 0.1, 0.9
BATCH, CROPS, TEACHER_CROPS, OUTPUTS = 4, [16, 16, 8, 8], 2, 20
VIT = {"dim": 24, "heads": 3, "depth": 2, "size": 16, "patch": 4}
HEAD = {"hidden": 28, "bottleneck": 12}
CLIP, FROZEN_STEPS = 0.3, 2
# Biases that a BatchNorm takes out.
NO_EFFECT = ["mlp.0.bias", "mlp.3.bias"]


def dino(student: list[Tensor], teacher: list[Tensor], centre: Tensor, tau: float) -> Tensor:
    """Mean over teacher views t and student views v != t of the cross-entropy, Eq. 3."""
    terms = []
    for t, target in enumerate(teacher):
        p = ((target.detach() - centre) / tau).softmax(dim=1)
        for v, logits in enumerate(student):
            if v != t:
                log_q = (logits / STUDENT_TEMPERATURE).log_softmax(dim=1)
                terms.append(-(p * log_q).sum(dim=1).mean())
    assert len(terms) == len(teacher) * (len(student) - 1)
    return torch.stack(terms).mean()


def move_centre(centre: Tensor, teacher: list[Tensor]) -> Tensor:
    """Eq. 4: towards the mean of the teacher's logits over all its views."""
    batch = torch.cat(teacher).detach().mean(dim=0)
    return CENTRE_MOMENTUM * centre + (1.0 - CENTRE_MOMENTUM) * batch


class LastLayer(nn.Module):
    """Weight-normed Linear without bias: rows g v / |v|; `free` trains g, else it is 1."""

    def __init__(self, inputs: int, outputs: int, free: bool):
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(outputs, 1), requires_grad=free)
        self.weight_v = nn.Parameter(torch.zeros(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.weight_g * F.normalize(self.weight_v, dim=1)).T


class Head(nn.Module):
    """Three layers with GELU, L2, and the last layer."""

    def __init__(self, free: bool):
        super().__init__()
        hidden, bottleneck = HEAD["hidden"], HEAD["bottleneck"]
        self.mlp = nn.Sequential(
            nn.Linear(VIT["dim"], hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last_layer = LastLayer(bottleneck, OUTPUTS, free)

    def forward(self, x: Tensor) -> Tensor:
        return self.last_layer(F.normalize(self.mlp(x), dim=1))


class NormHead(Head):
    """The same with a BatchNorm before each GELU."""

    def __init__(self):
        super().__init__(free=True)
        first, gelu, second, _, last = self.mlp
        norms = [nn.BatchNorm1d(HEAD["hidden"]) for _ in range(2)]
        self.mlp = nn.Sequential(first, norms[0], gelu, second, norms[1], gelu, last)


class Network(nn.Module):
    """ViT and head; crops of one size share a forward, the head sees all."""

    def __init__(self, free: bool):
        super().__init__()
        self.backbone = build(**VIT)
        self.head = Head(free)

    def forward(self, crops: list[Tensor]) -> list[Tensor]:
        sizes = list(dict.fromkeys(x.shape[-1] for x in crops))
        grouped = [torch.cat([x for x in crops if x.shape[-1] == s]) for s in sizes]
        tokens = [features(self.backbone, x)[:, 0] for x in grouped]
        return list(self.head(torch.cat(tokens)).chunk(len(crops)))


def make() -> list[GoldenFile]:
    """`dino_loss`, `dino_head`, `dino_head_norm`, `dino_trajectory`, `dino_trajectory_free_norm`."""
    return [
        loss_file(),
        head_file(),
        norm_head_file(),
        trajectory(free=False),
        trajectory(free=True),
    ]


def loss_file() -> GoldenFile:
    """The loss and the centre on given logits."""
    rng, tau = random(1800), 0.04
    inputs = {
        "student": normal(rng, 4, BATCH, OUTPUTS, std=0.3),
        "teacher": normal(rng, 2, BATCH, OUTPUTS, std=0.1),
        "centre": normal(rng, OUTPUTS, std=0.05),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        student = inputs["student"].to(dtype, copy=True).requires_grad_()
        teacher, centre = list(inputs["teacher"].to(dtype)), inputs["centre"].to(dtype)
        loss = dino(list(student), teacher, centre, tau)
        loss.backward()
        peer = DINOLoss(OUTPUTS, teacher_temp=tau, center_momentum=CENTRE_MOMENTUM).to(dtype)
        peer.center = centre[None, None].clone()
        after = move_centre(centre, teacher)
        torch.testing.assert_close(peer(teacher, list(student.detach()), teacher_temp=tau), loss)
        torch.testing.assert_close(peer.center.flatten(), after)
        return {"loss": loss.detach(), "grad_student": student.grad, "centre_after": after}

    exact, agreement = in_both_precisions(run)
    holds = (
        "DINO's loss of student logits [4 views, N, K] and teacher logits [2 views, N, K] (views 0 "
        "and 1 are the same crops; pairs of equal index are left out, 6 remain), student "
        "temperature 0.1, teacher temperature 0.04, centre [K]: loss, gradient for the student's "
        "logits, and the centre after its update with momentum 0.9."
    )
    return GoldenFile("dino_loss", holds, inputs | single(exact), agreement)


def head_file() -> GoldenFile:
    """The head alone, its norm trained."""
    rng = random(1801)
    state = head_parameters(rng)
    state["last_layer.weight_g"] = 1.0 + normal(rng, OUTPUTS, 1, std=0.2)
    inputs = {"x": normal(rng, 6, VIT["dim"]), "cotangent": normal(rng, 6, OUTPUTS)}

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = Head(free=True)
        net.load_state_dict(state)
        net.to(dtype)
        x = inputs["x"].to(dtype, copy=True).requires_grad_()
        out = net(x)
        out.backward(inputs["cotangent"].to(dtype))
        grads = {f"grad.{name}": p.grad for name, p in net.named_parameters()}
        return {"out": out.detach(), "grad_x": x.grad} | grads

    exact, agreement = in_both_precisions(run)
    holds = f"{about_head()} state.*, x, cotangent; out, grad_x and grad.* of sum(out * cotangent)."
    tensors = inputs | {f"state.{k}": v for k, v in state.items()} | single(exact)
    return GoldenFile("dino_head", holds, tensors, agreement)


def norm_head_file() -> GoldenFile:
    """The head with BatchNorm: training, its running statistics, and evaluation with them."""
    rng = random(1803)
    state = {n: head_parameter(n, p.shape, rng) for n, p in NormHead().named_parameters()}
    inputs = {"x": normal(rng, 6, VIT["dim"]), "cotangent": normal(rng, 6, OUTPUTS)}

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = load(NormHead(), state, dtype)
        x = inputs["x"].to(dtype, copy=True).requires_grad_()
        out = net(x)
        out.backward(inputs["cotangent"].to(dtype))
        grads = {f"grad.{n}": p.grad for n, p in net.named_parameters() if n not in NO_EFFECT}
        after = {f"after.{name}": value for name, value in running_statistics(net).items()}
        evaluated = {"eval_out": net.eval()(x).detach()}
        return {"out": out.detach(), "grad_x": x.grad} | grads | after | evaluated

    exact, agreement = in_both_precisions(run)
    holds = (
        f"{about_head()} A BatchNorm before each GELU, so that the modules are mlp.0 Linear, 1 "
        "norm, 3 Linear, 4 norm, 6 Linear. state.*, x, cotangent; in training mode out, grad_x and "
        "grad.* of sum(out * cotangent) but for the two biases that a norm takes out (0 but for "
        "rounding), after.* the running statistics then, eval_out the evaluation output with them."
    )
    tensors = inputs | {f"state.{k}": v for k, v in state.items()} | single(exact)
    return GoldenFile("dino_head_norm", holds, tensors, agreement)


def head_parameter(name: str, shape: torch.Size, rng) -> Tensor:
    """Weights that keep the variance of what they multiply, scales about 1, small biases."""
    if name.endswith("weight_g") or (name.endswith("weight") and len(shape) == 1):
        return 1.0 + normal(rng, *shape, std=0.2)
    return normal(rng, *shape, std=shape[-1] ** -0.5 if len(shape) > 1 else 0.1)


def about_head() -> str:
    """One sentence on the head."""
    return (
        f"DINO head {VIT['dim']}-{HEAD['hidden']}-{HEAD['hidden']}-{HEAD['bottleneck']} (Linear "
        f"with bias, exact GELU between: mlp.0, 2, 4), L2, then {OUTPUTS} outputs with rows "
        "weight_g * weight_v / |weight_v| and no bias (last_layer)."
    )


def head_parameters(rng) -> dict[str, Tensor]:
    """Random, g at 1."""
    state = random_state(Head(free=True), rng)
    state["last_layer.weight_g"] = torch.ones(OUTPUTS, 1)
    return state


def trajectory(free: bool) -> GoldenFile:
    """Five steps; the last layer joins at step 2."""
    rng = random(1802)
    params = random_state(build(**VIT), rng)
    params = {f"backbone.{n}": p for n, p in params.items()}
    params |= {f"head.{n}": p for n, p in head_parameters(rng).items()}
    views = views_of(rng, BATCH, CROPS)
    inputs = initial({"student": params}) | {f"view{i + 1}": v for i, v in enumerate(views)}
    inputs |= {
        "lr": table(cosine_iterations(2e-3, 1e-5, STEPS, warmup=2)),
        "weight_decay": table(cosine_iterations(0.04, 0.4, STEPS)),
        "momentum": table(cosine_iterations(0.9, 1.0, STEPS)),
        "teacher_temperature": table([0.04, 0.04, 0.055, 0.055, 0.07]),
    }
    holds = (
        f"{STEPS} steps of DINO: ViT (timm's names) dim 24, depth 2, heads 3, image 16, patch 4, "
        f"learned positions, class token after the final norm, no drop-path. {about_head()} g is "
        f"{'trained, decayed and starts at' if free else 'fixed at'} 1. Views 1, 2 (16 px, global) "
        f"and 3, 4 (8 px, positions interpolated, vit_interpolation) of {BATCH} images: student "
        "sees all, teacher (a copy at the start) the globals. Per step: loss (student T 0.1, "
        "teacher_temperature[step], centre, which starts at 0); centre moves with 0.9; gradients "
        f"clipped per parameter at {CLIP} (clip); the last layer's dropped in steps 0 and 1; AdamW "
        f"betas (0.9, 0.999), eps {ADAM_EPS}, lr[step], weight_decay[step] but on biases and "
        "one-dimensional parameters; teacher moves with momentum[step]. Input = (byte - 128) / 64. "
        "initial.student.*; loss per step, centre [step, K] after each, final.{student,teacher}.*."
    )
    name = "dino_trajectory_free_norm" if free else "dino_trajectory"
    return trajectory_file(name, holds, inputs, lambda dtype: run(params, inputs, dtype, free))


def run(params: dict, inputs: dict, dtype: torch.dtype, free: bool) -> dict[str, Tensor]:
    """The five steps."""
    student = Network(free)
    student.load_state_dict(params)
    student.to(dtype)
    teacher = deepcopy(student).requires_grad_(False)
    named = [(n, p) for n, p in student.named_parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for n, p in named if decays(n, p)]},
            {"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0.0},
        ],
        lr=0.0,
        eps=ADAM_EPS,
    )
    centre, losses, centres = torch.zeros(OUTPUTS, dtype=dtype), [], []
    for step in range(STEPS):
        crops = [pixels(inputs[f"view{i + 1}"][step]).to(dtype) for i in range(len(CROPS))]
        targets = teacher(crops[:TEACHER_CROPS])
        loss = dino(student(crops), targets, centre, inputs["teacher_temperature"][step].item())
        centre = move_centre(centre, targets)
        optimiser.zero_grad()
        loss.backward()
        for name, p in named:
            frozen = step < FROZEN_STEPS and "last_layer" in name
            p.grad = None if frozen else clip_each(p.grad, CLIP)
        for group in optimiser.param_groups:
            group["lr"] = inputs["lr"][step].item()
        optimiser.param_groups[0]["weight_decay"] = inputs["weight_decay"][step].item()
        optimiser.step()
        move_average(teacher, student, inputs["momentum"][step].item())
        losses.append(loss.detach())
        centres.append(centre)
    results = {"loss": torch.stack(losses), "centre": torch.stack(centres)}
    for side, net in (("student", student), ("teacher", teacher)):
        results |= {f"final.{side}.{n}": p.detach() for n, p in net.named_parameters()}
    return results
