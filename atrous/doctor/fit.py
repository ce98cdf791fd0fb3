"""How well the edges of a mask lie on the edges of its image, and which shift would improve that.

For every shift of the mask by a few pixels, this takes the mean edge strength of the image under
the mask's edges, less the mean of the whole window. If the mask belongs to its image, there is one
peak, at shift zero.
"""

from typing import NamedTuple

import cv2
import numpy as np

REACH = 12
"""The largest shift that is tried, in pixels of the small picture."""
FEWEST_EDGES = 40
"""A mask with fewer pixels on edges is not measured."""


class EdgeFit(NamedTuple):
    """How the edges of a mask lie on those of its image.

    level: mean edge strength under the mask's edges less the window's mean, in standard deviations
    of the image's edge strength. peak: the level at the best shift. shift: the best shift, (right,
    down) in pixels of the full image. gain: peak - level, in standard deviations of the levels at
    far shifts.
    """

    level: float
    peak: float
    shift: tuple[int, int]
    gain: float


def edge_fit(edges: np.ndarray, mask: np.ndarray) -> EdgeFit | None:
    """Measure how a mask's edges lie on an image's; None if there are too few of them.

    edges: (h, w) float32, edge strength of the small image. mask: (H, W) or (H, W, C), full size.
    """
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
    """Mark the edges of a mask: (h, w) float32, 1 on both sides of each change of value."""
    planes = mask if mask.ndim == 3 else mask[..., None]
    lines = np.zeros(planes.shape[:2], np.float32)
    across, down = (planes[:, 1:] != planes[:, :-1]).any(2), (planes[1:] != planes[:-1]).any(2)
    lines[:, 1:][across] = lines[:, :-1][across] = 1
    lines[1:][down] = lines[:-1][down] = 1
    return lines


def shrink_to(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Take the values at the centres of height x width cells."""
    rows = (np.arange(height) * 2 + 1) * mask.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * mask.shape[1] // (2 * width)
    return mask[rows[:, None], columns]
