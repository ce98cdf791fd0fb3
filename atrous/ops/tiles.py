"""Overlapping windows over a large image, blended row band by row band in bounded memory."""

from collections.abc import Callable, Iterator

import numpy as np


def positions(size: int, window: int, overlap: float = 0.25) -> list[int]:
    """Origins of windows that cover 0..size-1 evenly, neighbours sharing at least `overlap` of a window.

    nnU-Net's rule (Isensee et al. 2021): steps = ceil((size - window) / (window * (1 - overlap))) + 1, spread evenly.
    """
    if size <= window:
        return [0]
    steps = int(np.ceil((size - window) / (window * (1 - overlap)))) + 1
    return sorted({int(np.round(i * (size - window) / (steps - 1))) for i in range(steps)})


def gaussian_window(height: int, width: int, sigma: float = 1 / 8) -> np.ndarray:
    """Importance of a window's pixels, (height, width) float32 in (0, 1]: a Gaussian of sigma * size per axis."""
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (sigma * n)) ** 2) for n in (height, width)]
    return np.maximum(np.outer(*axes), 1e-4).astype(np.float32)


def blend(
    predict: Callable[[int, int, int, int], np.ndarray],
    size: tuple[int, int],
    window: tuple[int, int],
    overlap: float = 0.25,
) -> Iterator[tuple[int, np.ndarray]]:
    """Run `predict(top, left, height, width) -> (K, height, width)` over all windows, yield finished row bands.

    Yields (top, scores (K, rows, W) float32), top to bottom, rows leaving as soon as no later window touches them:
    memory is one window's height of the image, whatever its own height. Scores are Gaussian-weighted means.
    """
    height, width = min(size[0], window[0]), min(size[1], window[1])
    tops, lefts = positions(size[0], height, overlap), positions(size[1], width, overlap)
    importance = gaussian_window(height, width)
    total: np.ndarray | None = None
    weight = np.zeros((height, size[1]), np.float32)
    for top, following in zip(tops, [*tops[1:], size[0]], strict=True):
        for left in lefts:
            scores = predict(top, left, height, width)
            if total is None:
                total = np.zeros((len(scores), height, size[1]), np.float32)
            total[:, :, left : left + width] += scores * importance
            weight[:, left : left + width] += importance
        assert total is not None
        done = min(following - top, height)
        yield top, total[:, :done] / weight[:done]
        total[:, : height - done], weight[: height - done] = total[:, done:].copy(), weight[done:].copy()
        total[:, height - done :], weight[height - done :] = 0, 0
