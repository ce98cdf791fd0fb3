"""How far apart are two surfaces: Hausdorff distance, HD95, ASSD, NSD, in 2-D or 3-D and in physical units.

Surfaces are a mask's own pixels with a face-neighbour outside it. Where toolkits differ, the convention has a name:

    hd95   directed   the larger of the two 95th percentiles (surface-distance, MONAI); the default
           pooled     the 95th percentile of all distances of both directions together (medpy)
    assd   pooled     the mean over all distances of both directions (surface-distance's formula); the default
           directed   the mean of the two directed means (medpy)
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from atrous.ops.distance import surface_distances

Convention = Literal["directed", "pooled"]


class SurfaceScores:
    """Distances between two binary masks (any rank) of one structure; every score is a method.

    spacing: size of a pixel per axis, in the axes' order; scores are in its units. An empty mask against one that is
    not is a total miss: distances are `missed` ("inf", the default; "diagonal": that of the image, in units; or a
    number), NSD is 0. Never nan: a miss that is dropped from a mean makes a model that finds less look better. Only
    where both masks are empty there is nothing to measure, and the scores are nan.
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
        """The largest distance from either surface to the other."""
        return self._distance(lambda: max(self.forth.max(), self.back.max()))

    def hd95(self, convention: Convention = "directed", percentile: float = 95.0) -> float:
        """The `percentile` of the distances, by one of the two conventions."""
        if _known(convention) == "pooled":
            return self._distance(lambda: np.percentile(np.concatenate([self.forth, self.back]), percentile))
        return self._distance(lambda: max(np.percentile(self.forth, percentile), np.percentile(self.back, percentile)))

    def assd(self, convention: Convention = "pooled") -> float:
        """The average symmetric surface distance, by one of the two conventions."""
        if _known(convention) == "pooled":
            return self._distance(lambda: np.concatenate([self.forth, self.back]).mean())
        return self._distance(lambda: (self.forth.mean() + self.back.mean()) / 2)

    def nsd(self, tolerance: float) -> float:
        """The share of both surfaces within `tolerance` of the other (Nikolov et al. 2018, by counts, not areas)."""
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
    """The bounding box of a mask with a margin of one, so that surfaces are the same inside it."""
    spans = []
    for axis in range(mask.ndim):
        places = np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
        spans.append(slice(max(places[0] - 1, 0), places[-1] + 2) if len(places) else slice(0, 0))
    return tuple(spans)
