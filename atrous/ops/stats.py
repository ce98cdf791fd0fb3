"""Intervals: how far a number would move with other images of the same kind."""

import numpy as np


def bootstrap_miou(
    counts: np.ndarray, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile interval of the data set's mIoU under resampling of images (Efron 1979).

    counts: (n, 3, K) int64 per image: true, predicted and hit pixels per class.
    Classes whose union is empty in a resample are skipped there (policy `union`).
    Returns (low, high), or None with fewer than two images.
    """
    n = len(counts)
    if n < 2:
        return None
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    totals = (draws @ counts.reshape(n, -1).astype(np.float64)).reshape(resamples, 3, -1)
    union = totals[:, 0] + totals[:, 1] - totals[:, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(union > 0, totals[:, 2] / union, np.nan)
    miou = np.nanmean(iou, axis=1)
    low, high = np.quantile(miou, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
