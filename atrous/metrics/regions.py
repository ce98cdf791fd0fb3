"""Scores of regions rather than pixels: lesion-wise F1, Rand and information scores of cell partitions, clDice."""

from typing import Any

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array

from atrous.errors import MissingExtra


def lesion_f1(
    prediction: np.ndarray, target: np.ndarray, *, overlap: float = 0.0, connectivity: int | None = None
) -> dict[str, Any]:
    """Count connected regions instead of pixels: masks of any rank -> found, missed, invented, f1.

    A true region is found when more than `overlap` of its pixels are predicted (0: any pixel), a predicted region is
    invented when no more than `overlap` of its pixels are true. connectivity: 1 (faces) to the rank (corners, the
    default). f1 = 2 found / (2 found + missed + invented), nan where there is no region at all.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} must be of one shape")
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}; expected a share from 0 up to 1")
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
    """Foreground-restricted Rand and information F-scores of a partition into regions (ISBI 2012 EM challenge).

    prediction, target: integer region labels of equal shape; truth 0 (membrane) is left out, predicted 0 inside a cell
    makes one-pixel regions, as in the challenge's script. With p(i, j) the share of counted pixels in predicted region
    i and true region j, s(i) and t(j) its margins (Arganda-Carreras et al. 2015):

        rand_split  sum p^2 / sum t^2     rand_merge  sum p^2 / sum s^2     rand_f  their harmonic mean
        info_split  I / H(s)              info_merge  I / H(t)              info_f  2 I / (H(s) + H(t))
        adapted_rand_error  1 - rand_f    variation_of_information  H(s) + H(t) - 2 I, in bits
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
    """Centreline Dice of tubular masks, 2-D or 3-D (Shit et al., CVPR 2021): the harmonic mean of the share of the
    predicted skeleton inside the truth and of the true skeleton inside the prediction.

    0 where one mask is empty, nan where both are. Raises MissingExtra without scikit-image, which thins the masks.
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
