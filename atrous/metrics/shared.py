"""What several metrics need: checks of their input, and means that skip nan."""

from typing import Any

import numpy as np


def check_label_maps(prediction: np.ndarray, target: np.ndarray) -> None:
    """Raise ValueError unless both are label maps (H, W) of one size, of whole numbers."""
    if prediction.shape != target.shape or target.ndim != 2:
        raise ValueError(
            f"prediction {prediction.shape} and target {target.shape} must be label maps (H, W) of one size"
        )
    if not {prediction.dtype.kind, target.dtype.kind} <= set("iub"):
        raise ValueError(f"prediction is {prediction.dtype} and target {target.dtype}; expected whole numbers")


def classes_shown(target: np.ndarray, prediction: np.ndarray, classes: int) -> list[int]:
    """The classes 0..K-1 that either shows, ascending; a label that is none, such as -1, is left out."""
    return [int(k) for k in np.union1d(target, prediction) if 0 <= k < classes]


def check_same_settings(one: Any, other: Any, *names: str) -> None:
    """Raise ValueError where two metrics cannot be merged: one of these attributes differs."""
    for name in names:
        if getattr(one, name) != getattr(other, name):
            raise ValueError(f"cannot merge: {name} is {getattr(one, name)} here and {getattr(other, name)} there")


def column_means(values: np.ndarray) -> np.ndarray:
    """(n, K) -> (K,): the mean of each column, nans left out; nan where nothing is left."""
    known = ~np.isnan(values)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def known_mean(values: np.ndarray) -> float:
    """The mean of values (K,), nans left out; nan where nothing is left."""
    return float(column_means(values[:, None])[0])
