"""What all golden scripts share: seeded inputs, one measure of difference, one file type."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

SEED = 19112020


@dataclass
class GoldenFile:
    """One `.safetensors` file and what the manifest says of it."""

    name: str
    holds: str
    tensors: dict[str, Tensor]
    agreement: dict = field(default_factory=dict)


def random(stream: int) -> np.random.Generator:
    """A generator of its own for each `stream`, so that one file's inputs never move another's."""
    return np.random.default_rng([SEED, stream])


def normal(rng: np.random.Generator, *shape: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal draws as float32: exact in both precisions that the references run in."""
    return torch.from_numpy(mean + std * rng.standard_normal(shape)).float()


def uniform(rng: np.random.Generator, *shape: int, low: float, high: float) -> Tensor:
    """Uniform draws as float32."""
    return torch.from_numpy(rng.uniform(low, high, shape)).float()


def nchw(images: Tensor) -> Tensor:
    """Stored layout `[N, H, W, C]` to torch's `[N, C, H, W]`."""
    return images.permute(0, 3, 1, 2).contiguous()


def nhwc(images: Tensor) -> Tensor:
    """torch's layout `[N, C, H, W]` to the stored `[N, H, W, C]`."""
    return images.permute(0, 2, 3, 1).contiguous()


def relative_difference(value: Tensor, truth: Tensor) -> float:
    """`max |value - truth| / max |truth|`, over one tensor."""
    value, truth = value.double(), truth.double()
    return ((value - truth).abs().max() / truth.abs().max()).item()


def single(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rounds float64 to float32, the precision that files hold; other types stay."""
    return {
        name: (t.float() if t.dtype == torch.float64 else t).detach().contiguous().clone()
        for name, t in tensors.items()
    }


def in_both_precisions(run: Callable[[torch.dtype], dict[str, Tensor]]) -> tuple[dict, dict]:
    """Runs a reference in both; returns the float64 results and `compare`'s facts on them."""
    exact, rounded = run(torch.float64), run(torch.float32)
    return exact, compare(exact, rounded)


def compare(exact: dict[str, Tensor], rounded: dict[str, Tensor]) -> dict:
    """How far torch's float32 results are from its float64 results.

    For each group of tensors (the name up to the first dot) the largest `relative_difference`.
    An entry `kink_margin` is not a result: it is taken out of `exact` and reported as it is.
    """
    facts: dict[str, dict | float] = {}
    if "kink_margin" in exact:
        facts["kink_margin"] = rounded_to(exact.pop("kink_margin").item(), digits=2)
    for name, truth in exact.items():
        if not truth.is_floating_point():
            continue
        difference = relative_difference(rounded[name], truth)
        group = name.split(".")[0]
        if group not in facts or difference > facts[group]["difference"]:
            facts[group] = {"difference": rounded_to(difference, digits=3), "tensor": name}
    return facts


def rounded_to(value: float, digits: int) -> float:
    """`value` to so many significant digits, for the manifest."""
    return float(f"{value:.{digits - 1}e}")
