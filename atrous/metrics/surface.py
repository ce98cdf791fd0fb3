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

Convention = Literal["directed", "pooled"]


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
        ValueError: The shapes differ, or `spacing` does not have one value per axis.

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
        missed: Literal["inf", "diagonal"] | float = "inf",
    ) -> None:
        spacing = tuple(spacing) if spacing is not None else (1.0,) * target.ndim
        if prediction.shape != target.shape or len(spacing) != target.ndim:
            raise ValueError(
                f"prediction {prediction.shape} and target {target.shape} must be of one shape, "
                f"spacing {spacing} must have a value per axis"
            )
        masks = [np.asarray(mask).astype(bool) for mask in (prediction, target)]
        self.empty = not (masks[0].any() or masks[1].any())
        self.total_miss = masks[0].any() != masks[1].any()
        diagonal = float(np.linalg.norm(np.multiply(target.shape, spacing)))
        self.missed = {"inf": np.inf, "diagonal": diagonal}[missed] if isinstance(missed, str) else float(missed)
        box = _box(masks[0] | masks[1])
        self.forth, self.back = surface_distances(masks[0][box], masks[1][box], spacing)

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
            tolerance: How near, in the units of the spacing.

        Returns:
            A share in 0..1. Surface pixels are counted; Nikolov et al. 2018 weigh them by area.
        """
        if self.empty:
            return float("nan")
        hits = (self.forth <= tolerance).sum() + (self.back <= tolerance).sum()
        return float(hits / (len(self.forth) + len(self.back)))

    def _distance(self, of: Any) -> float:
        if self.empty:
            return float("nan")
        return self.missed if self.total_miss else float(of())


def _known(convention: str) -> str:
    if convention not in ("directed", "pooled"):
        raise ValueError(f"unknown convention {convention!r}; expected 'directed' or 'pooled'")
    return convention


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """The bounding box of a mask with a margin of one pixel, which keeps the surfaces."""
    spans = []
    for axis in range(mask.ndim):
        places = np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
        spans.append(slice(max(places[0] - 1, 0), places[-1] + 2) if len(places) else slice(0, 0))
    return tuple(spans)
