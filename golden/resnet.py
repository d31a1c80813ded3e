"""torchvision's ResNets with a width setting, and their golden vectors.

Modules, forward pass and parameter names are torchvision's; only the number of channels and the
stem are ours. Gradients jump where a ReLU's input crosses 0, so BatchNorms that feed a ReLU
directly have their shift about two deviations away from it, and the streams of random numbers were
picked, out of some hundred, for a large `kink_margin`.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet as tv

from common import (
    GoldenFile,
    in_both_precisions,
    nchw,
    nhwc,
    normal,
    random,
    single,
    uniform,
)

BLOCKS = {18: (tv.BasicBlock, [2, 2, 2, 2]), 50: (tv.Bottleneck, [3, 4, 6, 3])}
OUTPUTS = 8
DIGEST_POSITIONS = 16
# Streams of the weight formula: parameter i has stream i, the cotangent and the input these.
COTANGENT_STREAM = 10_001
INPUT_STREAM = {18: 20_025, 50: 20_035}


class ResNet(tv.ResNet):
    """torchvision's ResNet with `width` channels in its first stage instead of 64."""

    def __init__(self, depth: int, width: int, stem: str, outputs: int, norm_layer=nn.BatchNorm2d):
        block, layers = BLOCKS[depth]
        super().__init__(block, layers, num_classes=outputs, norm_layer=norm_layer)
        # Assigning to names that exist keeps torchvision's order of parameters.
        self.inplanes = width
        if stem == "cifar":
            self.conv1 = nn.Conv2d(3, width, 3, stride=1, padding=1, bias=False)
            self.maxpool = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm_layer(width)
        self.layer1 = self._make_layer(block, width, layers[0])
        self.layer2 = self._make_layer(block, 2 * width, layers[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * width, layers[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * width, layers[3], stride=2)
        self.fc = nn.Linear(8 * width * block.expansion, outputs)


def state_of(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and running statistics; the batch counter means nothing at fixed momentum."""
    state = net.state_dict()
    return {k: v.clone() for k, v in state.items() if not k.endswith("num_batches_tracked")}


def running_statistics(net: nn.Module) -> dict[str, Tensor]:
    """Running means and variances only."""
    return {k: v for k, v in state_of(net).items() if k.split(".")[-1].startswith("running_")}


def watch_kinks(net: nn.Module) -> list[float]:
    """A list that grows with every forward by the distance of each ReLU and max-pool to a tie.

    Only inputs that carry a gradient count, and no exact 0: that is a sum over nothing but zeros,
    which every implementation gets.
    """
    distances: list[float] = []

    def at_relu(_module: nn.Module, args: tuple[Tensor]) -> None:
        if args[0].requires_grad:
            distance = args[0].detach().abs()
            distances.append(distance[distance > 0].min().item())

    def at_max_pool(pool: nn.MaxPool2d, args: tuple[Tensor]) -> None:
        x = args[0].detach()
        windows = F.unfold(F.pad(x, [1] * 4), pool.kernel_size, stride=pool.stride)
        best = windows.view(*x.shape[:2], 9, -1).topk(2, dim=2).values
        # Ties at 0 do not matter: the ReLU before the pool passes no gradient there.
        distances.append((best[:, :, 0] - best[:, :, 1])[best[:, :, 0] > 0].min().item())

    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(at_relu)
        elif isinstance(module, nn.MaxPool2d):
            module.register_forward_pre_hook(at_max_pool)
    return distances


def faces_relu(name: str, depth: int) -> bool:
    """Whether a ReLU follows this BatchNorm at once, with no skip added in between."""
    return "bn1" in name or (depth == 50 and "bn2" in name)


def channel_signs(channels: int) -> Tensor:
    """Three channels on, one off."""
    return torch.where(torch.arange(channels) % 4 == 3, -1.0, 1.0)


def forward_backward(net: nn.Module, x: Tensor, cotangent: Tensor) -> dict[str, Tensor]:
    """Training forward of NHWC `x` and backward of sum(out * cotangent)."""
    dtype = next(net.parameters()).dtype
    pooled = []
    hook = net.fc.register_forward_pre_hook(lambda _, args: pooled.append(args[0].detach()))
    distances = watch_kinks(net)
    out = net.train()(nchw(x).to(dtype))
    hook.remove()
    (out * cotangent.to(dtype)).sum().backward()
    grads = {f"grad.{name}": p.grad for name, p in net.named_parameters()}
    kinks = {"kink_margin": torch.tensor(min(distances), dtype=dtype)}
    return {"out": out.detach(), "features": pooled[0]} | grads | kinks


def make() -> list[GoldenFile]:
    """Two narrow networks in full, two of full width as digests."""
    return [
        *narrow(depth=18, stem="cifar", batch=8, size=16, stream=296),
        *narrow(depth=50, stem="imagenet", batch=4, size=64, stream=357),
        full_width(depth=18, stem="cifar", batch=2, size=32),
        full_width(depth=50, stem="imagenet", batch=2, size=64),
    ]


def narrow(depth: int, stem: str, batch: int, size: int, stream: int) -> list[GoldenFile]:
    """A network of width 4: its state, and everything that follows from it."""
    width = 4
    rng = random(stream)
    state = random_state(ResNet(depth, width, stem, OUTPUTS), depth, rng)
    inputs = {
        "x": normal(rng, batch, size, size, 3),
        "cotangent": normal(rng, batch, OUTPUTS),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = ResNet(depth, width, stem, OUTPUTS)
        net.load_state_dict(state, strict=True)
        net.to(dtype)
        results = forward_backward(net, **inputs)
        results |= {f"after.{name}": value for name, value in running_statistics(net).items()}
        with torch.no_grad():
            results["eval_out"] = net.eval()(nchw(inputs["x"]).to(dtype))
        return results

    exact, agreement = in_both_precisions(run)
    name = f"resnet{depth}_w{width}"
    about = f"ResNet-{depth}, width {width}, {stem} stem, fc to {OUTPUTS}"
    return [
        GoldenFile(f"{name}_state", f"{about}: parameters and running statistics.", state),
        GoldenFile(
            f"{name}_expected",
            f"{about}: input x (NHWC) and cotangent; training output, pooled features, gradient "
            "of sum(out * cotangent) for every parameter, running statistics afterwards, and the "
            "evaluation output with those statistics.",
            inputs | single(exact),
            agreement,
        ),
    ]


def random_state(net: nn.Module, depth: int, rng: np.random.Generator) -> dict[str, Tensor]:
    """A state in which no BatchNorm is trivial."""
    return {name: random_tensor(name, t.shape, depth, rng) for name, t in state_of(net).items()}


def random_tensor(name: str, shape: torch.Size, depth: int, rng: np.random.Generator) -> Tensor:
    """Kaiming scale for weights; BatchNorm away from scale 1, shift 0, statistics (0, 1)."""
    if len(shape) > 1:
        return normal(rng, *shape, std=(2.0 / np.prod(shape[1:])) ** 0.5)
    if name.endswith("running_var"):
        return uniform(rng, *shape, low=0.5, high=2.0)
    if name.endswith("weight"):
        return uniform(rng, *shape, low=0.4, high=0.6)
    if name.endswith("bias") and faces_relu(name, depth):
        return channel_signs(*shape) * uniform(rng, *shape, low=0.9, high=1.3)
    return normal(rng, *shape, std=0.1)


def full_width(depth: int, stem: str, batch: int, size: int) -> GoldenFile:
    """A network of the published width, with weights that the test computes by itself."""
    width = 64
    x = formula(INPUT_STREAM[depth], (batch, size, size, 3))
    cotangent = formula(COTANGENT_STREAM, (batch, OUTPUTS))

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = ResNet(depth, width, stem, OUTPUTS)
        with torch.no_grad():
            for i, (name, p) in enumerate(net.named_parameters()):
                p.copy_(formula_parameter(i, name, p.shape))
        return forward_backward(net.to(dtype), x, cotangent)

    exact, agreement = in_both_precisions(run)
    stored = {k: digest(v) if k.startswith("grad.") else v for k, v in exact.items()}
    return GoldenFile(
        f"resnet{depth}_w{width}_digest",
        f"ResNet-{depth}, width {width}, {stem} stem, fc to {OUTPUTS}, batch {batch} of {size}x"
        f"{size}, weights and input by formula (README): training output, pooled features, and "
        f"of every gradient [L2 norm, sum, {DIGEST_POSITIONS} values at (k * 7919) mod numel].",
        single(stored),
        agreement,
    )


def digest(grad: Tensor) -> Tensor:
    """`[L2 norm, sum, 16 sampled values]` of a gradient."""
    flat = grad.flatten()
    positions = torch.arange(DIGEST_POSITIONS) * 7919 % flat.numel()
    return torch.cat([flat.norm()[None], flat.sum()[None], flat[positions]])


def formula(stream: int, shape: tuple[int, ...], scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """`shift + scale * u`, where element j's u in [-1, 1) is a hash of (stream, j)."""
    x = np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(stream << 32)
    u = 2.0 * (splitmix64(x) >> np.uint64(40)).astype(np.float64) / 2**24 - 1.0
    return torch.from_numpy((shift + scale * u).astype(np.float32)).view(*shape)


def splitmix64(x: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 for state x (Steele, Lea & Flood 2014)."""
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def formula_parameter(i: int, name: str, shape: torch.Size) -> Tensor:
    """Parameter number i in torchvision's order."""
    if len(shape) > 1:
        return formula(i, shape, scale=(6.0 / np.prod(shape[1:])) ** 0.5)
    if name == "fc.bias":
        return formula(i, shape, scale=0.1)
    if name.endswith("weight"):
        return formula(i, shape, scale=0.1, shift=0.5)
    return channel_signs(*shape) * formula(i, shape, scale=0.2, shift=1.2)
