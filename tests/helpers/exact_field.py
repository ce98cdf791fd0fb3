"""The referee of the dense CRF: kernels as N x N matrices, in float64, straight from the paper's equations."""

import numpy as np


def kernel(features: np.ndarray) -> np.ndarray:
    """(N, d) -> (N, N)."""
    f = np.asarray(features, float)
    return np.exp(-0.5 * np.square(f[:, None] - f[None]).sum(-1))


def normalised(k: np.ndarray, normalisation: str, self_term: bool = True) -> np.ndarray:
    n = k.sum(1)
    left, right = {
        "none": (1, 1),
        "mean": (len(n) / n.sum(), 1),
        "before": (1, 1 / n),
        "after": (1 / n[:, None], 1),
        "symmetric": (1 / np.sqrt(n)[:, None], 1 / np.sqrt(n)),
    }[normalisation]
    k = left * k * right
    return k if self_term else k - np.diag(np.diag(k))


def softmax(z: np.ndarray) -> np.ndarray:
    """Over the first axis."""
    e = np.exp(z - z.max(0))
    return e / e.sum(0)


def field(unary: np.ndarray, terms: list[tuple[np.ndarray, np.ndarray]], iterations: int) -> np.ndarray:
    """unary (K, N), terms of kernels (N, N) and compatibilities (K, K) -> Q (K, N)."""
    q = softmax(-unary)
    for _ in range(iterations):
        q = softmax(-unary - sum(mu @ (q @ k.T) for k, mu in terms))
    return q


def free_energy(q: np.ndarray, unary: np.ndarray, terms: list[tuple[np.ndarray, np.ndarray]]) -> float:
    pairs = sum((q * (mu @ (q @ k.T))).sum() for k, mu in terms)
    return float((q * np.log(np.maximum(q, 1e-20))).sum() + (q * unary).sum() + pairs / 2)
