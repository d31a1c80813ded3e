"""Quality without labels: RankMe, LiDAR, alignment and uniformity by numpy, from their papers."""

import numpy as np
import torch

from common import GoldenFile, random

VIEWS, IMAGES, DIM = 3, 40, 12
EPSILON, DELTA = 1e-7, 1e-4


def make() -> list[GoldenFile]:
    """`quality`."""
    rng = random(610)
    # Dimensions of unequal size, shifted, with noise of a view that is small in the large ones.
    scale, noise = np.geomspace(3.0, 0.05, DIM), np.geomspace(0.2, 0.4, DIM)
    content = rng.standard_normal((IMAGES, DIM)) * scale + 0.5
    views = content + rng.standard_normal((VIEWS, IMAGES, DIM)) * noise
    views = views.astype(np.float32)
    exact = views.astype(np.float64)
    wide = rng.standard_normal((7, 20)).astype(np.float32)
    wide_views = (wide + 0.1 * rng.standard_normal((2, 7, 20))).astype(np.float32)
    numbers = {
        "rank_me": rank_me(exact[0]),
        "rank_me_wide": rank_me(wide.astype(np.float64)),
        "lidar": lidar(exact),
        "lidar_two": lidar(exact[:2]),
        "lidar_wide": lidar(wide_views.astype(np.float64)),
        "alignment": alignment(exact[0], exact[1]),
        "uniformity": uniformity(exact[0]),
    }
    arrays = {
        "views": views,
        "wide": wide,
        "wide_views": wide_views,
        "singular_values": np.linalg.svd(exact[0], compute_uv=False),
    }
    arrays |= {name: np.array([value]) for name, value in numbers.items()}
    holds = (
        f"Features views [view, image, dim], wide [image, dim] and wide_views with fewer images "
        f"than dimensions; in float64 from these float32: singular_values and RankMe (epsilon "
        f"{EPSILON}) of views[0] and of wide, LiDAR (delta {DELTA}, epsilon {EPSILON}) of all "
        "views, of the first two and of wide_views, alignment of views[0] and [1], uniformity of "
        "views[0]."
    )
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    return [GoldenFile("quality", holds, tensors)]


def effective_rank(spectrum: np.ndarray) -> float:
    """exp of the entropy of the shares (Garrido et al. 2023, Eq. 1 and 2)."""
    share = spectrum / np.abs(spectrum).sum() + EPSILON
    return float(np.exp(-(share * np.log(share)).sum()))


def rank_me(features: np.ndarray) -> float:
    """Effective rank of the singular values."""
    return effective_rank(np.linalg.svd(features, compute_uv=False))


def lidar(views: np.ndarray) -> float:
    """Thilak et al. 2024, Sec. 4, by loops over images and views and an inverse square root."""
    count, images, dim = views.shape
    means = [np.mean([views[v, i] for v in range(count)], axis=0) for i in range(images)]
    grand = np.mean(means, axis=0)
    between = sum(np.outer(mean - grand, mean - grand) for mean in means) / images
    within = DELTA * np.eye(dim)
    for i in range(images):
        for v in range(count):
            deviation = views[v, i] - means[i]
            within += np.outer(deviation, deviation) / (images * count)
    values, vectors = np.linalg.eigh(within)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    eigenvalues = np.clip(np.linalg.eigvalsh(root @ between @ root), 0.0, None)
    # With fewer images than dimensions the rest is 0 and, but for epsilon, adds nothing.
    return effective_rank(np.sort(eigenvalues)[::-1][: min(images, dim)])


def sphere(features: np.ndarray) -> np.ndarray:
    """Rows of unit length."""
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def alignment(one: np.ndarray, other: np.ndarray) -> float:
    """Wang & Isola 2020, Eq. 1, alpha 2."""
    return float((np.linalg.norm(sphere(one) - sphere(other), axis=1) ** 2).mean())


def uniformity(features: np.ndarray) -> float:
    """Wang & Isola 2020, Eq. 2, t 2, over pairs i < j."""
    rows = sphere(features)
    pairs = [(i, j) for i in range(len(rows)) for j in range(i + 1, len(rows))]
    potentials = [np.exp(-2.0 * np.linalg.norm(rows[i] - rows[j]) ** 2) for i, j in pairs]
    return float(np.log(np.mean(potentials)))
