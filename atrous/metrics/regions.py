"""Scores of regions, not of pixels: F1 of lesions, partitions into cells, clDice of vessels."""

from typing import Any

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array

from atrous.errors import MissingExtra


def lesion_f1(
    prediction: np.ndarray, target: np.ndarray, *, overlap: float = 0.0, connectivity: int | None = None
) -> dict[str, Any]:
    """Detection score of connected regions, such as lesions: how many were found, missed, invented.

    A true region is found when more than a share `overlap` of its pixels was predicted. A predicted
    region is invented when at most that share of its pixels is true.

    Args:
        prediction: Mask of any rank; nonzero is the structure.
        target: The true mask, of the same shape.
        overlap: Share in [0, 1). The default 0 asks for a single common pixel.
        connectivity: Which neighbours belong to one region: 1 (across faces) to the mask's rank
            (across corners too; the default).

    Returns:
        `found`, `missed`, `invented`: numbers of regions; `f1` = 2 found / (2 found + missed +
        invented), in 0..1, nan where there is no region in either mask.

    Raises:
        ValueError: The shapes differ, or `overlap` is not in [0, 1).

    Example:
        >>> import numpy as np
        >>> target = np.array([[1, 1, 0, 0, 0, 1, 1]])
        >>> prediction = np.array([[0, 1, 0, 0, 0, 0, 0]])
        >>> lesion_f1(prediction, target)
        {'found': 1, 'missed': 1, 'invented': 0, 'f1': 0.6666666666666666}
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} must be of one shape")
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}; it must be in [0, 1)")
    structure = ndimage.generate_binary_structure(target.ndim, connectivity or target.ndim)

    def covered(regions_of: np.ndarray, by: np.ndarray) -> np.ndarray:
        regions, count = ndimage.label(regions_of, structure)
        sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
        hits = np.bincount(regions.ravel(), weights=by.ravel(), minlength=count + 1)[1:]
        return hits > overlap * sizes

    truth, guess = np.asarray(target).astype(bool), np.asarray(prediction).astype(bool)
    true_found, guess_real = covered(truth, guess), covered(guess, truth)
    found, missed, invented = int(true_found.sum()), int((~true_found).sum()), int((~guess_real).sum())
    whole = 2 * found + missed + invented
    return {
        "found": found,
        "missed": missed,
        "invented": invented,
        "f1": 2 * found / whole if whole else float("nan"),
    }


def partition_scores(prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Rand and information scores of a partition into cells (those of the ISBI 2012 EM challenge).

    Only pixels whose truth is a region count. With p(i, j) the share of those pixels in predicted
    region i and true region j, and s(i) and t(j) the sums of p over j and over i:

        rand_split  sum p^2 / sum t^2   rand_merge  sum p^2 / sum s^2   rand_f  their harmonic mean
        info_split  I / H(s)            info_merge  I / H(t)            info_f  2 I / (H(s) + H(t))
        adapted_rand_error  1 - rand_f    variation_of_information  H(s) + H(t) - 2 I, in bits

    H is the entropy and I the mutual information. The split scores are low where a cell is cut into
    parts, the merge scores where several cells are taken for one. The last two are best at 0, the
    others at 1.

    Args:
        prediction: Integer numbers of regions, any shape. 0 inside a true cell makes regions of a
            single pixel each, as in the challenge's script.
        target: The true numbers, of the same shape; 0 is left out (the membrane).

    Returns:
        The eight numbers above, by name.

    Raises:
        ValueError: The shapes differ, or the target is 0 everywhere.

    Source:
        Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for
        connectomics", Frontiers in Neuroanatomy 2015.

    Example:
        >>> import numpy as np
        >>> target = np.array([[1, 1, 0, 2, 2]])
        >>> merged = np.array([[1, 1, 1, 1, 1]])  # two cells taken for one
        >>> found = partition_scores(merged, target)
        >>> found["rand_split"], found["rand_merge"]
        (1.0, 0.5)
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} must be of one shape")
    inside = np.asarray(target) > 0
    if not inside.any():
        raise ValueError("the target has no region: every pixel is 0")
    guess, truth = np.asarray(prediction)[inside].astype(np.int64), np.asarray(target)[inside].astype(np.int64)
    loose = guess == 0
    guess[loose] = guess.max() + 1 + np.arange(loose.sum())
    _, i = np.unique(guess, return_inverse=True)
    _, j = np.unique(truth, return_inverse=True)
    joint = coo_array((np.ones(len(i)), (i, j))).tocsr()
    p = joint.data / len(i)
    s, t = (np.asarray(joint.sum(axis)).ravel() / len(i) for axis in (1, 0))
    together, split, merge = (p**2).sum(), (t**2).sum(), (s**2).sum()
    h_s, h_t, h_joint = (-(x * np.log2(x)).sum() for x in (s, t, p))
    information = h_s + h_t - h_joint
    rand_f = 2 * together / (split + merge)
    return {
        "rand_split": float(together / split),
        "rand_merge": float(together / merge),
        "rand_f": float(rand_f),
        "adapted_rand_error": float(1 - rand_f),
        "info_split": float(information / h_s) if h_s > 0 else 1.0,
        "info_merge": float(information / h_t) if h_t > 0 else 1.0,
        "info_f": float(2 * information / (h_s + h_t)) if h_s + h_t > 0 else 1.0,
        "variation_of_information": float(h_joint * 2 - h_s - h_t),
    }


def cl_dice(prediction: np.ndarray, target: np.ndarray) -> float:
    """Centreline Dice of tubes, such as vessels or roads: length counts, not area.

    The harmonic mean of two shares: of the predicted skeleton that lies inside the true mask, and
    of the true skeleton that lies inside the predicted mask.

    Args:
        prediction: Mask (H, W) or (D, H, W); nonzero is the structure.
        target: The true mask, of the same shape.

    Returns:
        A float in 0..1; 0 where one mask is empty, nan where both are.

    Raises:
        MissingExtra: scikit-image, which computes the skeletons, is not installed.
        ValueError: The shapes differ or are neither 2-D nor 3-D.

    Source:
        Shit et al., "clDice", CVPR 2021.

    Example:
        >>> import numpy as np
        >>> vessel = np.zeros((11, 40), bool)
        >>> vessel[4:7, 2:38] = True
        >>> cl_dice(vessel, vessel)
        1.0
    """
    try:
        from skimage.morphology import skeletonize
    except ImportError as error:
        raise MissingExtra("clDice needs scikit-image; run `pip install 'atrous[medical]'`") from error
    truth, guess = np.asarray(target).astype(bool), np.asarray(prediction).astype(bool)
    if truth.shape != guess.shape or truth.ndim not in (2, 3):
        raise ValueError(f"prediction {guess.shape} and target {truth.shape} must be of one shape, 2-D or 3-D")
    if not truth.any() or not guess.any():
        return float("nan") if not truth.any() and not guess.any() else 0.0
    lines = [skeletonize(mask).astype(bool) for mask in (guess, truth)]
    precision, sensitivity = truth[lines[0]].mean(), guess[lines[1]].mean()
    return float(2 * precision * sensitivity / max(precision + sensitivity, 1e-12))
