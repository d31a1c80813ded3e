"""CPC on images: v1 (van den Oord et al. 2018, arXiv 1807.03748), v2 (Henaff et al. 2020,
arXiv 1905.09272, the appendix's pseudo-code), and lightning-bolts' reading.

Dot products, no L2 norm, no temperature; the negatives are all other positions of all images of
the batch. v1 predicts the targets z themselves by one matrix per offset, without bias. Where patches
overlap by half, the row below shares pixels with the context, so that the first offset is a setting.
The context network is the second paper's. bolts shares one prediction over the offsets, scales it by 0.1, and its nested loop
counts offset o (rows below, from 2) o - 1 times.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import GoldenFile, in_both_precisions, nchw, nhwc, normal, random, single
from methods.common import (
    ADAM_EPS,
    STEPS,
    final,
    initial,
    kink_margin,
    load,
    sgd_step,
    table,
    trajectory_file,
    views_of,
)
from resnet import ResNet, random_tensor, watch_kinks
from trajectory import pixels

GRID, DIM, EMBED_SCALE = 5, 12, 0.1
DIRECTIONS = ["down", "up", "right", "left"]
PATCH, STRIDE, SIZE, BATCH = 8, 4, 20, 3
FEATURES, HIDDEN, BLOCKS, OFFSETS = 16, 8, 2, [1, 2]
V2_OFFSETS, LAYER_NORM_EPS = [2, 3], 1e-6


def info_nce(predictions: Tensor, z: Tensor, offset: int) -> Tensor:
    """Cross-entropy of predictions for the row `offset` below, among all positions of `z`.

    Both `[N, G, G, D]`; row i of the predictions is what context row i says of z's row i + offset.
    """
    n, rows, cols, dim = z.shape
    logits = predictions[:, : rows - offset].reshape(-1, dim) @ z.reshape(-1, dim).T
    position = torch.arange(n * rows * cols).view(n, rows, cols)
    return F.cross_entropy(logits, position[:, offset:].reshape(-1))


def info_nce_loops(predictions: Tensor, z: Tensor, offset: int) -> Tensor:
    """The same, position by position."""
    n, rows, cols, _ = z.shape
    terms = []
    for b in range(n):
        for i in range(rows - offset):
            for j in range(cols):
                scores = torch.einsum("d,nijd->nij", predictions[b, i, j], z)
                terms.append(scores.logsumexp((0, 1, 2)) - scores[b, i + offset, j])
    return torch.stack(terms).mean()


def cpc(z: Tensor, c: Tensor, weights: list[Tensor], first: int) -> Tensor:
    """Sum over offsets first, first + 1, ... of InfoNCE of W_k c, v1's Eq. 4."""
    return sum(info_nce(c @ w.T, z, first + k) for k, w in enumerate(weights))


def turned(grid: Tensor, direction: str) -> Tensor:
    """`[N, G, G, D]` such that predicting in `direction` becomes predicting downwards."""
    if direction in ("right", "left"):
        grid = grid.transpose(1, 2)
    return grid.flip(1) if direction in ("up", "left") else grid


class Context(nn.Module):
    """Residual blocks in which row i sees rows up to i only; then ReLU."""

    def __init__(self, dim: int, hidden: int, blocks: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "conv1": nn.Conv2d(dim, hidden, 1),
                    "conv2": nn.Conv2d(hidden, hidden, (1, 3), padding=(0, 1)),
                    "conv3": nn.Conv2d(hidden, hidden, (2, 1)),
                    "conv4": nn.Conv2d(hidden, dim, 1),
                }
            )
            for _ in range(blocks)
        )
        self.relu = nn.ReLU()

    def forward(self, z: Tensor) -> Tensor:
        for block in self.blocks:
            c = block["conv2"](self.relu(block["conv1"](z)))
            c = self.relu(block["conv3"](F.pad(c, (0, 0, 1, 0))))
            z = z + block["conv4"](c)
        return self.relu(z)


def make() -> list[GoldenFile]:
    """`cpc_loss`, `cpc_context`, `cpc_trajectory`, `cpc_v2_trajectory`."""
    return [
        loss_file(),
        context_file(stream=2050),
        trajectory(stream=2135),
        trajectory_v2(stream=2228),
    ]


def loss_file() -> GoldenFile:
    """The loss in its readings on given maps."""
    rng, batch, offsets = random(2000), 3, 3
    inputs = {
        "z": normal(rng, batch, GRID, GRID, DIM),
        "c": normal(rng, batch, GRID, GRID, DIM),
        "w": normal(rng, offsets, DIM, DIM, std=0.2),
        "c_directions": normal(rng, 4, batch, GRID, GRID, DIM),
        "w_directions": normal(rng, 4, offsets, DIM, DIM, std=0.2),
        "predictions": normal(rng, batch, GRID, GRID, DIM),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        results = {}
        for first in (1, 2):
            leaf = leaves(inputs, ["z", "c", "w"], dtype)
            loss = cpc(leaf["z"], leaf["c"], list(leaf["w"]), first)
            results |= backward(f"first{first}", loss, leaf)
        by_loops = [
            info_nce_loops(inputs["c"] @ w.T, inputs["z"], 2 + k) for k, w in enumerate(inputs["w"])
        ]
        torch.testing.assert_close(sum(by_loops).to(dtype), loss.detach(), rtol=1e-4, atol=1e-4)

        leaf = leaves(inputs, ["z", "c_directions", "w_directions"], dtype)
        terms = [
            cpc(turned(leaf["z"], name), leaf["c_directions"][d], list(leaf["w_directions"][d]), 2)
            for d, name in enumerate(DIRECTIONS)
        ]
        results["directions.by_direction"] = torch.stack(terms).detach()
        results |= backward("directions", sum(terms), leaf)

        leaf = leaves(inputs, ["z", "predictions"], dtype)
        scaled = EMBED_SCALE * leaf["predictions"]
        terms = [info_nce(scaled, leaf["z"], offset) for offset in range(2, GRID)]
        results["bolts.by_offset"] = torch.stack(terms).detach()
        results["bolts.loss_counted"] = sum((k + 1) * t.detach() for k, t in enumerate(terms))
        return results | backward("bolts", sum(terms), leaf)

    exact, agreement = in_both_precisions(run)
    holds = (
        f"CPC on z, c [N, {GRID}, {GRID}, D] (row, column) and w [3, D, D]: prediction for the row "
        "k below is w[k - first] c, InfoNCE of each by dot product against all N * 25 positions of "
        "z, mean over the positions of an offset, sum over the three offsets. first1.* starts at "
        "k = 1, first2.* at 2: loss, grad_z, grad_c, grad_w. directions.* (first offset 2): "
        "context and matrices per direction (down, up, right, left) in turned coordinates: up flips rows, "
        "right swaps rows and columns, left swaps and then flips rows, so that each predicts "
        "downwards; by_direction and their sum loss, with gradients. bolts.*: one map predictions "
        "times 0.1 for all offsets 2, 3, 4 against z: by_offset, loss = their sum (each once, with "
        "gradients), loss_counted = 1, 2, 3 times them as the nested loop counts."
    )
    return GoldenFile("cpc_loss", holds, inputs | single(exact), agreement)


def leaves(inputs: dict, names: list[str], dtype: torch.dtype) -> dict[str, Tensor]:
    """Fresh copies that collect gradients."""
    return {name: inputs[name].to(dtype, copy=True).requires_grad_() for name in names}


def backward(label: str, loss: Tensor, leaf: dict[str, Tensor]) -> dict[str, Tensor]:
    """The loss and the gradient of each leaf."""
    loss.backward()
    grads = {f"{label}.grad_{name}": t.grad for name, t in leaf.items()}
    return {f"{label}.loss": loss.detach()} | grads


def context_file(stream: int) -> GoldenFile:
    """The context network alone, with a second map that differs below row 2 only."""
    rng = random(stream)
    state = {n: plain(p.shape, rng) for n, p in Context(DIM, HIDDEN, BLOCKS).named_parameters()}
    inputs = {
        "z": normal(rng, 2, GRID, GRID, DIM),
        "cotangent": normal(rng, 2, GRID, GRID, DIM),
    }

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = load(Context(DIM, HIDDEN, BLOCKS), state, dtype)
        distances = watch_kinks(net)
        z = nchw(inputs["z"]).to(dtype).requires_grad_()
        out = net(z)
        out.backward(nchw(inputs["cotangent"]).to(dtype))
        results = {"out": nhwc(out.detach()), "grad_z": nhwc(z.grad)}
        results |= {f"grad.{n}": p.grad for n, p in net.named_parameters()}
        changed = z.detach().clone()
        changed[:, :, 3:] += 1.0
        torch.testing.assert_close(net(changed)[:, :, :3], out[:, :, :3], rtol=0, atol=0)
        return results | kink_margin(distances, dtype)

    exact, agreement = in_both_precisions(run)
    holds = (
        f"{about_context(DIM)} state.*, z, cotangent; out, grad_z, grad.* of sum(out * cotangent)."
    )
    tensors = inputs | {f"state.{k}": v for k, v in state.items()} | single(exact)
    return GoldenFile("cpc_context", holds, tensors, agreement)


def about_context(dim: int) -> str:
    """One sentence on the context network."""
    return (
        f"CPC's masked context on [N, row, column, {dim}]: {BLOCKS} residual blocks (1x1 to "
        f"{HIDDEN}, ReLU, 1x3 with a column of zeros at both sides, a row of zeros on top and 2x1, "
        "ReLU, 1x1 back, plus the block's input: blocks.b.conv1 to conv4, all with bias), then "
        "ReLU."
    )


def plain(shape: torch.Size, rng) -> Tensor:
    """Weights that keep the variance of what they multiply, small biases."""
    if len(shape) == 1:
        return normal(rng, *shape, std=0.1)
    return normal(rng, *shape, std=shape[1:].numel() ** -0.5)


class Encoder(ResNet):
    """ResNet-18 of width 4 to its third stage, spatial mean; v1's has no normalisation."""

    def __init__(self, norm_layer=lambda _channels: nn.Identity()):
        super().__init__(18, 4, "cifar", 1, norm_layer=norm_layer)
        self.layer4, self.fc = nn.Identity(), nn.Identity()

    def encode(self, x: Tensor) -> Tensor:
        """Images `[N, 3, H, W]` to the features of their patches, `[N, G, G, D]`."""
        side = (x.shape[-1] - PATCH) // STRIDE + 1
        patches = [
            x[:, :, i * STRIDE : i * STRIDE + PATCH, j * STRIDE : j * STRIDE + PATCH]
            for i in range(side)
            for j in range(side)
        ]
        # Image-major: patch (i, j) of image n is row n * side^2 + i * side + j.
        flat = torch.stack(patches, dim=1).flatten(0, 1)
        return self(flat).view(len(x), side, side, FEATURES)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each position of `[N, C, H, W]`."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return nchw(super().forward(nhwc(x)))


class Network(nn.Module):
    """Encoder of patches, context, and one matrix per offset."""

    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.context = Context(FEATURES, HIDDEN, BLOCKS)
        self.predict = nn.ModuleList(nn.Linear(FEATURES, FEATURES, bias=False) for _ in OFFSETS)

    def forward(self, x: Tensor) -> Tensor:
        z = self.encoder.encode(x)
        c = nhwc(self.context(nchw(z)))
        return cpc(z, c, [layer.weight for layer in self.predict], first=OFFSETS[0])


class NetworkV2(nn.Module):
    """Encoder with LayerNorm, and per direction a context and one matrix per offset."""

    def __init__(self):
        super().__init__()
        self.encoder = Encoder(ChannelNorm)
        self.directions = nn.ModuleList(
            nn.ModuleDict(
                {
                    "context": Context(FEATURES, HIDDEN, BLOCKS),
                    "predict": nn.ModuleList(
                        nn.Linear(FEATURES, FEATURES, bias=False) for _ in V2_OFFSETS
                    ),
                }
            )
            for _ in DIRECTIONS
        )

    def forward(self, x: Tensor) -> Tensor:
        z = self.encoder.encode(x)
        loss = 0.0
        for name, parts in zip(DIRECTIONS, self.directions, strict=True):
            seen = turned(z, name)
            c = nhwc(parts["context"](nchw(seen)))
            weights = [layer.weight for layer in parts["predict"]]
            loss = loss + cpc(seen, c, weights, first=V2_OFFSETS[0])
        return loss


def v2_parameter(name: str, shape: torch.Size, rng) -> Tensor:
    """As `plain`; norms that feed a ReLU are kept away from its kink."""
    if name.startswith("encoder."):
        return random_tensor(name, shape, 18, rng)
    return plain(shape, rng)


def trajectory(stream: int) -> GoldenFile:
    """Five steps of v1's loss."""
    rng = random(stream)
    params = {n: plain(p.shape, rng) for n, p in Network().named_parameters()}
    (view,) = views_of(rng, BATCH, [SIZE])
    inputs = initial({"cpc": params}) | {"view": view, "lr": table([4e-3, 4e-3, 3e-3, 2e-3, 1e-3])}

    holds = (
        f"{STEPS} steps of CPC v1: {SIZE} px images cut into 4x4 patches of {PATCH} at stride "
        f"{STRIDE}; encoder: ResNet-18 of width 4, CIFAR stem, without normalisation (no biases "
        f"either), layer1 to layer3, spatial mean: z of {FEATURES}. {about_context(FEATURES)} "
        "predict.k (no bias) for the rows 1 and 2 below, loss as first1 of cpc_loss with two "
        f"offsets. Batch {BATCH}, Adam betas (0.9, 0.999), eps {ADAM_EPS}, no decay, at lr[step]. "
        "Input = (byte - 128) / 64. initial.cpc.{encoder,context,predict}.*, loss per step, "
        "final.cpc.*."
    )
    return trajectory_file("cpc_trajectory", holds, inputs, steps_of(Network, params, inputs))


def trajectory_v2(stream: int) -> GoldenFile:
    """Five steps of v2's loss: four directions, LayerNorm, targets from the second row on."""
    rng = random(stream)
    params = {n: v2_parameter(n, p.shape, rng) for n, p in NetworkV2().named_parameters()}
    (view,) = views_of(rng, BATCH, [SIZE])
    inputs = initial({"cpc": params}) | {"view": view, "lr": table([4e-3, 4e-3, 3e-3, 2e-3, 1e-3])}
    holds = (
        f"{STEPS} steps of CPC v2: as cpc_trajectory, but the encoder has a LayerNorm over the "
        f"channels of each position (eps {LAYER_NORM_EPS}) in place of every BatchNorm, and there "
        "are four directions (down, up, right, left: directions.0 to 3), each with its own context "
        "and its own predict.k for the rows 2 and 3 below in turned coordinates, as directions of "
        "cpc_loss; the loss is the sum over directions. initial.cpc.{encoder,directions}.*, loss "
        "per step, final.cpc.*."
    )
    run = steps_of(NetworkV2, params, inputs)
    return trajectory_file("cpc_v2_trajectory", holds, inputs, run)


def steps_of(network: Callable[[], nn.Module], params: dict, inputs: dict) -> Callable:
    """The five steps, in a given precision."""

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        net = load(network(), params, dtype)
        distances = watch_kinks(net)
        optimiser = torch.optim.Adam(net.parameters(), lr=0.0, eps=ADAM_EPS)
        losses = []
        for step in range(STEPS):
            loss = net(pixels(inputs["view"][step]).to(dtype))
            sgd_step(optimiser, loss, [inputs["lr"][step].item()])
            losses.append(loss.detach())
        results = {"loss": torch.stack(losses)} | final({"cpc": net})
        return results | kink_margin(distances, dtype)

    return run
