"""The Potts model on the pixel grid, which graph cuts, ICM and TRW-S minimise.

    E(x) = sum_i theta_i(x_i) + smoothness * sum_(i,j) w_ij [x_i != x_j]
    theta_i(l) = -log max(p_i(l), clip)                          in nats
    w_ij = exp(-|I_i - I_j|^2 / (2 beta)) / d_ij                 beta: the mean of |I_i - I_j|^2 over all pairs

Pairs are the 4 or 8 neighbours of a pixel, the 6 or 26 of a voxel; d_ij is their distance in units of the closest axis
(1 and sqrt 2 on a square grid). With beta so taken (Rother et al. 2004, section 2) the image's range and type do not
matter. A constant image, and none, give w = 1 / d. smoothness: what a border between equal-looking neighbours costs;
1 nat is a factor e in probability.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from atrous.errors import DataError
from atrous.ops.maxflow import MOST
from atrous.refine.inputs import checked_image, checked_labels, checked_probabilities, checked_spacing, in_range

NEIGHBOURS = {2: (4, 8), 3: (6, 26)}
"""By the number of axes."""


@dataclass(frozen=True, eq=False)
class Potts:
    """unary (K, *shape) and weights (D, *shape) float32, nats, smoothness included; offsets (D, axes) of the pairs.

    weights[d] at pixel p belongs to the pair of p and p + offsets[d], and is 0 where that leaves the image.
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
    """The model of probabilities (K, H, W) or (K, D, H, W) in 0..1 and an image (H, W[, C]) or (D, H, W[, C]).

    image: any type and range; None: borders cost the same everywhere. neighbours: 8 (or 4) of pixels, 6 (or 26) of
    voxels. spacing: distance between pixels along each axis. beta: in squared units of the image, for one contrast
    through a whole set of pictures; None: each picture's own mean. clip: 1e-5 makes 11.5 nats the greatest cost.
    Raises DataError for what does not fit.
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
    weights = np.zeros_like(square)
    for offset, step, part, weight in zip(offsets, steps, pairs, weights, strict=True):
        weight[_ends(offset)[0]] = smoothness * base / step * np.exp(-part / (2 * beta))
    return Potts(unary, weights, offsets)


def potts_energy(
    labels: np.ndarray, probabilities: np.ndarray, image: np.ndarray | None = None, **options: float
) -> float:
    """E of labels (H, W) or (D, H, W) in nats; options as for `potts`."""
    return potts(probabilities, image, **options).energy(labels)  # type: ignore[arg-type]


def _half_of(neighbours: int, axes: int) -> np.ndarray:
    """(D, axes): of each pair of opposite neighbours the one that comes later in memory, axis neighbours first."""
    steps = [step for step in product((-1, 0, 1), repeat=axes) if step > (0,) * axes]
    steps.sort(key=lambda step: (np.abs(step).sum(), step))
    return np.array(steps[: neighbours // 2])


def _ends(offset: np.ndarray) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where both p and p + offset are in the image: the part of all p and the part of all p + offset."""
    here = tuple(slice(max(-step, 0), -step if step > 0 else None) for step in offset)
    there = tuple(slice(max(step, 0), step if step < 0 else None) for step in offset)
    return here, there


def _square_differences(image: np.ndarray | None, shape: tuple[int, ...], offsets: np.ndarray) -> np.ndarray:
    """(D, *shape) float32: |I_i - I_j|^2, summed over the channels; 0 where there is no pair, and without an image."""
    square = np.zeros((len(offsets), *shape), np.float32)
    if image is not None:
        for offset, part in zip(offsets, square, strict=True):
            one, other = _ends(offset)
            part[one] = ((image[one] - image[other]) ** 2).sum(-1)
    return square


@dataclass(frozen=True, eq=False)
class Whole:
    """The model in whole numbers, so that sums are exact and flows end: what the kernels work on.

    The grid has a border of one pixel and is flat, P places in all. unary (K, P), weights (P, D) int32, weights even;
    steps (2 D,) int64 to the neighbours, those after D opposite to those before; degree (P,) int32: the weights of a
    place's pairs. One nat is `scale` units.
    """

    unary: np.ndarray
    weights: np.ndarray
    steps: np.ndarray
    degree: np.ndarray
    scale: float
    shape: tuple[int, ...]

    def first(self) -> np.ndarray:
        """(P,) int32: labels of the least unary, of equals the first; -1 on the border."""
        return self.padded(self.unary.argmin(0)[self.inner()].reshape(self.shape))

    def padded(self, labels: np.ndarray) -> np.ndarray:
        return np.pad(labels.astype(np.int32), 1, constant_values=-1).reshape(-1)

    def inner(self) -> np.ndarray:
        """(P,) bool: places that are pixels."""
        return np.pad(np.ones(self.shape, bool), 1).reshape(-1)

    def labels(self, flat: np.ndarray) -> np.ndarray:
        """(*shape) uint8, uint16 where there are more than 256 classes."""
        dtype = np.uint8 if len(self.unary) <= 256 else np.uint16
        return flat[self.inner()].reshape(self.shape).astype(dtype)


def whole(model: Potts) -> Whole:
    """The model rounded to units of a power of two, the finest that fits int32: of the order of 1e-7 nats."""
    axes = len(model.shape)
    edges = [(0, 0)] + [(1, 1)] * axes
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
