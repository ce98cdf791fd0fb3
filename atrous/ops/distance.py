"""Distances on the pixel grid: to other labels and masks, between surfaces, along contours."""

from collections.abc import Sequence

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from atrous.ops.surfaces import distances_between, surfaces_of


def distance_to_other(labels: np.ndarray, *, most: float | None = None) -> np.ndarray:
    """How far each pixel is from the nearest pixel of another label.

    Args:
        labels: (H, W) integers.
        most: farther pixels may come as inf, which is quicker: less around each label is looked at.

    Returns:
        (H, W) float32 Euclidean distances in pixels: 1 beside a boundary, inf everywhere if the map
        has a single label. The image's border is not a boundary.

    Example:
        >>> distance_to_other(np.array([[0, 0, 0, 1]]))
        array([[3., 2., 1., 1.]], dtype=float32)
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
    # One transform a label, within the label's box and a pixel around it: beyond are others anyway.
    for label in np.unique(labels[near]):
        mask = labels == label
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        box = np.s_[max(rows[0] - 1, 0) : rows[-1] + 2, max(columns[0] - 1, 0) : columns[-1] + 2]
        wanted = mask[box] & near[box]
        result[box][wanted] = ndimage.distance_transform_edt(mask[box])[wanted]
    return result


def _beside_other(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels that have another label among their eight neighbours."""
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
    """The mask's own pixels near its contour: the mask minus its erosion by 3 x 3, `width` times.

    Args:
        mask: (H, W) bool. The image's border counts as contour: outside is zero.
        width: of the band, in pixels.

    Returns:
        (H, W) bool.

    Source:
        Cheng et al., CVPR 2021 (Boundary IoU), section 3.

    Example:
        >>> int(contour_band(np.ones((5, 5), bool), 1).sum())
        16
    """
    padded = np.pad(mask.astype(np.uint8), 1)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    return mask & (eroded == 0)


def boundary_pixels(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool -> bool: pixels unlike their right, lower or lower right one, as BSDS has it."""
    edge = np.zeros(mask.shape, bool)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1, :] |= mask[:-1, :] != mask[1:, :]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge


def surface(mask: np.ndarray) -> np.ndarray:
    """Bool of any rank -> bool: the mask's pixels with a face that is outside of mask or image."""
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1), border_value=0)


def surface_distances(one: np.ndarray, other: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Distances between the surfaces of two masks.

    Args:
        one, other: bool of one shape, any number of axes.
        spacing: distance between pixels along each axis, above 0.

    Returns:
        (from each surface pixel of `one` to the nearest of `other`, and the other way round), in
        units of `spacing`. An array is empty if its own mask is, and all inf if the other mask is.

    Example:
        >>> forth, back = surface_distances(np.eye(3) > 0, np.eye(3) > 0, (1, 1))
        >>> forth
        array([0., 0., 0.])
    """
    if 1 <= one.ndim <= 3:
        (here,), (there,) = (surfaces_of(mask, [1]) for mask in (one, other))
        return distances_between(here, there, spacing), distances_between(there, here, spacing)
    points = [np.argwhere(surface(mask)) * np.asarray(spacing, float) for mask in (one, other)]
    if not len(points[0]) or not len(points[1]):
        forth, back = (np.full(len(own), np.inf) for own in points)
        return forth, back
    return KDTree(points[1]).query(points[0])[0], KDTree(points[0]).query(points[1])[0]


def signed_distance(mask: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """The distance to a mask's boundary, positive outside and not above 0 inside.

    Args:
        mask: (H, W) or (D, H, W) bool.
        counted: bool of the same shape. Other pixels have a distance of 0, and count neither as
            mask nor as outside.

    Returns:
        float32 pixels: outside d, the Euclidean distance to the nearest pixel of the mask, so 1
        just outside; inside 1 - d with d to the nearest pixel outside, so 0 just inside. All 0 if
        mask or outside is empty.

    Source:
        Kervadec et al., MIDL 2019, in the form of the authors' code.

    Example:
        >>> signed_distance(np.array([[False, False, True, True]]))
        array([[ 2.,  1.,  0., -1.]], dtype=float32)
    """
    counted = np.ones(mask.shape, bool) if counted is None else counted
    inside, outside = mask & counted, ~mask & counted
    if not inside.any() or not outside.any():
        return np.zeros(mask.shape, np.float32)
    return np.where(inside, 1 - distance_to(outside), np.where(outside, distance_to(inside), 0)).astype(np.float32)


def distance_to(mask: np.ndarray, spacing: Sequence[float] | None = None) -> np.ndarray:
    """The Euclidean distance to a mask's nearest pixel, in pixels or units of `spacing` (per axis).

    The mask must have a pixel. OpenCV's, where it can: it takes a third of the time of scipy's.
    """
    if mask.ndim == 2 and spacing is None:
        return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return ndimage.distance_transform_edt(~mask, sampling=spacing)
