"""Mixup and CutMix: timm's `Mixup`, given what it would draw."""

from itertools import repeat
from unittest.mock import patch

import numpy as np
import torch
from timm.data import mixup as timm_mixup
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor

from common import GoldenFile, in_both_precisions, nchw, nhwc, normal, random, single

CLASSES = 5
SMOOTHING = 0.1
# The share that is drawn, and the centre (row, column) of a box for CutMix.
CASES = {
    "blend": (0.3, None),
    "blend_all": (1.0, None),
    "inside": (0.75, (5, 3)),
    "above_left": (0.4, (0, 1)),
    "below_right": (0.4, (10, 6)),
    "empty": (0.995, (5, 3)),
    "covered": (0.0, (5, 3)),
}


def mixed(
    x: Tensor, labels: Tensor, share: float, centre: tuple[int, int] | None
) -> tuple[Tensor, Tensor, list[int]]:
    """What timm makes of images `[N, C, H, W]`: images, targets, and the box (empty for mixup)."""
    mixup = timm_mixup.Mixup(
        mixup_alpha=0.8,
        cutmix_alpha=1.0,
        prob=1.0,
        switch_prob=0.5,
        mode="batch",
        label_smoothing=SMOOTHING,
        num_classes=CLASSES,
    )
    box: list[int] = []
    rand_bbox = timm_mixup.rand_bbox

    def remembered(*args, **kwargs):
        found = rand_bbox(*args, **kwargs)
        box.extend(int(edge) for edge in found)
        return found

    drawn = (share, centre is not None)
    with (
        patch.object(mixup, "_params_per_batch", return_value=drawn),
        patch.object(timm_mixup, "rand_bbox", remembered),
        patch.object(np.random, "randint", side_effect=centre or repeat(None)),
    ):
        images, targets = mixup(x.clone(), labels)
    return images, targets, box


def make() -> list[GoldenFile]:
    """`mixing`: images, targets and the loss, in mixup and with boxes that do and do not fit."""
    n, h, w, c = 6, 11, 7, 3
    rng = random(610)
    inputs = {
        "x": normal(rng, n, h, w, c),
        "labels": torch.from_numpy(rng.integers(0, CLASSES, n)),
        "logits": normal(rng, n, CLASSES, std=2.0),
    }
    choices = {}
    for name, (share, centre) in CASES.items():
        choices[f"{name}.share"] = torch.tensor([share], dtype=torch.float64)
        if centre is not None:
            choices[f"{name}.centre"] = torch.tensor(centre)

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        default = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            return results(inputs, dtype)
        finally:
            torch.set_default_dtype(default)

    exact, agreement = in_both_precisions(run)
    holds = (
        f"timm's Mixup, mode batch, smoothing {SMOOTHING}, of images x with labels, given the "
        "share that it would draw (<case>.share) and for CutMix the centre, row and column, of "
        "its box: <case>.images, .targets, the box (.box: first row, end, first column, end), and "
        "SoftTargetCrossEntropy of logits (.loss) with its gradient (.grad). In above_left and "
        "below_right the box sticks out of the image, in empty it has no pixels, in covered it "
        "is as large as the image; blend_all keeps all of the image."
    )
    return [GoldenFile("mixing", holds, inputs | single(exact) | choices, agreement)]


def results(inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Every case in one precision."""
    out = {}
    for name, (share, centre) in CASES.items():
        x = nchw(inputs["x"]).to(dtype)
        images, targets, box = mixed(x, inputs["labels"], share, centre)
        logits = inputs["logits"].to(dtype, copy=True).requires_grad_()
        loss = SoftTargetCrossEntropy()(logits, targets)
        loss.backward()
        out |= {
            f"{name}.images": nhwc(images),
            f"{name}.targets": targets,
            f"{name}.loss": loss.detach().reshape(1),
            f"{name}.grad": logits.grad,
        }
        if centre is not None:
            out[f"{name}.box"] = torch.tensor(box)
    return out
