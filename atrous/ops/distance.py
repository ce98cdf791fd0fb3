"""Distances on the pixel grid: to the next other label, between surfaces, and bands along contours."""

from collections.abc import Sequence

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree


def distance_to_other(labels: np.ndarray, *, most: float | None = None) -> np.ndarray:
    """(H, W) labels -> (H, W) float32: Euclidean pixels to the nearest pixel of another label; 1 beside a boundary.

    inf where the map has one label only. The image's border is no boundary. most: farther pixels may be given as inf
    (quicker, since less of each label's surroundings is looked at).
    """
    result = np.full(labels.shape, np.inf, np.float32)
    near = _beside_other(labels)
    if not near.any():
        return result
    if most is None:
        near[:] = True
    else:
        size = 2 * int(np.ceil(most)) + 1
        near = cv2.dilate(near.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    for label in np.unique(labels[near]):
        mask = labels == label
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        box = np.s_[max(rows[0] - 1, 0) : rows[-1] + 2, max(columns[0] - 1, 0) : columns[-1] + 2]
        wanted = mask[box] & near[box]
        result[box][wanted] = ndimage.distance_transform_edt(mask[box])[wanted]
    return result


def _beside_other(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels with a neighbour, of eight, of another label."""
    edge = np.zeros(labels.shape, bool)
    for one, other in (
        (np.s_[1:, :], np.s_[:-1, :]),
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[1:, 1:], np.s_[:-1, :-1]),
        (np.s_[1:, :-1], np.s_[:-1, 1:]),
    ):
        differs = labels[one] != labels[other]
        edge[one] |= differs
        edge[other] |= differs
    return edge


def contour_band(mask: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool -> bool: the mask's own pixels within `width` of its contour, the image's border counting as contour.

    `mask` minus its erosion by a 3 x 3 square, `width` times, zeros around the image (Cheng et al. 2021, section 3).
    """
    padded = np.pad(mask.astype(np.uint8), 1)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    return mask & (eroded == 0)


def boundary_pixels(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool -> bool: pixels that differ from their right, lower or lower right neighbour (BSDS's seg2bmap)."""
    edge = np.zeros(mask.shape, bool)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1, :] |= mask[:-1, :] != mask[1:, :]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge


def surface(mask: np.ndarray) -> np.ndarray:
    """Bool of any rank -> bool: pixels of the mask with a face-neighbour outside it; outside the image is outside."""
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1), border_value=0)


def surface_distances(one: np.ndarray, other: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """(from each surface pixel of `one` to the nearest of `other`, and back), in the units of `spacing` (per axis).

    An array is empty where its own mask is, and all inf where the other mask is empty.
    """
    points = [np.argwhere(surface(mask)) * np.asarray(spacing, float) for mask in (one, other)]
    if not len(points[0]) or not len(points[1]):
        forth, back = (np.full(len(own), np.inf) for own in points)
        return forth, back
    return KDTree(points[1]).query(points[0])[0], KDTree(points[0]).query(points[1])[0]


def signed_distance(mask: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """(H, W) or (D, H, W) bool -> float32: Euclidean pixels, outside to the nearest pixel of the mask, d; inside 1 - d
    of the nearest one that is not: 1 just outside, 0 just inside.

    counted: bool; what is not has a distance of 0 and is to nobody a pixel of the mask or of its outside. All 0 where
    the mask is empty or has no outside. Kervadec et al. 2019, the form of the authors' code.
    """
    counted = np.ones(mask.shape, bool) if counted is None else counted
    inside, outside = mask & counted, ~mask & counted
    if not inside.any() or not outside.any():
        return np.zeros(mask.shape, np.float32)
    return np.where(inside, 1 - distance_to(outside), np.where(outside, distance_to(inside), 0)).astype(np.float32)


def distance_to(mask: np.ndarray, spacing: Sequence[float] | None = None) -> np.ndarray:
    """The Euclidean distance to the nearest pixel of a mask that has one, of its shape: pixels, or units of spacing."""
    if mask.ndim == 2 and spacing is None:
        return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return ndimage.distance_transform_edt(~mask, sampling=spacing)
