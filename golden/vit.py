"""Vision transformers: timm's, the position tables and interpolation, and the convolutional stem.

Modules and parameter names are timm's `VisionTransformer`. What timm does not have is written
here: MoCo v3's and MAE's sin-cos tables (2-D positions, Chen et al. 2021 and He et al. 2022),
DINO's interpolation of learned positions, and MoCo v3's convolutional stem (Xiao et al. 2021).
"""

import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from lightly.models.utils import get_2d_sincos_pos_embed
from timm.layers import resample_abs_pos_embed
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from common import GoldenFile, in_both_precisions, nchw, nhwc, normal, random, single, uniform
from resnet import channel_signs, digest, formula, running_statistics, watch_kinks

OUTPUTS = 8
# Streams of the weight formula for the inputs of the full-size networks.
COTANGENT_STREAM, INPUT_STREAM = 10_001, 20_045
FULL_SIZE = {
    "ti": {"dim": 192, "heads": 3, "depth": 12},
    "s": {"dim": 384, "heads": 6, "depth": 12},
    "s12": {"dim": 384, "heads": 12, "depth": 12},
    "b": {"dim": 768, "heads": 12, "depth": 12},
    "l": {"dim": 1024, "heads": 16, "depth": 24},
}


def make() -> list[GoldenFile]:
    """The network in small and in full size, and the parts around it."""
    return [
        *tiny(),
        drop_path(),
        positions(),
        interpolation(),
        conv_stem(stream=729),
        *[full_size(name) for name in FULL_SIZE],
    ]


def build(dim: int, heads: int, depth: int, size: int, patch: int, outputs: int = 0, **more):
    """timm's network; `outputs` 0 leaves the head away."""
    return VisionTransformer(
        img_size=size,
        patch_size=patch,
        embed_dim=dim,
        num_heads=heads,
        depth=depth,
        num_classes=outputs,
        weight_init="skip",
        **more,
    )


def random_state(net: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
    """Parameters in which nothing is trivial: no bias at 0, no scale at 1."""
    return {name: random_parameter(name, p.shape, rng) for name, p in net.named_parameters()}


def random_parameter(name: str, shape: torch.Size, rng: np.random.Generator) -> Tensor:
    """Weights keep the variance of what they multiply; tokens and positions have std 0.3."""
    if name.endswith(("token", "pos_embed")):
        return normal(rng, *shape, std=0.3)
    if len(shape) > 1:
        return normal(rng, *shape, std=np.prod(shape[1:]) ** -0.5)
    if name.endswith("weight"):
        return uniform(rng, *shape, low=0.7, high=1.3)
    return normal(rng, *shape, std=0.1)


def embed(net: VisionTransformer, x: Tensor) -> Tensor:
    """Patches, class token and positions `[N, 1 + T, D]`; positions follow the image's size."""
    patches = net.patch_embed.proj(x)
    position = interpolate_dino(net.pos_embed, patches.shape[-2:])
    tokens = torch.cat([net.cls_token.expand(len(x), -1, -1), patches.flatten(2).mT], dim=1)
    return tokens + position


def features(net: VisionTransformer, x: Tensor) -> Tensor:
    """All tokens after the final norm, `[N, 1 + T, D]`, for an image of any size."""
    return net.norm(net.blocks(embed(net, x)))


def interpolate_dino(position: Tensor, grid: tuple[int, int]) -> Tensor:
    """DINO: bicubic by the factor (new + 0.1) / old, which is also what maps the coordinates.

    The 0.1 guards the rounding of the size; it moves the sampling points, so the values too.
    """
    side = math.isqrt(position.shape[1] - 1)
    if tuple(grid) == (side, side):
        return position
    image = position[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    factor = tuple((n + 0.1) / side for n in grid)
    image = F.interpolate(image, scale_factor=factor, mode="bicubic", align_corners=False)
    assert image.shape[-2:] == tuple(grid)
    return torch.cat([position[:, :1], image.flatten(2).mT], dim=1)


def tiny() -> list[GoldenFile]:
    """Dimension 24, two blocks, three heads, patches of 4 on 16 pixels."""
    rng = random(700)
    shape = {"dim": 24, "heads": 3, "depth": 2, "size": 16, "patch": 4}
    state = random_state(build(**shape, outputs=OUTPUTS), rng)
    inputs = {
        "x": normal(rng, 3, 16, 16, 3),
        "cotangent": normal(rng, 3, OUTPUTS),
        "x_wide": normal(rng, 2, 12, 20, 3),
        "cotangent_wide": normal(rng, 2, OUTPUTS),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = build(**shape, outputs=OUTPUTS)
        net.load_state_dict(state)
        net.to(dtype)
        x = nchw(inputs["x"]).to(dtype).requires_grad_()
        out = net(x)
        out.backward(inputs["cotangent"].to(dtype))
        results = {"out": out.detach(), "grad_x": nhwc(x.grad)} | gradients(net, "grad")
        with torch.no_grad():
            results["tokens"] = net.forward_features(x)
            torch.testing.assert_close(features(net, x), results["tokens"])
            layers = net.get_intermediate_layers(x, n=2, return_prefix_tokens=True, norm=True)
            for i, (patches, prefix) in enumerate(layers):
                results[f"intermediate.{i}"] = torch.cat([prefix, patches], dim=1)
        results |= mean_pooled(shape, state, x.detach(), inputs["cotangent"].to(dtype))
        net.zero_grad()
        wide = net.head(features(net, nchw(inputs["x_wide"]).to(dtype))[:, 0])
        wide.backward(inputs["cotangent_wide"].to(dtype))
        return results | {"wide.out": wide.detach()} | gradients(net, "wide.grad")

    exact, agreement = in_both_precisions(run)
    about = "timm ViT: dim 24, depth 2, heads 3, mlp 4x, image 16, patch 4, class token, head to 8"
    holds = (
        f"{about}, LayerNorm eps 1e-6, exact GELU, learned positions. Input x (NHWC), cotangent. "
        "out = head(class token after the final norm); tokens after the final norm, class first; "
        "intermediate.i = tokens of block i through that norm; grad.* and grad_x of sum(out * "
        "cotangent). avg.*: pooled = mean of the patch tokens before any norm, then a norm "
        "(state's norm.*, timm calls it fc_norm), then head; avg.grad.* in timm's names. wide.*: "
        "x_wide 12x20 (grid 3x5), positions interpolated from 4x4 as DINO does (vit_interpolation)."
    )
    return [
        GoldenFile("vit_tiny_state", f"{about}: parameters.", state),
        GoldenFile("vit_tiny_expected", holds, inputs | single(exact), agreement),
    ]


def mean_pooled(shape: dict, state: dict, x: Tensor, cotangent: Tensor) -> dict[str, Tensor]:
    """The same weights under timm's average pooling, as MAE fine-tunes."""
    net = build(**shape, outputs=OUTPUTS, global_pool="avg")
    net.load_state_dict(
        {
            k.replace("norm.", "fc_norm.") if k.startswith("norm.") else k: v
            for k, v in state.items()
        }
    )
    net.to(x.dtype)
    out = net(x)
    out.backward(cotangent)
    return {"avg.out": out.detach()} | gradients(net, "avg.grad")


def gradients(net: nn.Module, prefix: str) -> dict[str, Tensor]:
    """A copy of every gradient."""
    return {f"{prefix}.{name}": p.grad.clone() for name, p in net.named_parameters()}


class FixedDropPath(nn.Module):
    """Stochastic depth with the draw given: kept rows grow by 1 / (1 - rate)."""

    def __init__(self, keep: Tensor, rate: float):
        super().__init__()
        self.keep, self.rate = keep, rate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.keep.to(x.dtype)[:, None, None] / (1.0 - self.rate)


def drop_path() -> GoldenFile:
    """The tiny network with stochastic depth 0.3, the draws being inputs."""
    rng = random(701)
    shape = {"dim": 16, "heads": 2, "depth": 3, "size": 8, "patch": 4, "outputs": OUTPUTS}
    net = build(**shape, drop_path_rate=0.3)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in net.blocks]
    state = random_state(net, rng)
    inputs = {
        "x": normal(rng, 5, 8, 8, 3),
        "cotangent": normal(rng, 5, OUTPUTS),
        "keep": torch.from_numpy(rng.integers(0, 2, (3, 2, 5))),
        "rate": torch.tensor(rates, dtype=torch.float64),
    }
    inputs["keep"][0] = 1

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = build(**shape)
        net.load_state_dict(state)
        net.to(dtype)
        for i, block in enumerate(net.blocks):
            block.drop_path1 = FixedDropPath(inputs["keep"][i, 0], rates[i])
            block.drop_path2 = FixedDropPath(inputs["keep"][i, 1], rates[i])
        out = net(nchw(inputs["x"]).to(dtype))
        out.backward(inputs["cotangent"].to(dtype))
        return {"out": out.detach()} | gradients(net, "grad")

    exact, agreement = in_both_precisions(run)
    holds = (
        "timm ViT: dim 16, depth 3, heads 2, image 8, patch 4, head to 8, with stochastic depth "
        "0.3 in timm's linear rule (rate, per block). keep[block][0 = attention, 1 = mlp][sample] "
        "says which residual branches stay; those are divided by 1 - rate. state.*, x, cotangent; "
        "out and grad.* of sum(out * cotangent)."
    )
    tensors = inputs | {f"state.{k}": v for k, v in state.items()} | single(exact)
    return GoldenFile("vit_drop_path", holds, tensors, agreement)


def sincos_axis(length: int, quarter: int) -> tuple[Tensor, Tensor]:
    """sin and cos of position * 10000^(-i / quarter), each `[length, quarter]`, in float64."""
    omega = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * omega
    return angle.sin(), angle.cos()


def sincos_table(rows: int, cols: int, dim: int, first: str) -> Tensor:
    """`[rows * cols, dim]`, row-major tokens: sin, cos of the `first` axis, then of the other."""
    table = torch.zeros(rows, cols, dim, dtype=torch.float64)
    quarter = dim // 4
    by_row = [half[:, None].expand(-1, cols, -1) for half in sincos_axis(rows, quarter)]
    by_col = [half[None].expand(rows, -1, -1) for half in sincos_axis(cols, quarter)]
    parts = by_row + by_col if first == "row" else by_col + by_row
    for i, part in enumerate(parts):
        table[..., i * quarter : (i + 1) * quarter] = part
    return table.flatten(0, 1)


def moco_v3_positions(rows: int, cols: int, dim: int) -> Tensor:
    """MoCo v3: the first half follows the row; the class token's position is 0."""
    table = sincos_table(rows, cols, dim, "row")
    return torch.cat([torch.zeros(1, dim, dtype=table.dtype), table])[None]


def mae_positions(rows: int, cols: int, dim: int) -> Tensor:
    """MAE: the first half follows the column; the class token's position is 0."""
    table = sincos_table(rows, cols, dim, "col")
    return torch.cat([torch.zeros(1, dim, dtype=table.dtype), table])[None]


def positions() -> GoldenFile:
    """Both tables for a square and a wide grid."""
    tensors = {}
    for rows, cols in ((4, 4), (3, 5), (14, 14)):
        dim = 16 if rows == 14 else 24
        row_first = moco_v3_positions(rows, cols, dim)
        tensors[f"moco_v3.{rows}x{cols}"] = row_first
        tensors[f"mae.{rows}x{cols}"] = mae_positions(rows, cols, dim)
        # timm orders the quarters sin a, sin b, cos a, cos b.
        peer = build_sincos2d_pos_embed([rows, cols], dim).unflatten(1, (4, -1))[:, [0, 2, 1, 3]]
        torch.testing.assert_close(row_first[0, 1:].float(), peer.flatten(1))
        if rows == cols:
            peer = torch.from_numpy(get_2d_sincos_pos_embed(dim, rows, cls_token=True))
            torch.testing.assert_close(tensors[f"mae.{rows}x{cols}"][0], peer.double())
    holds = (
        "Fixed 2-D sin-cos positions [1, 1 + rows * cols, dim] by grid rows x cols, class token "
        "first and zero, tokens row-major; quarters [sin a, cos a, sin b, cos b] with frequencies "
        "10000^(-i / (dim / 4)). moco_v3.*: a is the row, b the column. mae.*: a is the column, b "
        "the row. float64. MoCo v3's code meets only square grids; 3x5 follows the same rule."
    )
    return GoldenFile("vit_positions", holds, tensors)


def interpolation() -> GoldenFile:
    """Learned positions of a 4x4 grid for other grids, in three readings of bicubic."""
    rng = random(702)
    inputs = {"pos_embed": normal(rng, 1, 17, 8)}
    grids = [(3, 3), (6, 5), (2, 8), (7, 7)]
    for rows, cols in grids:
        inputs[f"cotangent.{rows}x{cols}"] = normal(rng, 1, 1 + rows * cols, 8)

    def plain(position: Tensor, grid: tuple[int, int], antialias: bool) -> Tensor:
        image = position[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
        image = F.interpolate(image, grid, mode="bicubic", antialias=antialias)
        return torch.cat([position[:, :1], image.flatten(2).mT], dim=1)

    ways = {
        "dino": interpolate_dino,
        "plain": partial(plain, antialias=False),
        "timm": partial(plain, antialias=True),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        results = {}
        for rows, cols in grids:
            for way, resize in ways.items():
                position = inputs["pos_embed"].to(dtype, copy=True).requires_grad_()
                out = resize(position, (rows, cols))
                out.backward(inputs[f"cotangent.{rows}x{cols}"].to(dtype))
                results[f"{way}.{rows}x{cols}"] = out.detach()
                results[f"{way}.grad.{rows}x{cols}"] = position.grad
        return results

    exact, agreement = in_both_precisions(run)
    for rows, cols in grids:
        peer = resample_abs_pos_embed(inputs["pos_embed"], [rows, cols])
        torch.testing.assert_close(exact[f"timm.{rows}x{cols}"].float(), peer)
    holds = (
        "Positions pos_embed of class token and 4x4 grid, resized to rows x cols by torch's "
        "bicubic (a = -0.75, half-pixel centres, edge clamped): dino.* maps coordinates by the "
        "factor (n + 0.1) / 4 and is what trains; plain.* by n / 4; timm.* by n / 4 with "
        "antialiasing (a = -0.5), as timm resizes on loading. <way>.grad.* is the gradient of "
        "sum(result * cotangent) for pos_embed. The class token's row passes through."
    )
    return GoldenFile("vit_interpolation", holds, inputs | single(exact), agreement)


class ConvStem(nn.Sequential):
    """MoCo v3's: four 3x3 stride-2 convolutions with BatchNorm and ReLU, then 1x1 with bias."""

    def __init__(self, dim: int):
        layers, channels = [], 3
        for out in (dim // 8, dim // 4, dim // 2, dim):
            conv = nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(out), nn.ReLU()]
            channels = out
        super().__init__(*layers, nn.Conv2d(channels, dim, 1))


def conv_stem_parameter(name: str, shape: torch.Size, rng: np.random.Generator) -> Tensor:
    """BatchNorms stay away from the kink of the ReLU behind them; the rest as in a ViT."""
    index = name.split(".")[-2]
    if len(shape) == 1 and index != "12" and name.endswith("bias"):
        return channel_signs(*shape) * uniform(rng, *shape, low=0.9, high=1.3)
    if len(shape) == 1 and index != "12":
        return uniform(rng, *shape, low=0.4, high=0.6)
    return random_parameter(name, shape, rng)


def conv_stem(stream: int) -> GoldenFile:
    """The stem alone and a ViT on top of it."""
    rng = random(stream)
    dim, size = 32, 48
    shape = {"dim": dim, "heads": 4, "depth": 1, "size": size, "patch": 16, "outputs": OUTPUTS}

    def stemmed() -> VisionTransformer:
        net = build(**shape)
        net.patch_embed.proj = ConvStem(dim)
        return net

    state = {
        name: conv_stem_parameter(name, p.shape, rng)
        if name.startswith("patch_embed")
        else random_parameter(name, p.shape, rng)
        for name, p in stemmed().named_parameters()
    }
    inputs = {"x": normal(rng, 4, size, size, 3), "cotangent": normal(rng, 4, OUTPUTS)}

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = stemmed()
        net.load_state_dict(state, strict=False)
        net.to(dtype).train()
        distances = watch_kinks(net)
        x = nchw(inputs["x"]).to(dtype).requires_grad_()
        out = net(x)
        out.backward(inputs["cotangent"].to(dtype))
        results = {"out": out.detach(), "grad_x": nhwc(x.grad)} | gradients(net, "grad")
        results |= {f"after.{k}": v for k, v in running_statistics(net).items()}
        results["kink_margin"] = torch.tensor(min(distances), dtype=dtype)
        with torch.no_grad():
            fresh = stemmed()
            fresh.load_state_dict(state, strict=False)
            results["stem"] = nhwc(fresh.to(dtype).train().patch_embed.proj(x))
        return results

    exact, agreement = in_both_precisions(run)
    holds = (
        "ViT with MoCo v3's convolutional stem: dim 32 (channels 4, 8, 16, 32), depth 1, heads 4, "
        "48 px to a 3x3 grid, head to 8. state.patch_embed.proj.{0,3,6,9} convolutions without "
        "bias, {1,4,7,10} BatchNorm (running statistics start at 0 and 1), 12 the 1x1 with bias. "
        "Training mode: stem (NHWC), out, grad.* and grad_x of sum(out * cotangent), after.*."
    )
    tensors = inputs | {f"state.{k}": v for k, v in state.items()} | single(exact)
    return GoldenFile("vit_conv_stem", holds, tensors, agreement)


def full_size(name: str) -> GoldenFile:
    """ViT-Ti, S, B or L, of patches of 16, with weights that the test computes by itself."""
    size, batch = 64, 2
    shape = {"size": size, "patch": 16, "outputs": OUTPUTS} | FULL_SIZE[name]
    x = formula(INPUT_STREAM, (batch, size, size, 3))
    cotangent = formula(COTANGENT_STREAM, (batch, OUTPUTS))

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = build(**shape)
        with torch.no_grad():
            for i, (parameter, p) in enumerate(net.named_parameters()):
                p.copy_(formula_parameter(i, parameter, p.shape))
        net.to(dtype)
        out = net(nchw(x).to(dtype))
        out.backward(cotangent.to(dtype))
        with torch.no_grad():
            tokens = net.forward_features(nchw(x).to(dtype))
        return {"out": out.detach(), "tokens": tokens} | gradients(net, "grad")

    exact, agreement = in_both_precisions(run)
    stored = {k: v if k == "out" else digest(v) for k, v in exact.items()}
    holds = (
        f"timm ViT of dim {shape['dim']}, depth {shape['depth']}, {shape['heads']} heads, patch 16, head to 8, "
        f"batch {batch} of {size}x{size} (grid 4x4), learned positions, weights and input by "
        "formula (README): out from the class token, and of the tokens after the final norm and "
        "of every gradient [L2 norm, sum, 16 values at (k * 7919) mod numel]."
    )
    return GoldenFile(f"vit_{name}_digest", holds, single(stored), agreement)


def formula_parameter(i: int, name: str, shape: torch.Size) -> Tensor:
    """Parameter number i in timm's order."""
    if name.endswith(("token", "pos_embed")):
        return formula(i, shape, scale=0.5)
    if len(shape) > 1:
        return formula(i, shape, scale=(3.0 / np.prod(shape[1:])) ** 0.5)
    if name.endswith("weight"):
        return formula(i, shape, scale=0.1, shift=1.0)
    return formula(i, shape, scale=0.1)
