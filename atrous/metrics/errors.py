"""What kind of mistakes: a decomposition of 1 - IoU that sums up, and what mending each kind would bring.

Every wrong pixel of a class is of exactly one kind, the first that fits:

    boundary    within `width` pixels of a true boundary
    missed      a true pixel of a connected region of the class of which hardly anything was found
    invented    a predicted pixel of a connected region of the class of which hardly anything is true
    confusion   the rest: the object was seen and part of it given to another class

For a class with union U the kinds' pixels / U add up to 1 - IoU. "Hardly anything" is a tenth of the region.
(Along the lines of TIDE, Bolya et al., ECCV 2020, for pixels.)
"""

from typing import Any

import numpy as np
from scipy import ndimage

from atrous.metrics.boundary import _check, _mean, _same
from atrous.ops.distance import distance_to_other

ERROR_KINDS = ("boundary", "missed", "invented", "confusion")
BOUNDARY, MISSED, INVENTED, CONFUSION = range(4)
RIGHT, IGNORED = 254, 255


class ErrorKinds:
    """Pixels of each kind of error per class, streamed and merged.

    width: of the boundary band in pixels, by default 1 % of the image's diagonal, at least 2. found: the share of a
    region below which it counts as missed, or invented. An error pixel counts for both classes it concerns: as missing
    from the true one and as too much of the predicted one, each with a kind of its own.
    """

    def __init__(self, classes: int, ignore: int = 255, width: float | None = None, found: float = 0.1) -> None:
        self.classes, self.ignore, self.width, self.found = classes, ignore, width, found
        self.lacking = np.zeros((len(ERROR_KINDS), classes), np.int64)
        self.excess = np.zeros((len(ERROR_KINDS), classes), np.int64)
        self.hit = np.zeros(classes, np.int64)

    def update(self, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Add one picture; returns (H, W) uint8: the kind of each wrong pixel as index into ERROR_KINDS (as seen from
        the true class, or `invented` where the predicted class's region is), 254 where right, 255 where ignored."""
        _check(prediction, target)
        valid = target != self.ignore
        wrong = valid & (prediction != target)
        width = self.width if self.width is not None else max(2.0, 0.01 * float(np.hypot(*target.shape)))
        band = distance_to_other(target, most=width) <= width
        kinds = np.where(valid, RIGHT, IGNORED).astype(np.uint8)
        kinds[wrong] = CONFUSION
        for k in np.union1d(target[valid], prediction[valid]).astype(int):
            if k >= self.classes:
                continue
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
        """Add the counts of another one of the same settings."""
        _same(self, other, "classes", "ignore", "width", "found")
        self.lacking += other.lacking
        self.excess += other.excess
        self.hit += other.hit
        return self

    def compute(self) -> dict[str, Any]:
        """iou (K,), share {kind: (K,)} with iou + sum of shares = 1, loss {kind: mean over classes}, and oracle
        {kind: the mIoU that mending this kind alone would give}; classes with empty union are nan and left out."""
        union = self.hit + self.lacking.sum(0) + self.excess.sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = np.where(union > 0, self.hit / union, np.nan)
            share, oracle = {}, {}
            for index, kind in enumerate(ERROR_KINDS):
                lacking, excess = self.lacking[index], self.excess[index]
                share[kind] = np.where(union > 0, (lacking + excess) / union, np.nan)
                mended = np.where(union > excess, (self.hit + lacking) / (union - excess), np.nan)
                oracle[kind] = _mean(mended)
        return {
            "iou": iou,
            "miou": _mean(iou),
            "share": share,
            "loss": {kind: _mean(values) for kind, values in share.items()},
            "oracle": oracle,
        }


def _unsupported(regions_of: np.ndarray, hits: np.ndarray, found: float) -> np.ndarray:
    """(H, W) bool: pixels of 8-connected regions of which a share below `found` is hit."""
    regions, count = ndimage.label(regions_of, np.ones((3, 3)))
    size = np.bincount(regions.ravel(), minlength=count + 1)
    hit = np.bincount(regions.ravel(), weights=hits.ravel(), minlength=count + 1)
    poor = hit < found * size
    poor[0] = False
    return poor[regions]
