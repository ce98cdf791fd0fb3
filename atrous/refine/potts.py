"""The Potts model on the pixel grid, which graph cuts, ICM and TRW-S minimise.

    E(x) = sum_i theta_i(x_i) + smoothness * sum_(i,j) w_ij [x_i != x_j]
    theta_i(l) = -log max(p_i(l), clip)                                          in nats
    w_ij = exp(-|I_i - I_j|^2 / (2 beta)) / d_ij      beta: mean of |I_i - I_j|^2 over all pairs

Pairs are the 4 or 8 neighbours of a pixel, the 6 or 26 of a voxel. d_ij is their distance in units
of the closest axis (1 and sqrt 2 on a square grid). With this beta (Rother et al. 2004, section 2)
the image's range and type do not matter. A constant image gives w = 1 / d, and so does none.
"""

from dataclasses import dataclass
from itertools import product
from typing import TypedDict, Unpack

import numpy as np

from atrous.errors import DataError
from atrous.ops.maxflow import MOST
from atrous.refine.inputs import checked_image, checked_labels, checked_probabilities, checked_spacing, in_range

NEIGHBOURS = {2: (4, 8), 3: (6, 26)}
"""By the number of axes."""


LEAST_BETA, MOST_BETA = 1e-37, 1e37
"""Float32 has all its digits between."""


class PottsOptions(TypedDict, total=False):
    """The keyword options of `potts`, which all that minimise its energy take too."""

    smoothness: float
    neighbours: int | None
    spacing: tuple[float, ...] | None
    beta: float | None
    clip: float


@dataclass(frozen=True, eq=False)
class Potts:
    """The energy as tables, in nats.

    unary (K, *shape) and weights (D, *shape), float32, with smoothness. offsets (D, axes): of the
    pairs. weights[d] at pixel p belongs to the pair of p and p + offsets[d]; it is 0 where that is
    outside the image.
    """

    unary: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.unary.shape[1:]

    def energy(self, labels: np.ndarray) -> float:
        """E of labels (*shape), each 0..K-1."""
        labels = checked_labels(labels, (len(self.shape),))
        if labels.shape != self.shape or labels.max() >= len(self.unary):
            raise DataError(
                f"labels have shape {labels.shape} and reach to {labels.max()}; expected {self.shape} and "
                f"0..{len(self.unary) - 1}"
            )
        total = np.take_along_axis(self.unary, labels[None].astype(np.int64), 0).sum(dtype=np.float64)
        for offset, weight in zip(self.offsets, self.weights, strict=True):
            one, other = _ends(offset)
            total += weight[one][labels[one] != labels[other]].sum(dtype=np.float64)
        return float(total)


def potts(
    probabilities: np.ndarray,
    image: np.ndarray | None = None,
    *,
    smoothness: float = 1.0,
    neighbours: int | None = None,
    spacing: tuple[float, ...] | None = None,
    beta: float | None = None,
    clip: float = 1e-5,
) -> Potts:
    """The model of probabilities and an image.

    Args:
        probabilities: (K, H, W) or (K, D, H, W), 0..1.
        image: (H, W[, C]) or (D, H, W[, C]), any type and range; None: borders cost the same
            everywhere.
        smoothness: what a border between equal-looking neighbours costs, 0..10,000 nats; one nat is
            a factor e in probability.
        neighbours: 8 (default) or 4 of pixels, 6 (default) or 26 of voxels.
        spacing: distance between pixels along each axis; None: 1.
        beta: squared contrast, in the image's units, that weakens a border to exp(-1/2); for one
            contrast through a whole set of pictures. None: the picture's own mean.
        clip: probabilities below count as this; 1e-5 makes 11.5 nats the greatest cost.

    Raises:
        DataError: an array or option does not fit.
    """
    probabilities = checked_probabilities(probabilities)
    shape = probabilities.shape[1:]
    neighbours = neighbours or {2: 8, 3: 6}[len(shape)]
    if neighbours not in NEIGHBOURS[len(shape)]:
        raise DataError(f"neighbours is {neighbours}; expected one of {NEIGHBOURS[len(shape)]} on {len(shape)} axes")
    if beta is not None and not beta > 0:
        raise DataError(f"beta is {beta}; expected a number above 0, or None for the mean of the image")
    in_range("smoothness", smoothness, 0, 10_000)
    in_range("clip", clip, 1e-30, 0.5)
    unary = -np.log(np.clip(probabilities, clip, 1))
    offsets = _half_of(neighbours, len(shape))
    steps = np.linalg.norm(offsets * checked_spacing(spacing, len(shape)), axis=1)
    base = np.min(checked_spacing(spacing, len(shape)))
    square = _square_differences(None if image is None else checked_image(image, shape), shape, offsets)
    pairs = [part[_ends(offset)[0]] for offset, part in zip(offsets, square, strict=True)]
    if beta is None:
        count = sum(part.size for part in pairs)
        beta = sum(part.sum(dtype=np.float64) for part in pairs) / max(count, 1) or 1.0
    # A beta that is 0 in float32 would make weights nan: then they are no capacities of a cut.
    beta = min(max(beta, LEAST_BETA), MOST_BETA)
    weights = np.zeros_like(square)
    with np.errstate(over="ignore"):  # a contrast that is infinite beside beta: the weight is 0
        for offset, step, part, weight in zip(offsets, steps, pairs, weights, strict=True):
            weight[_ends(offset)[0]] = smoothness * base / step * np.exp(-part / (2 * beta))
    return Potts(unary, weights, offsets)


def potts_energy(
    labels: np.ndarray, probabilities: np.ndarray, image: np.ndarray | None = None, **options: Unpack[PottsOptions]
) -> float:
    """The energy of a labelling, to compare labellings by.

    Args:
        labels: (H, W) or (D, H, W) integers 0..K-1.
        probabilities, image: as for `graph_cut`.
        options: smoothness, neighbours, spacing, beta, clip, as for `graph_cut`.

    Returns:
        Nats; the lower, the better the labels fit probabilities and image.

    Raises:
        DataError: an array or option does not fit.

    Example:
        >>> import numpy as np
        >>> p = np.array([[[0.9, 0.4]], [[0.1, 0.6]]])
        >>> [round(potts_energy(np.array([labels]), p), 2) for labels in ([0, 1], [0, 0])]
        [1.62, 1.02]
    """
    return potts(probabilities, image, **options).energy(labels)


def _half_of(neighbours: int, axes: int) -> np.ndarray:
    """(D, axes): of each two opposite neighbours the later one in memory, axis neighbours first."""
    steps = [step for step in product((-1, 0, 1), repeat=axes) if step > (0,) * axes]
    steps.sort(key=lambda step: (np.abs(step).sum(), step))
    return np.array(steps[: neighbours // 2])


def _ends(offset: np.ndarray) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """All p, and all p + offset, where both are inside the image."""
    here = tuple(slice(max(-step, 0), -step if step > 0 else None) for step in offset)
    there = tuple(slice(max(step, 0), step if step < 0 else None) for step in offset)
    return here, there


def _square_differences(image: np.ndarray | None, shape: tuple[int, ...], offsets: np.ndarray) -> np.ndarray:
    """(D, *shape) float32: |I_i - I_j|^2, summed over channels; 0 without a pair or an image."""
    square = np.zeros((len(offsets), *shape), np.float32)
    if image is not None:
        for offset, part in zip(offsets, square, strict=True):
            one, other = _ends(offset)
            part[one] = ((image[one] - image[other]) ** 2).sum(-1)
    return square


@dataclass(frozen=True, eq=False)
class Whole:
    """The model in whole numbers, which the kernels work on: sums are exact then, and flows end.

    The grid is flat, with a border of one pixel: a pixel's neighbours are at fixed steps from it,
    and no kernel tests for the image's edge. Kernels stay in bounds by it: they start from pixels
    only (labels >= 0, or `inner`), whose steps end in the grid, and labels are 0..K-1.

    It has P places in all. unary (K, P), weights (P, D) int32, weights even; steps (2 D,) int64 to
    the neighbours, the second half opposite to the first; degree (P,) int32: the sum of the weights
    of a place's pairs. One nat is `scale` units.
    """

    unary: np.ndarray
    weights: np.ndarray
    steps: np.ndarray
    degree: np.ndarray
    scale: float
    shape: tuple[int, ...]

    def first(self) -> np.ndarray:
        """(P,) int32: labels of the least unary, the first of equal ones; -1 on the border."""
        return self.padded(self.unary.argmin(0)[self.inner()].reshape(self.shape))

    def padded(self, labels: np.ndarray) -> np.ndarray:
        """(*shape) -> (P,) int32, -1 on the border."""
        return np.pad(labels.astype(np.int32), 1, constant_values=-1).reshape(-1)

    def inner(self) -> np.ndarray:
        """(P,) bool: places that are pixels."""
        return np.pad(np.ones(self.shape, bool), 1).reshape(-1)

    def labels(self, flat: np.ndarray) -> np.ndarray:
        """(P,) -> (*shape) uint8, uint16 where there are more than 256 classes."""
        dtype = np.uint8 if len(self.unary) <= 256 else np.uint16
        return flat[self.inner()].reshape(self.shape).astype(dtype)


def whole(model: Potts) -> Whole:
    """The model rounded to units of a power of two: the finest that fits int32, about 1e-7 nats.

    Weights are even, because the graph of an expansion halves them.
    """
    axes = len(model.shape)
    edges = [(0, 0)] + [(1, 1)] * axes
    # What can meet at a node of the graph: a unary difference, and for each of its pairs (two an
    # offset) an arc there, an arc back, and a pull.
    most = model.unary.max() + 3 * 2 * model.weights.max(tuple(range(1, axes + 1))).sum()
    scale = 2.0 ** np.floor(np.log2(MOST / max(most, 1)))
    unary = np.pad(np.rint(model.unary * np.float64(scale)).astype(np.int32), edges)
    weights = np.pad(2 * np.rint(model.weights * np.float64(scale / 2)).astype(np.int32), edges)
    padded = unary.shape[1:]
    steps = model.offsets @ np.array([int(np.prod(padded[axis + 1 :])) for axis in range(axes)])
    flat = np.ascontiguousarray(weights.reshape(len(steps), -1).T)
    degree = flat.sum(1, dtype=np.int32)
    for step, part in zip(steps, flat.T, strict=True):
        degree[step:] += part[: len(part) - step]
    return Whole(unary.reshape(len(unary), -1), flat, np.concatenate([steps, -steps]), degree, scale, model.shape)
