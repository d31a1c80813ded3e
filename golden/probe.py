"""Evaluation: weighted kNN by plain loops, logistic regression by scikit-learn, and the papers'
linear probes step by step by torch and timm."""

import math
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from timm.optim import Lars
from torch import Tensor, nn

from common import GoldenFile, in_both_precisions, normal, random, single
from optim import cosine, steps, warm_cosine

C = 0.5


def make() -> list[GoldenFile]:
    """`knn`, `logistic` and `probe_training`."""
    return [knn(), logistic(), probe_training()]


def clusters(rng: np.random.Generator, classes: int, dim: int, *counts: int) -> list[np.ndarray]:
    """Overlapping Gaussian classes: for each count, float32 features and labels."""
    centres = rng.standard_normal((classes, dim))
    parts = []
    for count in counts:
        labels = rng.integers(0, classes, count)
        spread = 1.2 * rng.standard_normal((count, dim))
        parts += [(centres[labels] + spread).astype(np.float32), labels]
    return parts


def weighted_knn(train, labels, test, classes: int, k: int, temperature: float) -> np.ndarray:
    """Class scores: sum of exp(cosine / T) over the k nearest (Wu et al. 2018, Sec. 3.4)."""
    train = [row / np.linalg.norm(row) for row in train.astype(np.float64)]
    scores = np.zeros((len(test), classes))
    for i, query in enumerate(test.astype(np.float64)):
        query = query / np.linalg.norm(query)
        near = [(float(query @ row), int(label)) for row, label in zip(train, labels)]
        for similarity, label in sorted(near, reverse=True)[:k]:
            scores[i, label] += math.exp(similarity / temperature)
    return scores


def knn() -> GoldenFile:
    """Two settings of k and T over the same features."""
    classes = 10
    train, labels, test, test_labels = clusters(random(600), classes, 16, 200, 40)
    tensors = {
        "train": torch.from_numpy(train),
        "train_labels": torch.from_numpy(labels),
        "test": torch.from_numpy(test),
        "test_labels": torch.from_numpy(test_labels),
    }
    margins = {}
    for k, temperature in ((20, 0.1), (200, 0.07)):
        scores = weighted_knn(train, labels, test, classes, k, temperature)
        ranked = np.sort(scores, axis=1)
        margins[f"k{k}"] = {
            "smallest_margin": float(f"{(1 - ranked[:, -2] / ranked[:, -1]).min():.2e}"),
            "accuracy": float((scores.argmax(1) == test_labels).mean()),
        }
        tensors[f"k{k}.scores"] = torch.from_numpy(scores).float()
        tensors[f"k{k}.predictions"] = torch.from_numpy(scores.argmax(1))
    holds = (
        "Weighted kNN over cosine similarities of features (stored before normalisation): class "
        "scores and predictions at k 20, T 0.1 (k20.*) and k 200 (all), T 0.07 (k200.*). "
        "smallest_margin: 1 - second / first score, of the closest decision."
    )
    return GoldenFile("knn", holds, tensors, margins)


def logistic() -> GoldenFile:
    """Multinomial logistic regression, L2 on the weights and none on the intercept."""
    train, labels, test, test_labels = clusters(random(601), 5, 12, 300, 60)
    # Unequal scales and offsets, so that standardising matters.
    scale, offset = np.geomspace(0.1, 10.0, 12), np.linspace(-3.0, 3.0, 12)
    train, test = ((x * scale + offset).astype(np.float32) for x in (train, test))
    scaler = StandardScaler().fit(train.astype(np.float64))
    x, x_test = (scaler.transform(part.astype(np.float64)) for part in (train, test))
    model = LogisticRegression(C=C, solver="newton-cg", tol=1e-12, max_iter=10_000)
    model.fit(x, labels)
    probabilities = model.predict_proba(x_test)
    mean_loss, gradient = objective(model, x, labels)
    arrays = {
        "train": train,
        "train_labels": labels,
        "test": test,
        "test_labels": test_labels,
        "mean": scaler.mean_,
        "std": scaler.scale_,
        "train_standardised": x,
        "test_standardised": x_test,
        "coefficients": model.coef_,
        "intercept": model.intercept_,
        "probabilities": probabilities,
        "predictions": model.predict(x_test),
        "objective": np.array([mean_loss]),
    }
    ranked = np.sort(probabilities, axis=1)
    facts = {
        "gradient_at_optimum": float(f"{gradient:.1e}"),
        "smallest_margin": float(f"{(ranked[:, -1] - ranked[:, -2]).min():.2e}"),
        "accuracy": float(model.score(x_test, test_labels)),
    }
    holds = (
        f"sklearn LogisticRegression(C={C}, solver='newton-cg', tol=1e-12), multinomial, on "
        "features standardised by the training set's mean and std (ddof 0): coefficients [class, "
        "feature] and intercept for standardised features, test probabilities and predictions, "
        "and objective = mean cross-entropy + |W|^2 / (2 C n), which is sklearn's over C n."
    )
    return GoldenFile("logistic", holds, {k: stored(v) for k, v in arrays.items()}, facts)


def objective(model: LogisticRegression, x: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The penalised mean loss at the fit, and the largest entry of its gradient."""
    w = torch.from_numpy(model.coef_).requires_grad_()
    b = torch.from_numpy(model.intercept_).requires_grad_()
    logits = torch.from_numpy(x) @ w.T + b
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    loss = loss + w.square().sum() / (2 * C * len(x))
    loss.backward()
    return loss.item(), max(w.grad.abs().max().item(), b.grad.abs().max().item())


def stored(array: np.ndarray) -> Tensor:
    """float32 for numbers, int64 for labels."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.float() if tensor.is_floating_point() else tensor.long()


EPOCHS, STEPS_PER_EPOCH = 5, 2
BATCH, DIM, CLASSES = 12, 7, 4


def sgd(layer: nn.Linear, **more) -> torch.optim.Optimizer:
    """torch's, for weight and bias."""
    return torch.optim.SGD(layer.parameters(), lr=0.0, momentum=0.9, **more)


def larc(layer: nn.Linear) -> torch.optim.Optimizer:
    """apex's LARC without clipping is what timm has for no weight decay: weight and bias adapt."""
    return Lars(layer.parameters(), lr=0.0, momentum=0.9, always_adapt=True)


def lars(layer: nn.Linear) -> torch.optim.Optimizer:
    """MAE's: the weight adapts, the bias does not. timm adds 1e-8 to the gradient's length."""
    groups = [{"params": [layer.weight], "always_adapt": True}, {"params": [layer.bias]}]
    return Lars(groups, lr=0.0, momentum=0.9)


# Optimiser, rate at each fractional epoch, BatchNorm before the layer.
Probe = tuple[Callable[[nn.Linear], torch.optim.Optimizer], Callable[[float], float], bool]
PROBES: dict[str, Probe] = {
    "moco": (sgd, lambda t: 2.0 * steps(t, [3, 4]), False),
    "byol": (partial(sgd, nesterov=True), lambda t: 0.8 * cosine(t, EPOCHS), False),
    "swav": (
        partial(sgd, weight_decay=0.01),
        lambda t: 0.8 * cosine(math.floor(t), EPOCHS),
        False,
    ),
    "simsiam": (larc, lambda t: 60.0 * cosine(math.floor(t), EPOCHS), False),
    "mae": (lars, lambda t: 6.4 * warm_cosine(t, EPOCHS, 1), True),
}


def probe_training() -> GoldenFile:
    """Ten steps of a linear layer on given features, as five of the papers train it."""
    rng = random(602)
    count = EPOCHS * STEPS_PER_EPOCH
    centres = normal(rng, CLASSES, DIM)
    labels = torch.from_numpy(rng.integers(0, CLASSES, (count, BATCH)))
    scale, offset = torch.linspace(0.2, 2.0, DIM), torch.linspace(-1.0, 1.0, DIM)
    inputs = {
        "features": (centres[labels] + normal(rng, count, BATCH, DIM)) * scale + offset,
        "labels": labels,
        "test": normal(rng, 9, DIM) * scale + offset,
        "weight.initial": normal(rng, CLASSES, DIM, std=0.1),
        "bias.initial": torch.zeros(CLASSES),
    }
    rates = {name: probe_rates(rate) for name, (_, rate, _) in PROBES.items()}

    def run(dtype: torch.dtype) -> dict[str, Tensor]:
        results = {}
        for name, (optimiser, _, normalised) in PROBES.items():
            found = train_probe(inputs, optimiser, rates[name], normalised, dtype)
            results |= {f"{name}.{what}": value for what, value in found.items()}
        return results

    exact, agreement = in_both_precisions(run)
    holds = (
        f"Ten steps ({EPOCHS} epochs of {STEPS_PER_EPOCH}) of a linear layer on features [step, "
        "image, dim] with labels, from weight.initial and bias.initial, momentum 0.9: weight and "
        "bias after each step, the logits of test after the last, and lr of each step (float64). "
        "moco: torch SGD, 2 with tenfold drops after 60 % and 80 %. byol: Nesterov, 0.8, a cosine "
        "per step. swav: SGD with weight decay 0.01, 0.8, a cosine per epoch. simsiam: timm's Lars "
        "on weight and bias, trust 0.001, which without weight decay is apex LARC, 60, a cosine "
        "per epoch. mae: nn.BatchNorm1d(affine=False, eps=1e-6) first (its running_mean and "
        "running_var after the last step), Lars on the weight and plain SGD on the bias, 6.4, one "
        "epoch of warm-up, a cosine per step."
    )
    tables = {f"{name}.lr": torch.tensor(lr, dtype=torch.float64) for name, lr in rates.items()}
    return GoldenFile("probe_training", holds, inputs | single(exact) | tables, agreement)


def probe_rates(rate: Callable[[float], float]) -> list[float]:
    """The rate of each step."""
    return [rate(step / STEPS_PER_EPOCH) for step in range(EPOCHS * STEPS_PER_EPOCH)]


def train_probe(
    inputs: dict[str, Tensor],
    optimiser_of: Callable[[nn.Linear], torch.optim.Optimizer],
    rates: Iterable[float],
    normalised: bool,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Weight and bias after each step; then the test logits and running statistics."""
    layer = nn.Linear(DIM, CLASSES)
    layer.load_state_dict({n: inputs[f"{n}.initial"] for n in ("weight", "bias")})
    norm = nn.BatchNorm1d(DIM, affine=False, eps=1e-6) if normalised else nn.Identity()
    net = nn.Sequential(norm, layer).to(dtype)
    optimiser = optimiser_of(layer)
    history = {"weight": [], "bias": []}
    for rate, features, labels in zip(rates, inputs["features"], inputs["labels"]):
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(features.to(dtype)), labels).backward()
        optimiser.step()
        for name, values in history.items():
            values.append(getattr(layer, name).detach().clone())
    results = {name: torch.stack(values) for name, values in history.items()}
    if normalised:
        results |= {"running_mean": norm.running_mean, "running_var": norm.running_var}
    return results | {"logits": net.eval()(inputs["test"].to(dtype)).detach()}
