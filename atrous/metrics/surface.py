"""How far apart are two surfaces: Hausdorff distance, HD95, ASSD, NSD, in physical units.

The surface of a mask is those of its own pixels that have a face-neighbour outside it. Where
toolkits differ, the convention has a name:

    hd95   directed   the larger of the two 95th percentiles (surface-distance, MONAI); the default
           pooled     the 95th percentile of all distances of both directions together (medpy)
    assd   pooled     the mean over all distances of both directions (surface-distance's formula);
                      the default
           directed   the mean of the two directed means (medpy)
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from atrous.ops.distance import surface_distances
from atrous.ops.surfaces import distances_between, surfaces_of

Convention = Literal["directed", "pooled"]
Missed = Literal["inf", "diagonal"] | float
ROUNDING = 1e-9
"""A distance may be greater than a tolerance by this share of it, and counts as equal."""


class SurfaceScores:
    """Distances between the surfaces of a predicted and a true mask; each score is a method.

    If one mask is empty and the other is not, the structure was missed altogether: every distance
    is `missed`, and NSD is 0. It is never nan, since a miss that is dropped from a mean makes a
    model that finds less look better. If both masks are empty there is nothing to measure, and
    every score is nan.

    Args:
        prediction: Mask of any rank; nonzero is the structure.
        target: The true mask, of the same shape.
        spacing: Size of a pixel along each axis, in the order of the axes (D, H, W), as of
            `Prediction.spacing` in mm. Scores are in its units. Default: 1, so pixels.
        missed: The distance of a total miss: "inf" (the default), "diagonal" (that of the image,
            in the units of the spacing), or a number.

    Raises:
        ValueError: The shapes differ, `spacing` does not have one value above 0 per axis, or `missed` is unknown.

    Example:
        >>> import numpy as np
        >>> target = np.zeros((8, 20, 20), bool)
        >>> target[2:6, 5:15, 5:15] = True
        >>> found = SurfaceScores(np.roll(target, 1, axis=0), target, spacing=(3.0, 1.0, 1.0))
        >>> found.hausdorff(), found.hd95()  # one slice of 3 mm too far
        (3.0, 3.0)
        >>> SurfaceScores(np.zeros_like(target), target).hd95()
        inf
    """

    def __init__(
        self,
        prediction: np.ndarray,
        target: np.ndarray,
        spacing: Sequence[float] | None = None,
        *,
        missed: Missed = "inf",
    ) -> None:
        spacing = tuple(spacing) if spacing is not None else (1.0,) * target.ndim
        if prediction.shape != target.shape or len(spacing) != target.ndim:
            raise ValueError(
                f"prediction {prediction.shape} and target {target.shape} must be of one shape, "
                f"spacing {spacing} must have a value per axis"
            )
        masks = [np.asarray(mask).astype(bool) for mask in (prediction, target)]
        self._keep(*surface_distances(masks[0], masks[1], spacing), target.shape, spacing, missed)

    @classmethod
    def from_surfaces(
        cls,
        prediction: np.ndarray,
        target: np.ndarray,
        shape: tuple[int, ...],
        spacing: Sequence[float],
        missed: Missed = "inf",
    ) -> "SurfaceScores":
        """Scores of two surfaces, (n, axes) int32 as `atrous.ops.surfaces.surfaces_of` gives them, in such a volume."""
        made = cls.__new__(cls)
        forth, back = distances_between(prediction, target, spacing), distances_between(target, prediction, spacing)
        made._keep(forth, back, shape, spacing, missed)
        return made

    def _keep(
        self, forth: np.ndarray, back: np.ndarray, shape: tuple[int, ...], spacing: Sequence[float], missed: Missed
    ) -> None:
        """Keep the distances of both directions; one without any is of an empty mask, as all others have a surface."""
        self.forth, self.back = forth, back
        self.empty = not (len(forth) or len(back))
        self.total_miss = bool(len(forth)) != bool(len(back))
        self.missed = distance_of_a_miss(missed, shape, spacing)

    def hausdorff(self) -> float:
        """The largest distance from a point of either surface to the other surface."""
        return self._distance(lambda: max(self.forth.max(), self.back.max()))

    def hd95(self, convention: Convention = "directed", percentile: float = 95.0) -> float:
        """A robust Hausdorff distance: the 95th percentile of the distances, not the largest.

        Args:
            convention: `directed` takes the larger of the two directions' percentiles
                (surface-distance, MONAI); `pooled` the percentile of both together (medpy).
            percentile: In 0..100.

        Raises:
            ValueError: The convention is unknown.
        """
        if _known(convention) == "pooled":
            return self._distance(lambda: np.percentile(np.concatenate([self.forth, self.back]), percentile))
        return self._distance(lambda: max(np.percentile(self.forth, percentile), np.percentile(self.back, percentile)))

    def assd(self, convention: Convention = "pooled") -> float:
        """The average symmetric surface distance.

        Args:
            convention: `pooled` is the mean over the distances of both directions together
                (surface-distance's formula); `directed` the mean of the two directions' means
                (medpy).

        Raises:
            ValueError: The convention is unknown.
        """
        if _known(convention) == "pooled":
            return self._distance(lambda: np.concatenate([self.forth, self.back]).mean())
        return self._distance(lambda: (self.forth.mean() + self.back.mean()) / 2)

    def nsd(self, tolerance: float) -> float:
        """Normalised surface distance: the share of both surfaces that is near the other one.

        Args:
            tolerance: How near, in the units of the spacing; a distance of just this counts, whatever its last
                digits: three steps of 0.8 are within 2.4.

        Returns:
            A share in 0..1. Surface pixels are counted; Nikolov et al. 2018 weigh them by area.
        """
        if self.empty:
            return float("nan")
        near = tolerance * (1 + ROUNDING)
        hits = (self.forth <= near).sum() + (self.back <= near).sum()
        return float(hits / (len(self.forth) + len(self.back)))

    def _distance(self, of: Any) -> float:
        if self.empty:
            return float("nan")
        return self.missed if self.total_miss else float(of())


def label_surface_scores(
    prediction: np.ndarray,
    target: np.ndarray,
    classes: Sequence[int],
    spacing: Sequence[float] | None = None,
    *,
    ignore_index: int | None = None,
    missed: Missed = "inf",
) -> dict[int, SurfaceScores]:
    """`SurfaceScores` of each class of two label volumes: equal to one call a class, and much quicker.

    One pass over each volume finds all surfaces. Distances are looked for around the surfaces only.

    Args:
        prediction: (W,), (H, W) or (D, H, W) whole numbers; what is not one of the classes is of none.
        target: The true labels, of the same shape.
        classes: The labels to judge, each once.
        spacing: Size of a voxel along each axis, in the order of the axes, such as mm. Default: 1.
        ignore_index: What has this true label is in neither mask.
        missed: The distance of a total miss, see `SurfaceScores`.

    Returns:
        The scores by class, in the order of `classes`; all nan for a class that is in neither volume.

    Raises:
        ValueError: The shapes differ, the labels are not whole numbers of 1 to 3 axes, a class is given twice, or
            `spacing` does not have one value above 0 per axis.

    Example:
        >>> import numpy as np
        >>> target = np.zeros((8, 20, 20), np.uint8)
        >>> target[2:6, 5:15, 5:15] = 1
        >>> target[2:6, 15:18, 5:15] = 2
        >>> found = label_surface_scores(np.roll(target, 1, axis=0), target, [1, 2], spacing=(3.0, 0.8, 0.8))
        >>> [one.hd95() for one in found.values()]
        [3.0, 3.0]
    """
    spacing = tuple(spacing) if spacing is not None else (1.0,) * target.ndim
    if prediction.shape != target.shape or len(spacing) != target.ndim:
        raise ValueError(
            f"prediction {prediction.shape} and target {target.shape} must be of one shape, "
            f"spacing {spacing} must have a value per axis"
        )
    known = [int(label) for label in classes]
    found = label_surfaces(prediction, target, known, ignore_index)
    return {
        label: SurfaceScores.from_surfaces(*pair, target.shape, spacing, missed)
        for label, pair in zip(known, found, strict=True)
    }


def label_surfaces(
    prediction: np.ndarray, target: np.ndarray, classes: Sequence[int], ignore_index: int | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each class its predicted and its true surface; what has the ignored true label is in neither mask."""
    if ignore_index is not None and (hidden := target == ignore_index).any():
        prediction, target = (_without(labels, hidden, classes) for labels in (prediction, target))
    return list(zip(surfaces_of(prediction, classes), surfaces_of(target, classes), strict=True))


def distance_of_a_miss(missed: Missed, shape: Sequence[int], spacing: Sequence[float]) -> float:
    """What a total miss costs in a volume of this shape: inf, its diagonal, or a number of at least 0."""
    if missed == "diagonal":
        return float(np.linalg.norm(np.multiply(shape, spacing)))
    if (isinstance(missed, str) and missed != "inf") or not float(missed) >= 0:
        raise ValueError(f"missed is {missed!r}; expected 'inf', 'diagonal' or a number of at least 0")
    return float(missed)


def _without(labels: np.ndarray, hidden: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """The labels, where they are hidden a label that is none of the classes."""
    other = min(set(range(len(classes) + 1)) - set(classes))
    return np.where(hidden, other, labels).astype(np.result_type(labels.dtype, np.min_scalar_type(other)))


def _known(convention: str) -> str:
    if convention not in ("directed", "pooled"):
        raise ValueError(f"unknown convention {convention!r}; expected 'directed' or 'pooled'")
    return convention
