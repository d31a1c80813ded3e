"""The loss of distillation, as SimCLR v2's paper and code have it, and its gradients.

Chen et al. 2020 (arXiv 2006.10029), Eq. 2 and 3. The published code's loss is TensorFlow's
`softmax_cross_entropy(softmax(teacher / T), student / T, weights=T * T)`, whose reduction is the mean
over the images; it is written here by torch's `cross_entropy` with probabilities as targets, and held
against a loop.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from common import GoldenFile, in_both_precisions, normal, random, single

IMAGES, LABELLED, CLASSES = 6, 4, 5
TEMPERATURES = (0.1, 1.0, 2.5)
SHARE = 0.3


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    targets = (teacher / temperature).softmax(1)
    return temperature**2 * F.cross_entropy(student / temperature, targets)


def loop(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """Eq. 2, a sum over images and classes of exponentials; divided by the images, times T squared."""
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        s, t = ([math.exp((v - max(row)) / temperature) for v in row] for row in (s, t))
        total -= sum(b / sum(t) * math.log(a / sum(s)) for a, b in zip(s, t, strict=True))
    return temperature**2 * total / len(student)


def make() -> list[GoldenFile]:
    rng = random(1501)
    inputs = {
        "student": normal(rng, IMAGES, CLASSES, std=2.0),
        "teacher": normal(rng, IMAGES, CLASSES, std=2.0),
        "labelled": normal(rng, LABELLED, CLASSES, std=2.0),
    }
    labels = torch.tensor([4, 0, 2, 2])

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        results = {}
        for temperature in TEMPERATURES:
            student, teacher, labelled = (
                inputs[name].to(dtype, copy=True).requires_grad_(name != "teacher") for name in inputs
            )
            loss = distillation(student, teacher, temperature)
            if dtype == torch.float64:
                assert abs(loss.item() - loop(student, teacher, temperature)) < 1e-12
            both = SHARE * loss + (1 - SHARE) * F.cross_entropy(labelled, labels)
            both.backward()
            results |= {
                f"loss.{temperature}": loss.detach()[None],
                f"both.{temperature}": both.detach()[None],
                f"grad_student.{temperature}": student.grad,
                f"grad_labelled.{temperature}": labelled.grad,
            }
        return results

    exact, agreement = in_both_precisions(run)
    about = (
        "Scores of a student and a teacher for 6 images, and of the student for 4 labelled ones; for "
        "temperatures 0.1, 1 and 2.5 the distillation loss, 0.3 of it with 0.7 of the labelled "
        "images' cross-entropy, and that sum's gradients."
    )
    return [GoldenFile("distillation", about, inputs | {"labels": labels} | single(exact), agreement)]
