"""What kinds of mistakes cost the IoU, and how much mending each kind would bring.

Each wrong pixel of a class is of exactly one kind, the first that fits:

    boundary    it is within `width` pixels of a true boundary
    missed      it is in a true region of the class that was hardly found
    invented    it is in a predicted region of the class that is hardly there
    confusion   the rest: the object was seen, but part of it was given to another class

Regions are connected (8 neighbours). "Hardly" means less than a tenth of the region's pixels. For a
class, the pixels of all kinds divided by its union add up to 1 - IoU.

The idea is that of TIDE for object detection (Bolya et al., ECCV 2020), applied to pixels.
"""

from typing import Any

import numpy as np
from scipy import ndimage

from atrous.metrics.shared import check_label_maps, check_same_settings, classes_shown, known_mean
from atrous.ops.distance import distance_to_other

ERROR_KINDS = ("boundary", "missed", "invented", "confusion")
BOUNDARY, MISSED, INVENTED, CONFUSION = range(4)
RIGHT, IGNORED = 254, 255


class ErrorKinds:
    """Counts the pixels of each kind of error for each class, over a data set.

    A wrong pixel concerns two classes: it lacks in the true one and is too much in the predicted
    one. It counts for both, for each with a kind of its own.

    Args:
        classes: K, the number of classes.
        ignore: Label of true pixels that count nowhere.
        width: Pixels from a true boundary up to which an error is a boundary error. Default: 1 % of
            the image's diagonal, at least 2.
        found: A region is missed (or invented) when less than this share of its pixels, in 0..1,
            was predicted (or is true).

    Example:
        >>> import numpy as np
        >>> target = np.zeros((40, 40), np.uint8)
        >>> target[5:15, 5:15] = target[25:35, 25:35] = 1
        >>> prediction = target.copy()
        >>> prediction[25:35, 25:35] = 0  # one of two squares is missed
        >>> metric = ErrorKinds(classes=2)
        >>> kinds = metric.update(prediction, target)
        >>> ERROR_KINDS[kinds[30, 30]]
        'missed'
        >>> found = metric.compute()
        >>> {kind: round(float(share[1]), 2) for kind, share in found["share"].items()}  # class 1
        {'boundary': 0.32, 'missed': 0.18, 'invented': 0.0, 'confusion': 0.0}
    """

    def __init__(self, classes: int, ignore: int = 255, width: float | None = None, found: float = 0.1) -> None:
        self.classes, self.ignore, self.width, self.found = classes, ignore, width, found
        self.lacking = np.zeros((len(ERROR_KINDS), classes), np.int64)
        self.excess = np.zeros((len(ERROR_KINDS), classes), np.int64)
        self.hit = np.zeros(classes, np.int64)

    def update(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Add one picture: label maps (H, W) of class indices.

        Returns:
            (H, W) uint8, a picture of the errors: an index into `ERROR_KINDS` where the prediction
            is wrong, 254 where it is right, 255 where the truth is ignored. Where an error is of
            one kind for the true class and of another for the predicted one, the first in
            `ERROR_KINDS` is shown.

        Raises:
            ValueError: The shapes differ or are not (H, W).
        """
        check_label_maps(prediction, target)
        valid = target != self.ignore
        wrong = valid & (prediction != target)
        width = self.width if self.width is not None else max(2.0, 0.01 * float(np.hypot(*target.shape)))
        band = distance_to_other(target, most=width) <= width
        kinds = np.where(valid, RIGHT, IGNORED).astype(np.uint8)
        kinds[wrong] = CONFUSION
        for k in classes_shown(target[valid], prediction[valid], self.classes):
            true, guess = (target == k) & valid, (prediction == k) & valid
            both = true & guess
            lost, made = _unsupported(true, both, self.found), _unsupported(guess, both, self.found)
            self.hit[k] += both.sum()
            lacking = {BOUNDARY: true & wrong & band, MISSED: true & wrong & ~band & lost}
            lacking[CONFUSION] = true & wrong & ~band & ~lost
            excess = {BOUNDARY: guess & wrong & band, INVENTED: guess & wrong & ~band & made}
            excess[CONFUSION] = guess & wrong & ~band & ~made
            for table, parts in ((self.lacking, lacking), (self.excess, excess)):
                for kind, mask in parts.items():
                    table[kind, k] += mask.sum()
            kinds[lacking[MISSED]] = MISSED
            kinds[excess[INVENTED] & (kinds != MISSED)] = INVENTED
        kinds[wrong & band] = BOUNDARY
        return kinds

    def merge(self, other: "ErrorKinds") -> "ErrorKinds":
        """Add the counts of another one; ValueError where its settings differ."""
        check_same_settings(self, other, "classes", "ignore", "width", "found")
        self.lacking += other.lacking
        self.excess += other.excess
        self.hit += other.hit
        return self

    def compute(self) -> dict[str, Any]:
        """The scores so far. A class with neither true nor predicted pixels is nan and left out.

        Returns:
            `iou`, (K,), and `miou`. For each kind: `share`, (K,), its part of the class's union, so
            that iou and the shares add up to 1; `loss`, the mean of the shares over classes, so
            that miou and the losses add up to 1; `oracle`, the mIoU if this kind alone were mended.
        """
        union = self.hit + self.lacking.sum(0) + self.excess.sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = np.where(union > 0, self.hit / union, np.nan)
            share, oracle = {}, {}
            for index, kind in enumerate(ERROR_KINDS):
                lacking, excess = self.lacking[index], self.excess[index]
                share[kind] = np.where(union > 0, (lacking + excess) / union, np.nan)
                mended = np.where(union > excess, (self.hit + lacking) / (union - excess), np.nan)
                oracle[kind] = known_mean(mended)
        return {
            "iou": iou,
            "miou": known_mean(iou),
            "share": share,
            "loss": {kind: known_mean(values) for kind, values in share.items()},
            "oracle": oracle,
        }


def _unsupported(regions_of: np.ndarray, hits: np.ndarray, found: float) -> np.ndarray:
    """(H, W) bool: the pixels of the connected regions of which a share below `found` is hit."""
    regions, count = ndimage.label(regions_of, np.ones((3, 3)))
    size = np.bincount(regions.ravel(), minlength=count + 1)
    hit = np.bincount(regions.ravel(), weights=hits.ravel(), minlength=count + 1)
    poor = hit < found * size
    poor[0] = False
    return poor[regions]
