"""How well the edges of a mask lie on the edges of its image, and where they would lie better.

The image's edge strength under the mask's edges, less that of the whole window, for every shift of the mask by a few
pixels: for a mask that belongs to its image this has one peak, at no shift.
"""

from typing import NamedTuple

import cv2
import numpy as np

REACH = 12
"""Most pixels, at the small size, by which a mask is shifted to see whether it fits better."""
FEWEST_EDGES = 40
"""Pixels on edges below which nothing can be said."""


class EdgeFit(NamedTuple):
    """level: edge strength under the mask's edges, less the window's mean, in standard deviations of the image's.

    peak: the same at the best shift; shift: (right, down) in pixels of the full image; gain: peak less level, in
    standard deviations of the levels at far shifts.
    """

    level: float
    peak: float
    shift: tuple[int, int]
    gain: float


def edge_fit(edges: np.ndarray, mask: np.ndarray) -> EdgeFit | None:
    """edges: (h, w) float32 strengths at a small size; mask: (H, W) or (H, W, C) at the full one. None: no edges."""
    height, width = edges.shape
    reach = min(REACH, (min(height, width) - 4) // 4)
    if reach < 2:
        return None
    lines = mask_edges(shrink_to(mask, height, width))
    core = lines[reach:-reach, reach:-reach]
    count = int(core.sum())
    if count < FEWEST_EDGES:
        return None
    strength = np.sqrt(edges)
    under = cv2.matchTemplate(strength, core, cv2.TM_CCORR) / count
    sums, (high, wide), k = cv2.integral(strength), core.shape, 2 * reach + 1
    window = sums[high : high + k, wide : wide + k] - sums[:k, wide : wide + k]
    window = (window - sums[high : high + k, :k] + sums[:k, :k]) / (high * wide)
    surface = (under - window) / max(float(strength.std()), 1e-6)
    y, x = np.unravel_index(surface.argmax(), surface.shape)
    away = np.abs(np.arange(-reach, reach + 1))
    far = surface[np.maximum(away[:, None], away) > reach // 2]
    scale = max(mask.shape[0] / height, 1.0)
    return EdgeFit(
        float(surface[reach, reach]),
        float(surface.max()),
        (round((int(x) - reach) * scale), round((int(y) - reach) * scale)),
        float((surface.max() - surface[reach, reach]) / max(float(far.std()), 1e-6)),
    )


def mask_edges(mask: np.ndarray) -> np.ndarray:
    """(h, w) float32, 1 on both sides of each change of value."""
    planes = mask if mask.ndim == 3 else mask[..., None]
    lines = np.zeros(planes.shape[:2], np.float32)
    across, down = (planes[:, 1:] != planes[:, :-1]).any(2), (planes[1:] != planes[:-1]).any(2)
    lines[:, 1:][across] = lines[:, :-1][across] = 1
    lines[1:][down] = lines[:-1][down] = 1
    return lines


def shrink_to(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """The values at the centres of (height, width) cells."""
    rows = (np.arange(height) * 2 + 1) * mask.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * mask.shape[1] // (2 * width)
    return mask[rows[:, None], columns]
