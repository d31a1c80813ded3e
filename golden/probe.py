"""Evaluation: weighted kNN by plain loops, and logistic regression by scikit-learn."""

import math

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from common import GoldenFile, random

C = 0.5


def make() -> list[GoldenFile]:
    """`knn` and `logistic`."""
    return [knn(), logistic()]


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
