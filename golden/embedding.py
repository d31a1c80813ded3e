"""Writes what the map of a report is compared with: umap-learn on 600 of scikit-learn's digits.

    pip install umap-learn==0.5.12 scikit-learn==1.9.1 numpy==2.4.6 safetensors==0.8.0
    python3 golden/embedding.py            # golden/embedding.safetensors, a minute

Needs numba, so it is no module of make_golden.py. The file holds:

    digits     [600, 64] bytes 0..=16, every third image of load_digits(), as far as there are 600
    labels     [600] bytes
    rho, sigma [600] of umap.umap_.smooth_knn_dist, 15 neighbours, the image itself among them
    degree     [600] row sums of umap.umap_.fuzzy_simplicial_set
    embedding  [600, 2] of umap.UMAP(random_state=19112020), else its defaults
    curve      a and b of umap.umap_.find_ab_params(1, 0.1)
    trust      sklearn.manifold.trustworthiness, 15 neighbours: of that embedding, of PCA's first two
               components, of umap.UMAP(init="pca", random_state=19112020)

What is printed at the end is of all 1797 digits, for people.
"""

import platform
from pathlib import Path

import numpy as np
import umap
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from umap.umap_ import find_ab_params, fuzzy_simplicial_set, smooth_knn_dist

SEED = 19112020
NEIGHBOURS = 15


def trust(data: np.ndarray, embedding: np.ndarray) -> float:
    return trustworthiness(data, embedding, n_neighbors=NEIGHBOURS)


def embed(data: np.ndarray, init: str = "spectral") -> np.ndarray:
    return umap.UMAP(n_neighbors=NEIGHBOURS, init=init, random_state=SEED).fit_transform(data)


def main() -> None:
    all_digits, all_labels = load_digits(return_X_y=True)
    digits, labels = all_digits[::3].astype(np.float32), all_labels[::3]
    digits = np.concatenate([digits, all_digits[1::3]])[:600].astype(np.float32)
    labels = np.concatenate([labels, all_labels[1::3]])[:600]
    # The image itself first; of equally near ones the earlier. Squares of whole numbers are exact.
    squared = ((digits[:, None] - digits[None]) ** 2).sum(-1).astype(np.int64)
    np.fill_diagonal(squared, -1)
    indices = np.argsort(squared, axis=1, kind="stable")[:, :NEIGHBOURS]
    distances = np.sqrt(np.maximum(np.take_along_axis(squared, indices, 1), 0))
    sigma, rho = smooth_knn_dist(distances.astype(np.float32), float(NEIGHBOURS))
    graph, _, _ = fuzzy_simplicial_set(
        digits,
        NEIGHBOURS,
        np.random.RandomState(SEED),
        "euclidean",
        knn_indices=indices,
        knn_dists=distances.astype(np.float32),
    )
    embedding = embed(digits)
    pca = PCA(2, svd_solver="full").fit_transform(digits)
    figures = [trust(digits, embedding), trust(digits, pca), trust(digits, embed(digits, "pca"))]
    tensors = {
        "digits": digits.astype(np.uint8),
        "labels": labels.astype(np.uint8),
        "rho": rho.astype(np.float32),
        "sigma": sigma.astype(np.float32),
        "degree": np.asarray(graph.sum(axis=1)).ravel().astype(np.float32),
        "embedding": embedding.astype(np.float32),
        "curve": np.array(find_ab_params(1.0, 0.1)),
        "trust": np.array(figures),
    }
    assert np.array_equal(tensors["digits"].astype(np.float32), digits)
    versions = {"python": platform.python_version(), "umap-learn": umap.__version__}
    path = Path(__file__).parent / "embedding.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path, versions)
    print("600 digits: umap-learn, PCA, umap-learn from PCA:", figures)
    whole = all_digits.astype(np.float32)
    pca = PCA(2, svd_solver="full").fit_transform(whole)
    print("1797 digits: umap-learn, PCA:", trust(whole, embed(whole)), trust(whole, pca))


if __name__ == "__main__":
    main()
