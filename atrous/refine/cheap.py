"""Refiners that cost little: two edge-aware filters of probabilities, and tidying by components.

Guided filter (He, Sun & Tang, ECCV 2010): in every window the result is linear in the image. Its
time does not depend on the radius. Fast bilateral solver (Barron & Poole, ECCV 2016): smooth within
like colours, true to the input where that is sure, solved on a coarse grid of place and colour.
Neither lets classes compete; the CRF and the cuts do.
"""

from collections.abc import Iterable

import cv2
import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from atrous.errors import DataError
from atrous.refine.inputs import (
    checked_colours,
    checked_image,
    checked_labels,
    checked_probabilities,
    checked_spacing,
    in_range,
)

MOST_GUIDES = 16
"""Channels that may guide: for each window a matrix of so many rows is inverted."""


def guided_filter(probabilities: np.ndarray, image: np.ndarray, *, radius: int = 8, eps: float = 1e-3) -> np.ndarray:
    """Probabilities that follow the image's edges, each class filtered on its own.

    q = mean(a) I + mean(b) with a = (cov(I) + eps)^-1 cov(I, p) and b = mean(p) - a mean(I), means
    and covariances over windows.

    Args:
        probabilities: (K, H, W) or (K, D, H, W), 0..1.
        image: (H, W[, C]) or (D, H, W[, C]), C up to 16, any type; its own range counts as 0..1.
        radius: windows are 2 radius + 1 pixels wide, and end at the image's border; 1..10,000.
        eps: the variance below which a window counts as flat.

    Returns:
        float32 of the same shape, each pixel's sum 1.

    Raises:
        DataError: an array or option does not fit.

    Source:
        He, Sun & Tang, ECCV 2010, equations 5, 6, 8 and 14.

    Example:
        >>> import numpy as np
        >>> edge = np.array([[0, 0, 0, 255, 255, 255]])
        >>> p = np.array([[0.9, 0.9, 0.6, 0.4, 0.1, 0.1]])
        >>> print(guided_filter(np.stack([p, 1 - p]), edge, radius=2)[0].round(1))
        [[0.8 0.8 0.7 0.3 0.2 0.2]]
    """
    p = checked_probabilities(probabilities)
    guide = np.moveaxis(checked_image(image, p.shape[1:]), -1, 0)
    if len(guide) > MOST_GUIDES:
        raise DataError(f"the image has {len(guide)} channels; at most {MOST_GUIDES} guide: choose or combine some")
    radius = int(in_range("radius", radius, 1, 10_000))
    in_range("eps", eps, 1e-8, 1e8)
    guide = (guide - guide.min()) / max(float(np.ptp(guide)), np.finfo(np.float32).tiny)
    size = _box(np.ones(p.shape[1:], np.float32), radius)
    mean = np.stack([_box(channel, radius) / size for channel in guide])
    covariance = (
        np.stack([np.stack([_box(one * other, radius) / size for other in guide]) for one in guide])
        - mean[:, None] * mean
    )
    covariance[np.diag_indices(len(guide))] += np.float32(eps)
    inverse = np.linalg.inv(np.moveaxis(covariance, (0, 1), (-2, -1)))
    out = np.empty_like(p)
    for one, q in zip(p, out, strict=True):
        average = _box(one, radius) / size
        joint = np.stack([_box(channel * one, radius) / size for channel in guide]) - mean * average
        slope = np.einsum("...ij,j...->i...", inverse, joint)
        offset = average - (slope * mean).sum(0)
        q[...] = _box(offset, radius) / size
        for channel, part in zip(guide, slope, strict=True):
            q += channel * (_box(part, radius) / size)
    return _as_probabilities(out)


def _box(values: np.ndarray, radius: int) -> np.ndarray:
    """Sums over windows of 2 radius + 1 on every axis, zeros around the image."""
    # OpenCV has no box filter of volumes: differences of running sums, whose time does not depend
    # on the radius either.
    if values.ndim == 2:
        width = 2 * radius + 1
        return cv2.boxFilter(values, -1, (width, width), normalize=False, borderType=cv2.BORDER_CONSTANT)
    for axis, length in enumerate(values.shape):
        sums = np.insert(values.cumsum(axis, dtype=np.float64), 0, 0, axis)
        index = np.arange(length)
        last, first = np.minimum(index + radius + 1, length), np.maximum(index - radius, 0)
        values = (sums.take(last, axis) - sums.take(first, axis)).astype(np.float32)
    return values


def bilateral_solver(
    probabilities: np.ndarray,
    image: np.ndarray,
    *,
    spatial: float = 8.0,
    colour: float = 16.0,
    smoothness: float = 32.0,
    confidence: np.ndarray | None = None,
    spacing: tuple[float, ...] | None = None,
    iterations: int = 25,
) -> np.ndarray:
    """Probabilities that are smooth among near pixels of like colours: of all x the one with least

        sum_i c_i (x_i - p_i)^2 + smoothness / 2 sum_ij W_ij (x_i - x_j)^2

    W are bistochastic affinities of pixels within about `spatial` and `colour` of each other. It is
    solved for the vertices of a grid of cells spatial x colour (the simplified bilateral grid): x
    is constant within a cell.

    Args:
        probabilities: (K, H, W) or (K, D, H, W), 0..1.
        image: (H, W[, C]) or (D, H, W[, C]) of a few channels, any type.
        spatial: side of a cell in pixels, or units of `spacing`.
        colour: side of a cell in the image's own units; 16 is for 0..255.
        smoothness: weight of the second sum.
        confidence: c, (H, W) or (D, H, W), at least 0; None: each pixel's greatest probability.
        spacing: distance between pixels along each axis; None: 1.
        iterations: of conjugate gradients, at most; they end at a residual of 1e-6.

    Returns:
        float32 of the same shape, each pixel's sum 1.

    Raises:
        DataError: an array or option does not fit.

    Source:
        Barron & Poole, ECCV 2016.

    Example:
        >>> import numpy as np
        >>> edge = np.array([[0, 0, 0, 255, 255, 255]])
        >>> p = np.array([[0.9, 0.9, 0.6, 0.4, 0.1, 0.1]])
        >>> print(bilateral_solver(np.stack([p, 1 - p]), edge)[0].round(1))
        [[0.8 0.8 0.8 0.2 0.2 0.2]]
    """
    p = checked_probabilities(probabilities)
    in_range("spatial", spatial, 1e-6, 1e6)
    in_range("colour", colour, 1e-12, 1e12)
    values = checked_colours(image, p.shape[1:], colour)
    in_range("smoothness", smoothness, 0, 1e9)
    in_range("iterations", iterations, 1, 10_000)
    sure = p.max(0) if confidence is None else np.asarray(confidence, np.float32)
    if sure.shape != p.shape[1:] or not (np.isfinite(sure).all() and sure.min() >= 0):
        raise DataError(f"confidence has shape {sure.shape}; expected {p.shape[1:]}, no number below 0 and no nan")
    places = np.moveaxis(np.indices(p.shape[1:]), 0, -1) * (checked_spacing(spacing, p.ndim - 1) / spatial)
    cells = np.concatenate([places, (values - values.min((*range(p.ndim - 1),))) / colour], -1)
    vertex, blur = bilateral_grid(cells.reshape(-1, cells.shape[-1]))
    weight, mass = bistochastic(blur, np.bincount(vertex).astype(float))
    scale = sparse.diags_array(weight)
    given = np.bincount(vertex, sure.reshape(-1))
    system = smoothness * (sparse.diags_array(mass) - scale @ blur @ scale) + sparse.diags_array(
        np.maximum(given, 1e-5)
    )
    system = system.tocsr()
    jacobi = sparse.diags_array(1 / system.diagonal())
    out = np.empty_like(p)
    for one, x in zip(p, out, strict=True):
        target = np.bincount(vertex, (sure * one).reshape(-1))
        solved, _ = cg(system, target, target / np.maximum(given, 1e-5), rtol=1e-6, maxiter=iterations, M=jacobi)
        x[...] = solved[vertex].reshape(x.shape)
    return _as_probabilities(out)


def bilateral_grid(cells: np.ndarray) -> tuple[np.ndarray, sparse.csr_array]:
    """The vertices of pixels at `cells` (N, d), which are rounded, and the blur between vertices.

    Returns:
        vertex (N,): which of the V vertices each pixel is on. blur (V, V): 2 d on the diagonal, and
        1 between vertices that are neighbours along one axis (section 3 of the paper's supplement).
    """
    count = np.prod(np.ptp(cells, axis=0).astype(float) + 4)
    if not (count <= 2.0**62 and np.abs(cells).max() <= 2.0**62):
        raise DataError(
            f"{cells.shape[1]} axes of place and colour make {count:.1g} cells; use fewer channels or a wider colour"
        )
    index = np.rint(cells).astype(np.int64)
    index -= index.min(0) - 1
    extent = index.max(0) + 1
    strides = np.concatenate([[1], np.cumprod(extent[:-1])])
    # One number for a vertex, digits of mixed radix with a cell to spare at either end: neighbours
    # along an axis differ by its stride, and no step runs into another row.
    keys, vertex = np.unique(index @ strides, return_inverse=True)
    rows, columns = [np.arange(len(keys))], [np.arange(len(keys))]
    for stride in strides:
        place = np.minimum(np.searchsorted(keys, keys + stride), len(keys) - 1)
        there = np.flatnonzero(keys[place] == keys + stride)
        rows += [there, place[there]]
        columns += [place[there], there]
    data = np.repeat([2.0 * len(strides)] + [1.0] * (len(rows) - 1), [len(part) for part in rows])
    blur = sparse.coo_array((data, (np.concatenate(rows), np.concatenate(columns))), shape=(len(keys),) * 2)
    return vertex, blur.tocsr()


def bistochastic(blur: sparse.csr_array, mass: np.ndarray, rounds: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """(n, m) with diag(n) B diag(n) 1 = m, m near the vertices' numbers of pixels (algorithm 1)."""
    weight = np.ones(len(mass))
    for _ in range(rounds):
        weight = np.sqrt(weight * mass / (blur @ weight))
    return weight, weight * (blur @ weight)


def _as_probabilities(values: np.ndarray) -> np.ndarray:
    """In place: numbers of at least 0, each pixel's sum 1."""
    np.maximum(values, 0, out=values)
    values /= np.maximum(values.sum(0), np.finfo(np.float32).tiny)
    return values


def keep_largest(
    labels: np.ndarray, *, classes: Iterable[int] | None = None, background: int | None = 0, corners: bool = True
) -> np.ndarray:
    """Keep the largest component of each class.

    Args:
        labels: (H, W) or (D, H, W) integers.
        classes: which; None takes all but the background.
        background: what the pixels of other components become; None: the label of the nearest pixel
            that stays.
        corners: whether pixels that touch at a corner belong together.

    Returns:
        Labels of the same shape and type. Of components of one size the first in memory stays.

    Raises:
        DataError: labels are not integers 0..65,535, or background is not one of their type.

    Example:
        >>> import numpy as np
        >>> keep_largest(np.array([[1, 1, 0, 1]]))
        array([[1, 1, 0, 0]])
    """
    labels = checked_labels(labels)
    gone = np.zeros(labels.shape, bool)
    for box, parts, sizes in _components(labels, classes, background, corners):
        gone[box] |= (parts > 0) & (parts != 1 + sizes.argmax())
    return _without(labels, gone, background)


def minimum_size(
    labels: np.ndarray,
    size: int,
    *,
    classes: Iterable[int] | None = None,
    background: int | None = 0,
    corners: bool = True,
) -> np.ndarray:
    """Remove small components.

    Args:
        labels, classes, background, corners: as for `keep_largest`.
        size: components of fewer pixels are removed, at least 1.

    Returns:
        Labels of the same shape and type.

    Raises:
        DataError: an argument does not fit.

    Example:
        >>> import numpy as np
        >>> minimum_size(np.array([[1, 1, 0, 1]]), 2)
        array([[1, 1, 0, 0]])
    """
    labels = checked_labels(labels)
    in_range("size", size, 1, 2**62)
    gone = np.zeros(labels.shape, bool)
    for box, parts, sizes in _components(labels, classes, background, corners):
        gone[box] |= np.concatenate([[False], sizes < size])[parts]
    return _without(labels, gone, background)


def fill_holes(
    labels: np.ndarray, *, classes: Iterable[int] | None = None, background: int = 0, most: int | None = None
) -> np.ndarray:
    """Give background that a class encloses to that class; other classes inside stay.

    A class encloses what has no way to the border over pixels that touch by a face. If a class lies
    inside another's hole, the inner (smaller) one fills first.

    Args:
        labels, classes, background: as for `keep_largest`.
        most: holes of more pixels stay; None fills all.

    Returns:
        Labels of the same shape and type.

    Raises:
        DataError: an argument does not fit.

    Example:
        >>> import numpy as np
        >>> fill_holes(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]]))[1]
        array([1, 1, 1])
    """
    labels = checked_labels(labels)
    filled = labels.copy()
    # Smaller classes first: what is inside another's hole has fewer pixels.
    found = [(int((labels == label).sum()), label) for label in _chosen(labels, classes, background)]
    for _, label in sorted(found):
        mask = labels == label
        holes = ndimage.binary_fill_holes(mask) & ~mask
        if most is not None:
            parts, count = ndimage.label(holes)
            sizes = np.bincount(parts.reshape(-1), minlength=count + 1)
            holes &= (sizes <= most)[parts]
        filled[holes & (filled == background)] = label
    return filled


def _chosen(labels: np.ndarray, classes: Iterable[int] | None, background: int | None) -> list[int]:
    """The classes that are wanted and present, without the background."""
    if background is not None and not 0 <= background <= (1 if labels.dtype == bool else np.iinfo(labels.dtype).max):
        raise DataError(f"background is {background}; expected a label that {labels.dtype} can hold, or None")
    present = np.unique(labels)
    chosen = present if classes is None else np.intersect1d(present, list(classes))
    return [int(label) for label in chosen if label != background]


def _components(
    labels: np.ndarray, classes: Iterable[int] | None, background: int | None, corners: bool
) -> Iterable[tuple[tuple[slice, ...], np.ndarray, np.ndarray]]:
    """For each class (its box, the components in it as 1.., 0 elsewhere, their sizes)."""
    structure = ndimage.generate_binary_structure(labels.ndim, labels.ndim if corners else 1)
    boxes = ndimage.find_objects(labels.astype(np.int32) + 1)
    for label in _chosen(labels, classes, background):
        box = boxes[label]
        parts, count = ndimage.label(labels[box] == label, structure)
        yield box, parts, np.bincount(parts.reshape(-1), minlength=count + 1)[1:]


def _without(labels: np.ndarray, gone: np.ndarray, background: int | None) -> np.ndarray:
    """Labels whose `gone` pixels are background, or None: like the nearest pixel that stays."""
    out = labels.copy()
    if background is not None:
        out[gone] = background
    elif gone.any() and not gone.all():
        nearest = ndimage.distance_transform_edt(gone, return_distances=False, return_indices=True)
        out[gone] = labels[tuple(nearest[:, gone])]
    return out
