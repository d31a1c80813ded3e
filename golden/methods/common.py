"""What the methods' trajectories share: views, running averages, and how they are packed."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import GoldenFile, compare, normal, rounded_to, single, uniform
from resnet import ResNet, random_tensor, state_of, watch_kinks

STEPS = 5


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


KEY_BIAS = (
    "AdamW divides a gradient by its own size, and the key third of every attn.qkv.bias (the "
    "middle one) has gradient 0 but for rounding: leave that third out of comparisons, as "
    "`measured` does."
)


def compare_but_key_bias(exact: dict[str, Tensor], rounded: dict[str, Tensor]) -> dict:
    """`compare`, with the keys' biases taken as equal: see `KEY_BIAS`."""
    rounded = dict(rounded)
    for name in rounded:
        if name.endswith("qkv.bias"):
            dim = len(rounded[name]) // 3
            rounded[name] = rounded[name].clone()
            rounded[name][dim : 2 * dim] = exact[name][dim : 2 * dim]
    return compare(exact, rounded)
