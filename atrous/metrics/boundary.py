"""How good is a segmentation at its boundaries: Boundary IoU, boundary F, trimap curve.

    BoundaryIoU   IoU of the bands along the contours, from counts over the data set
    BoundaryF     F1 of the boundary pixels that have a counterpart, for each image and class
    TrimapCurve   mIoU within w pixels of a true boundary, as a curve over w

Update each with the label maps (H, W) of one picture, prediction first, and merge it like a
confusion matrix. Pixels whose truth is `ignore` count nowhere, whatever was predicted there.
"""

from typing import Any, Literal

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csr_array
from scipy.spatial import KDTree

from atrous.metrics.confusion import Policy, scores
from atrous.metrics.shared import check_label_maps, check_same_settings, classes_shown, column_means, known_mean
from atrous.ops.confusion import count_pairs
from atrous.ops.distance import boundary_pixels, contour_band, distance_to_other
from atrous.ops.matching import matching_size

Match = Literal["one_to_one", "distance"]


class BoundaryIoU:
    """IoU of the bands inside the contours of truth and prediction, for each class.

    A band is the part of a mask within a fixed distance of its contour. The image's border is part
    of the contour. Pixels are counted over the data set, as in a confusion matrix.

    Args:
        classes: K, the number of classes.
        ignore: Label of true pixels that count nowhere.
        ratio: Width of a band as a share of the image's diagonal; at least one pixel. The paper
            has 0.02, and 0.005 for Cityscapes and ADE20K.

    Source:
        Cheng et al., "Boundary IoU", CVPR 2021.

    Example:
        >>> import numpy as np
        >>> target = np.zeros((20, 20), np.uint8)
        >>> target[5:15, 5:15] = 1
        >>> metric = BoundaryIoU(classes=2)  # bands of one pixel here
        >>> counts = metric.update(np.roll(target, 1, axis=1), target)
        >>> metric.compute()["boundary_iou"].round(2)
        array([0.69, 0.33])
    """

    def __init__(self, classes: int, ignore: int = 255, ratio: float = 0.02) -> None:
        self.classes, self.ignore, self.ratio = classes, ignore, ratio
        self.counts = np.zeros((3, classes), np.int64)

    def update(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Add one picture: label maps (H, W) of class indices.

        Returns:
            (3, K) int64: this picture's pixels of true bands, of predicted bands, and of both.

        Raises:
            ValueError: The shapes differ or are not (H, W).
        """
        check_label_maps(prediction, target)
        valid = target != self.ignore
        width = max(1, round(self.ratio * float(np.hypot(*target.shape))))
        counts = np.zeros((3, self.classes), np.int64)
        for k in classes_shown(target[valid], prediction[valid], self.classes):
            true, guess = (contour_band((labels == k) & valid, width) for labels in (target, prediction))
            counts[:, k] = true.sum(), guess.sum(), (true & guess).sum()
        self.counts += counts
        return counts

    def merge(self, other: "BoundaryIoU") -> "BoundaryIoU":
        """Add the counts of another one; ValueError where its settings differ."""
        check_same_settings(self, other, "classes", "ignore", "ratio")
        self.counts += other.counts
        return self

    def compute(self) -> dict[str, Any]:
        """The scores so far.

        Returns:
            `boundary_iou`, (K,) in 0..1, nan for classes without true or predicted pixels;
            `mean_boundary_iou`, their mean without the nans; `policy` and `ratio`.
        """
        true, guess, both = self.counts
        union = true + guess - both
        iou = np.where(union > 0, both / np.maximum(union, 1), np.nan)
        return {"boundary_iou": iou, "mean_boundary_iou": known_mean(iou), "policy": "union", "ratio": self.ratio}


class BoundaryF:
    """Boundary F1 for each image and class, averaged over the images that show the class.

    Precision is the share of predicted boundary pixels with a true counterpart near by, recall the
    share of true ones with a predicted counterpart, F1 their harmonic mean. In an image where
    neither map shows a class, the class is skipped; where one of them does, it scores 0.

    Args:
        classes: K, the number of classes.
        ignore: Label of true pixels that count nowhere.
        tolerance: How far a counterpart may be, as a share of the image's diagonal. 0.0075 as in
            the SegNet paper is 4.5 pixels at 360 x 480.
        match: `one_to_one` gives each boundary pixel at most one counterpart (a maximum matching,
            as the BSDS benchmark and SegNet's script do). `distance` only asks whether something
            is near; it is more lenient.

    Raises:
        ValueError: `match` is unknown.

    Source:
        Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013.

    Example:
        >>> import numpy as np
        >>> target = np.zeros((40, 40), np.uint8)
        >>> target[:, 20:] = 1
        >>> prediction = np.zeros_like(target)
        >>> prediction[:, 21:] = 1  # one pixel late
        >>> near = BoundaryF(classes=2, tolerance=0.02)  # 1.1 pixels here
        >>> exact = BoundaryF(classes=2, tolerance=0.01)  # 0.6 pixels
        >>> [metric.update(prediction, target)[2].tolist() for metric in (near, exact)]
        [[1.0, 1.0], [0.0, 0.0]]
    """

    def __init__(self, classes: int, ignore: int = 255, tolerance: float = 0.0075, match: Match = "one_to_one") -> None:
        if match not in ("one_to_one", "distance"):
            raise ValueError(f"unknown match {match!r}; expected 'one_to_one' or 'distance'")
        self.classes, self.ignore, self.tolerance, self.match = classes, ignore, tolerance, match
        self.images: list[np.ndarray] = []

    def update(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Add one picture: label maps (H, W) of class indices.

        Returns:
            (3, K): this picture's precision, recall and F1, in 0..1; nan for a class in neither.

        Raises:
            ValueError: The shapes differ or are not (H, W).
        """
        check_label_maps(prediction, target)
        valid = target != self.ignore
        reach = self.tolerance * float(np.hypot(*target.shape))
        result = np.full((3, self.classes), np.nan)
        for k in classes_shown(target[valid], prediction[valid], self.classes):
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
        """Append the images of another one; ValueError where its settings differ."""
        check_same_settings(self, other, "classes", "ignore", "tolerance", "match")
        self.images += other.images
        return self

    def compute(self) -> dict[str, Any]:
        """The scores so far.

        Returns:
            `boundary_f`, `boundary_precision`, `boundary_recall`: (K,) means over images, nan where
            no image shows the class. `mean_boundary_f`: the mean of the first over classes.
            `image_boundary_f`: the mean over images of each image's mean over classes. `match` and
            `tolerance`.
        """
        stacked = np.stack(self.images) if self.images else np.full((1, 3, self.classes), np.nan)
        precision, recall, f = (column_means(stacked[:, row]) for row in range(3))
        per_image = column_means(stacked[:, 2].T)
        return {
            "boundary_f": f,
            "boundary_precision": precision,
            "boundary_recall": recall,
            "mean_boundary_f": known_mean(f),
            "image_boundary_f": known_mean(per_image),
            "match": self.match,
            "tolerance": self.tolerance,
        }


class TrimapCurve:
    """mIoU of the pixels near a true boundary, as a curve over how near they are.

    A boundary is where two true labels meet, the ignored one included. The image's border is not
    one.

    Args:
        classes: K, the number of classes.
        ignore: Label of true pixels that count nowhere.
        widths: Distances in pixels, increasing. A pixel beside a boundary has distance 1.

    Raises:
        ValueError: `widths` is empty, not positive, or does not increase.

    Source:
        Kohli et al., "Robust higher order potentials for enforcing label consistency", IJCV 2009.

    Example:
        >>> import numpy as np
        >>> target = np.zeros((20, 40), np.uint8)
        >>> target[:, 20:] = 1
        >>> prediction = np.zeros_like(target)
        >>> prediction[:, 21:] = 1  # one pixel late
        >>> curve = TrimapCurve(classes=2, widths=(1, 5, 20))
        >>> tables = curve.update(prediction, target)
        >>> curve.compute()["miou"].round(2)
        array([0.25, 0.82, 0.95])
    """

    def __init__(
        self, classes: int, ignore: int = 255, widths: tuple[float, ...] = (1, 2, 3, 5, 8, 12, 20, 30, 40)
    ) -> None:
        if not widths or list(widths) != sorted(set(widths)) or widths[0] <= 0:
            raise ValueError(f"widths {widths} must be positive and grow")
        self.classes, self.ignore, self.widths = classes, ignore, tuple(widths)
        self.tables = np.zeros((len(widths), classes, classes + 1), np.int64)

    def update(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Add one picture: label maps (H, W) of class indices.

        Returns:
            (W, K, K + 1) int64: this picture's confusion matrix within each of the W widths; the
            last column holds predictions that are no class.

        Raises:
            ValueError: The shapes differ or are not (H, W), or a true label is not a class.
        """
        check_label_maps(prediction, target)
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
        """Add the counts of another one; ValueError where its settings differ."""
        check_same_settings(self, other, "classes", "ignore", "widths")
        self.tables += other.tables
        return self

    def compute(self, policy: Policy = "union") -> dict[str, Any]:
        """The curve so far.

        Args:
            policy: What an absent class does to the mean, as in `scores`.

        Returns:
            `widths` (W,) in pixels, `miou` (W,) and `iou` (W, K) within each width, and `policy`.
        """
        results = [scores(table, policy) for table in self.tables]
        return {
            "widths": np.array(self.widths),
            "miou": np.array([result["miou"] for result in results]),
            "iou": np.stack([result["iou"] for result in results]),
            "policy": policy,
        }


def _matched(guess: np.ndarray, true: np.ndarray, reach: float) -> int:
    """Pairs in a maximum matching of points (n, 2) and (m, 2) that are at most `reach` apart."""
    pairs = KDTree(guess).sparse_distance_matrix(KDTree(true), reach, output_type="ndarray")
    if not len(pairs):
        return 0
    graph = csr_array((np.ones(len(pairs), np.int8), (pairs["i"], pairs["j"])), shape=(len(guess), len(true)))
    return matching_size(graph.indptr, graph.indices, len(true))
