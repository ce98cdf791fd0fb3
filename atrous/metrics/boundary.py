"""How good is a segmentation at its boundaries: Boundary IoU, boundary F, trimap curve.

    BoundaryIoU   Cheng et al., CVPR 2021: IoU of the bands along the contours, counted over the data set
    BoundaryF     Csurka et al., BMVC 2013: harmonic mean of the shares of boundary pixels that have a counterpart
    TrimapCurve   Kohli et al., IJCV 2009: mIoU within w pixels of a true boundary, as a curve over w

Each is updated with one picture's label maps (H, W), prediction first, and merged like a confusion matrix. Pixels whose
truth is `ignore` count nowhere, and what was predicted there neither.
"""

from typing import Any, Literal

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csr_array
from scipy.spatial import KDTree

from atrous.metrics.confusion import Policy, scores
from atrous.ops.confusion import count_pairs
from atrous.ops.distance import boundary_pixels, contour_band, distance_to_other
from atrous.ops.matching import matching_size

Match = Literal["one_to_one", "distance"]


class BoundaryIoU:
    """IoU of the inner bands along the contours of truth and prediction, per class, over the data set.

    classes: K. ratio: width of a band as a share of the image's diagonal, at least one pixel (the paper: 0.02; 0.005
    for Cityscapes and ADE20K). The image's border is a contour.
    """

    def __init__(self, classes: int, ignore: int = 255, ratio: float = 0.02) -> None:
        self.classes, self.ignore, self.ratio = classes, ignore, ratio
        self.counts = np.zeros((3, classes), np.int64)

    def update(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Add one picture; returns its (3, K) pixels of true bands, predicted bands, and both."""
        _check(prediction, target)
        valid = target != self.ignore
        width = max(1, round(self.ratio * float(np.hypot(*target.shape))))
        counts = np.zeros((3, self.classes), np.int64)
        for k in np.union1d(target[valid], prediction[valid]).astype(int):
            if k < self.classes:
                true, guess = (contour_band((labels == k) & valid, width) for labels in (target, prediction))
                counts[:, k] = true.sum(), guess.sum(), (true & guess).sum()
        self.counts += counts
        return counts

    def merge(self, other: "BoundaryIoU") -> "BoundaryIoU":
        """Add the counts of another one of the same settings."""
        _same(self, other, "classes", "ignore", "ratio")
        self.counts += other.counts
        return self

    def compute(self) -> dict[str, Any]:
        """boundary_iou (K,), nan for classes without pixels; mean_boundary_iou over the others; policy `union`."""
        true, guess, both = self.counts
        union = true + guess - both
        iou = np.where(union > 0, both / np.maximum(union, 1), np.nan)
        return {"boundary_iou": iou, "mean_boundary_iou": _mean(iou), "policy": "union", "ratio": self.ratio}


class BoundaryF:
    """Boundary F1 per image and class, averaged over the images that show the class.

    tolerance: how far a counterpart may be, as a share of the image's diagonal (0.0075 in the SegNet paper: 4.5 pixels
    at 360 x 480). match: `one_to_one` gives every boundary pixel one counterpart at most (a maximum matching, as the
    BSDS benchmark and SegNet's script do); `distance` asks only that something is near, which is more lenient.
    A class in neither map of an image is skipped there, in one of them only it scores 0.
    """

    def __init__(self, classes: int, ignore: int = 255, tolerance: float = 0.0075, match: Match = "one_to_one") -> None:
        if match not in ("one_to_one", "distance"):
            raise ValueError(f"unknown match {match!r}; expected 'one_to_one' or 'distance'")
        self.classes, self.ignore, self.tolerance, self.match = classes, ignore, tolerance, match
        self.images: list[np.ndarray] = []

    def update(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Add one picture; returns its (3, K) precision, recall and F1, nan for classes in neither map."""
        _check(prediction, target)
        valid = target != self.ignore
        reach = self.tolerance * float(np.hypot(*target.shape))
        result = np.full((3, self.classes), np.nan)
        for k in np.union1d(target[valid], prediction[valid]).astype(int):
            if k < self.classes:
                true, guess = ((labels == k) & valid for labels in (target, prediction))
                ours, theirs = (boundary_pixels(mask) & valid for mask in (guess, true))
                if not true.any() or not guess.any():
                    result[:, k] = 0
                elif ours.any() or theirs.any():
                    result[:, k] = self._score(ours, theirs, reach)
                else:
                    result[:, k] = 1  # both fill the picture: no boundary to miss
        self.images.append(result)
        return result

    def _score(self, guess: np.ndarray, true: np.ndarray, reach: float) -> tuple[float, float, float]:
        if not guess.any() or not true.any():
            return 0.0, 0.0, 0.0
        if self.match == "distance":
            precision = float((distance_transform_edt(~true)[guess] <= reach).mean())
            recall = float((distance_transform_edt(~guess)[true] <= reach).mean())
        else:
            hits = _matched(np.argwhere(guess), np.argwhere(true), reach)
            precision, recall = hits / guess.sum(), hits / true.sum()
        return precision, recall, 2 * precision * recall / max(precision + recall, 1e-12)

    def merge(self, other: "BoundaryF") -> "BoundaryF":
        """Append the images of another one of the same settings."""
        _same(self, other, "classes", "ignore", "tolerance", "match")
        self.images += other.images
        return self

    def compute(self) -> dict[str, Any]:
        """boundary_f, boundary_precision, boundary_recall (K,): means over images, nan where no image shows the class.

        mean_boundary_f: their mean over classes; image_boundary_f: mean over images of the mean over an image's
        classes.
        """
        stacked = np.stack(self.images) if self.images else np.full((1, 3, self.classes), np.nan)
        precision, recall, f = (_column_means(stacked[:, row]) for row in range(3))
        per_image = _column_means(stacked[:, 2].T)
        return {
            "boundary_f": f,
            "boundary_precision": precision,
            "boundary_recall": recall,
            "mean_boundary_f": _mean(f),
            "image_boundary_f": _mean(per_image),
            "match": self.match,
            "tolerance": self.tolerance,
        }


class TrimapCurve:
    """mIoU over the pixels within w of a true boundary, for each of `widths` (pixels; a pixel at the boundary has 1).

    The boundary is where two labels meet, the ignored one included; the image's border is none.
    """

    def __init__(
        self, classes: int, ignore: int = 255, widths: tuple[float, ...] = (1, 2, 3, 5, 8, 12, 20, 30, 40)
    ) -> None:
        if not widths or list(widths) != sorted(set(widths)) or widths[0] <= 0:
            raise ValueError(f"widths {widths} must be positive and grow")
        self.classes, self.ignore, self.widths = classes, ignore, tuple(widths)
        self.tables = np.zeros((len(widths), classes, classes + 1), np.int64)

    def update(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Add one picture; returns its (W, K, K + 1) confusion matrices."""
        _check(prediction, target)
        distance = distance_to_other(target, most=self.widths[-1])
        rings, below = [], 0.0
        for width in self.widths:
            ring = np.where((distance > below) & (distance <= width), target, self.ignore)
            rings.append(count_pairs(ring, prediction, self.classes, self.ignore))
            below = width
        tables = np.cumsum(rings, axis=0)
        self.tables += tables
        return tables

    def merge(self, other: "TrimapCurve") -> "TrimapCurve":
        """Add the counts of another one of the same settings."""
        _same(self, other, "classes", "ignore", "widths")
        self.tables += other.tables
        return self

    def compute(self, policy: Policy = "union") -> dict[str, Any]:
        """widths (W,), miou (W,) and iou (W, K) within each width; policy as in `atrous.metrics.scores`."""
        results = [scores(table, policy) for table in self.tables]
        return {
            "widths": np.array(self.widths),
            "miou": np.array([result["miou"] for result in results]),
            "iou": np.stack([result["iou"] for result in results]),
            "policy": policy,
        }


def _matched(guess: np.ndarray, true: np.ndarray, reach: float) -> int:
    """How many pairs a maximum matching finds between points (n, 2) and (m, 2) at most `reach` apart."""
    pairs = KDTree(guess).sparse_distance_matrix(KDTree(true), reach, output_type="ndarray")
    if not len(pairs):
        return 0
    graph = csr_array((np.ones(len(pairs), np.int8), (pairs["i"], pairs["j"])), shape=(len(guess), len(true)))
    return matching_size(graph.indptr, graph.indices, len(true))


def _check(prediction: np.ndarray, target: np.ndarray) -> None:
    if prediction.shape != target.shape or target.ndim != 2:
        raise ValueError(
            f"prediction {prediction.shape} and target {target.shape} must be label maps (H, W) of one size"
        )


def _same(one: Any, other: Any, *names: str) -> None:
    for name in names:
        if getattr(one, name) != getattr(other, name):
            raise ValueError(f"cannot merge: {name} is {getattr(one, name)} here and {getattr(other, name)} there")


def _column_means(values: np.ndarray) -> np.ndarray:
    """(n, K) -> (K,) means of what is not nan, nan for a column without."""
    known = ~np.isnan(values)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    return float(_column_means(values[:, None])[0])
