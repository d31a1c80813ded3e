"""What the methods' trajectories share: views, networks, heads, and how a file is packed."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import GoldenFile, compare, normal, rounded_to, single, uniform
from resnet import ResNet, channel_signs, random_tensor, state_of

STEPS = 5
# AdamW divides a gradient by its own size. Where a gradient is 0 but for rounding (the keys' third
# of a qkv bias, a shift that a BatchNorm removes) the usual eps of 1e-8 makes steps of that noise.
ADAM_EPS = 1e-4
BACKBONE = "ResNet-18 of width 4 with CIFAR stem (features of 32)"
PIXELS = "Input = (byte - 128) / 64; running statistics start at 0 and 1."


def views_of(rng: np.random.Generator, batch: int, sizes: list[int]) -> list[Tensor]:
    """One view per size, in bytes `[STEPS, N, size, size, 3]`.

    The views of an image share a smooth picture and differ in contrast and noise.
    """
    coarse = torch.from_numpy(rng.standard_normal((STEPS * batch, 3, 4, 4)))
    views = []
    for size in sizes:
        image = F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
        contrast = torch.from_numpy(rng.uniform(0.6, 1.4, (STEPS * batch, 3, 1, 1)))
        noise = torch.from_numpy(rng.standard_normal(image.shape))
        levels = (128 + 64 * (contrast * image + 0.3 * noise)).round().clamp(0, 255)
        stored = levels.permute(0, 2, 3, 1).reshape(STEPS, batch, size, size, 3)
        views.append(stored.to(torch.uint8).contiguous())
    return views


def table(values: Iterable[float]) -> Tensor:
    """A schedule, float64."""
    return torch.tensor(list(values), dtype=torch.float64)


def backbone() -> ResNet:
    """ResNet-18 of width 4 without `fc`."""
    net = ResNet(18, 4, "cifar", 1)
    net.fc = nn.Identity()
    return net


def encoder(dim: int) -> ResNet:
    """ResNet-18 of width 4 with a linear `fc` to `dim`."""
    return ResNet(18, 4, "cifar", dim)


def mlp(
    widths: list[int], hidden_bias: bool, last_bias: bool, last_norm: str = ""
) -> nn.Sequential:
    """Linear, BatchNorm, ReLU per hidden layer, then Linear.

    `last_norm` adds a BatchNorm behind it: "plain" without scale and shift, "scale" without shift.
    """
    layers = []
    for i, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        last = i == len(widths) - 2
        layers.append(nn.Linear(inputs, outputs, bias=last_bias if last else hidden_bias))
        if not last:
            layers += [nn.BatchNorm1d(outputs), nn.ReLU()]
    if last_norm:
        norm = nn.BatchNorm1d(widths[-1], affine=last_norm == "scale")
        if last_norm == "scale":
            norm.register_parameter("bias", None)
        layers.append(norm)
    return nn.Sequential(*layers)


def stack(**modules: nn.Module) -> nn.Sequential:
    """Modules in a row, under their names."""
    row = nn.Sequential()
    for name, module in modules.items():
        row.add_module(name, module)
    return row


def random_parameters(net: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
    """Random parameters; BatchNorms before a ReLU are kept away from its kink."""
    return {name: random_parameter(net, name, p.shape, rng) for name, p in net.named_parameters()}


def random_parameter(
    net: nn.Module, name: str, shape: torch.Size, rng: np.random.Generator
) -> Tensor:
    """One parameter of a ResNet, or of a head of `mlp`."""
    module = net.get_submodule(name.rpartition(".")[0])
    if isinstance(module, nn.Linear):
        scale = module.in_features**-0.5 if name.endswith("weight") else 0.1
        return normal(rng, *shape, std=scale)
    if not isinstance(module, nn.BatchNorm1d):
        return random_tensor(name, shape, 18, rng)
    if module.bias is None:
        return uniform(rng, *shape, low=0.7, high=1.3)
    if name.endswith("weight"):
        return uniform(rng, *shape, low=0.4, high=0.6)
    return channel_signs(*shape) * uniform(rng, *shape, low=0.9, high=1.3)


def load(net: nn.Module, params: dict[str, Tensor], dtype: torch.dtype) -> nn.Module:
    """`net` with these parameters, in `dtype` and in training mode."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(params[name])
    return net.to(dtype).train()


@torch.no_grad()
def move_average(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """target = m * target + (1 - m) * online, over parameters only."""
    for t, o in zip(target.parameters(), online.parameters(), strict=True):
        t.copy_(momentum * t + (1.0 - momentum) * o)


def sgd_step(optimiser: torch.optim.Optimizer, loss: Tensor, rates: list[float]) -> None:
    """One step, with one rate per parameter group."""
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


class Lars:
    """An optimiser from one of optim.py's step functions."""

    def __init__(self, params: Iterable[Tensor], step_of: Callable, decay: float):
        self.params = list(params)
        self.buffers = [torch.zeros_like(p) for p in self.params]
        self.step_of, self.decay = step_of, decay

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Moves every parameter that has a gradient, and forgets the gradients."""
        for i, p in enumerate(self.params):
            if p.grad is None:
                continue
            after, self.buffers[i] = self.step_of(p, p.grad, self.buffers[i], rate, self.decay)
            p.copy_(after)
            p.grad = None


def final(nets: dict[str, nn.Module]) -> dict[str, Tensor]:
    """`final.<net>.<name>`: parameters and running statistics.

    Left out: the running mean in a predictor that follows a BatchNorm without shift. It is 0 but
    for rounding, so that nothing can be compared with it.
    """
    follows_norm = "online" in nets and has_plain_last_norm(nets["online"])
    return {
        f"final.{net}.{name}": value
        for net, module in nets.items()
        for name, value in state_of(module).items()
        if not (follows_norm and net == "predictor" and name == "1.running_mean")
    }


def has_plain_last_norm(net: nn.Module) -> bool:
    """Whether the projector ends in a BatchNorm without scale and shift."""
    last = net.projector[-1]
    return isinstance(last, nn.BatchNorm1d) and not last.affine


def initial(nets: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """`initial.<net>.<name>`."""
    return {f"initial.{net}.{n}": p for net, params in nets.items() for n, p in params.items()}


def kink_margin(distances: list[float], dtype: torch.dtype) -> dict[str, Tensor]:
    """The entry that `compare` takes out."""
    return {"kink_margin": torch.tensor(min(distances), dtype=dtype)}


def trajectory_file(
    name: str, holds: str, inputs: dict[str, Tensor], run: Callable[[torch.dtype], dict]
) -> GoldenFile:
    """Runs in both precisions and packs inputs and results."""
    exact, rounded = run(torch.float64), run(torch.float32)
    agreement = compare(exact, rounded)
    for group in agreement.values():
        if isinstance(group, dict) and exact.get(group["tensor"], torch.zeros(())).shape == (
            STEPS,
        ):
            truth = exact[group["tensor"]]
            by_step = ((rounded[group["tensor"]].double() - truth) / truth).abs()
            group["by_step"] = [rounded_to(d.item(), digits=2) for d in by_step]
    return GoldenFile(name, holds, inputs | single(exact), agreement)
