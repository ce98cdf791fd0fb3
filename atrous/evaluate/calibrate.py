"""Fit, on validation pictures, how a network's scores become labels, probabilities and sets of classes.

The card of the bundle keeps the result, and `atrous.predict.decoding` applies it when asked. The
formulas are in `atrous.ops.decoding`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logsumexp

from atrous.bundle import load_card, save_bundle
from atrous.errors import AtrousError, DataError
from atrous.evaluate.sources import held_out, told
from atrous.files import alone
from atrous.metrics import ConfusionMatrix
from atrous.ops.decoding import fit_offsets, fit_temperature, fit_vector, risk_threshold
from atrous.predict import Predictor
from atrous.progress import Over
from atrous.sample import Sample

PIXELS, SCORES = 200_000, 10_000_000
"""The most pixels, and the most pixels times classes, that are kept of a split. Each pixel is equally likely."""
BINS = 1000
"""How many thresholds in 0..1 are tried."""


def calibrate(
    run: Path,
    data: Path | None = None,
    split: str | None = None,
    *,
    recalls: Sequence[float] = (0.9,),
    progress: Over | None = None,
) -> dict[str, Any]:
    """Fit the decoding of a network and write it into its bundle.

    Args:
        run: a run's folder, or a bundle.
        data: the labelled data; default what the network was trained on.
        split: what to fit on; default "val". The split that was trained on is refused.
        recalls: shares in (0, 1) of each class's pixels that the sets of classes keep.
        progress: see `atrous.progress.Over`.

    Returns:
        What the card keeps, with the scores before and after: see `fit_decoding`.
    """
    predictor, chosen, path = held_out(run, data, split)
    with alone(path.parent):
        found = {**told(chosen), **fit_decoding(predictor, chosen.pairs, recalls=recalls, progress=progress)}
        save_bundle(path, predictor.model, replace(load_card(path), decoding=found))
    return found


def fit_decoding(
    predictor: Predictor,
    pairs: Sequence[Sample],
    *,
    recalls: Sequence[float] = (0.9,),
    progress: Over | None = None,
) -> dict[str, Any]:
    """Fit temperature, vector scaling, offsets for IoU and Dice, and thresholds for each recall.

    Args:
        predictor: the network.
        pairs: labelled pictures that it was not trained on.
        recalls: shares in (0, 1) of a class's pixels that the sets keep, on average over pictures like these.
        progress: see `atrous.progress.Over`.

    Returns:
        Plain values for JSON. `scores` says for each way of decoding what it does to the number it is
        for: `before`; `fitted`, on the same pictures; `held_out`, fitted on one half of the pictures and
        judged on the other, which is what to expect on new ones.

    Raises:
        DataError: no pixel is labelled.
    """
    if bad := [recall for recall in recalls if not 0 < recall < 1]:
        raise AtrousError(f"--recall {bad[0]:g}: must be between 0 and 1, such as 0.9")
    labels = predictor.card.labels
    classes, ignored, rng = len(labels), labels.ignore_index, np.random.default_rng(0)
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    lost: list[list[np.ndarray]] = [[] for _ in range(classes)]
    rate = 0.0
    for index in progress(range(len(pairs)), len(pairs)) if progress else range(len(pairs)):
        sample = pairs[index]
        assert sample.mask is not None
        prediction, valid = predictor(sample.image), sample.mask != ignored
        rate = rate or min(1.0, min(PIXELS, SCORES / classes) / (len(pairs) * sample.mask.size))
        chosen = valid & (rng.random(valid.shape) < rate)
        kept.append((prediction.logits[:, chosen].T, sample.mask[chosen].astype(np.int64)))
        probabilities = prediction.probabilities
        for k in np.unique(sample.mask[valid]):
            lost[k].append(_lost(probabilities[k][sample.mask == k]))
    scores, truth = (np.concatenate(part) for part in zip(*kept, strict=True))
    if not len(truth):
        raise DataError("no pixel of these masks is labelled; nothing can be fitted")
    found, edges = _fitted(scores, truth), np.arange(BINS) / BINS
    return {
        "images": len(pairs),
        "pixels": len(truth),
        **found,
        "thresholds": {
            f"{recall:g}": [risk_threshold(np.array(one), edges, 1 - recall) if one else None for one in lost]
            for recall in recalls
        },
        "scores": _scores(kept, found),
    }


def _lost(probabilities: np.ndarray) -> np.ndarray:
    """(BINS,) for each b, the share of these pixels whose probability is below b / BINS."""
    steps = np.minimum(np.floor(probabilities.astype(np.float64) * BINS), BINS - 1).astype(int)
    return (np.cumsum(np.bincount(steps, minlength=BINS)) - np.bincount(steps, minlength=BINS)) / len(steps)


def _fitted(scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    scale, shift = fit_vector(scores, truth)
    return {
        "temperature": round(fit_temperature(scores, truth), 6),
        "vector": {"scale": scale.round(6).tolist(), "shift": shift.round(6).tolist()},
        "offsets": {
            "iou": fit_offsets(scores, truth, "iou").round(6).tolist(),
            "dice": fit_offsets(scores, truth, "dice").round(6).tolist(),
        },
    }


def _scores(kept: list[tuple[np.ndarray, np.ndarray]], found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """For each way of decoding: the number it is for, without it, on the pictures it was fitted on, and on others."""

    def joined(part: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        scores, truth = zip(*part, strict=True)
        return np.concatenate(scores), np.concatenate(truth)

    scores, truth = joined(kept)
    half = len(kept) // 2  # halves, not alternate pictures: neighbours in a video are nearly the same picture
    sides = [joined(part) for part in (kept[:half], kept[half:]) if part]
    moved: dict[str, np.ndarray] = {}
    if len(sides) == 2 and all(len(true) for _, true in sides):
        trials = [_moved(sides[0][0], _fitted(*sides[1])), _moved(sides[1][0], _fitted(*sides[0]))]
        moved = {name: np.concatenate([trial[name] for trial in trials]) for name in trials[0]}
    return {
        name: {
            "number": NUMBER[name],
            "before": _judged(scores, truth, NUMBER[name]),
            "fitted": _judged(z, truth, NUMBER[name]),
            "held_out": _judged(moved[name], truth, NUMBER[name]) if moved else None,
        }
        for name, z in _moved(scores, found).items()
    }


NUMBER = {"iou": "miou", "dice": "mean_dice", "temperature": "nll", "vector": "nll"}
"""Way of decoding -> the number that it is fitted for."""


def _moved(scores: np.ndarray, found: dict[str, Any]) -> dict[str, np.ndarray]:
    """Way of decoding -> the (n, K) scores that it makes of these."""
    vector = found["vector"]
    return {
        "iou": scores + np.array(found["offsets"]["iou"], np.float32),
        "dice": scores + np.array(found["offsets"]["dice"], np.float32),
        "temperature": scores / np.float32(found["temperature"]),
        "vector": scores * np.array(vector["scale"], np.float32) + np.array(vector["shift"], np.float32),
    }


def _judged(scores: np.ndarray, truth: np.ndarray, number: str) -> float:
    if number == "nll":
        return round(float((logsumexp(scores, axis=1) - scores[np.arange(len(truth)), truth]).mean()), 6)
    matrix = ConfusionMatrix(scores.shape[1], ignore=65535)
    matrix.update(scores.argmax(1), truth)
    return round(float(matrix.compute()[number]), 6)
