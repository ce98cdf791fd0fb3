"""Judging a run on the validation split while it trains: mIoU, loss, early stop, pictures to watch."""

import copy
import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch

from atrous.evaluate import evaluate
from atrous.io import write_image
from atrous.loggers import Logger
from atrous.losses import make_loss
from atrous.predict import Predictor
from atrous.run import Run, keep_best, known
from atrous.sample import Sample
from atrous.stop import Stop
from atrous.visual import beside, overlay

WATCHED, WIDTH = 4, 256
"""Validation pictures that every validation draws, and the width of each in pixels."""


def validate(run: Run, device: torch.device, stop: Stop, log: Logger, began: float) -> None:
    """Judge the weights that would be kept on the validation split, keep them when they are the best so far."""
    if "val" not in run.data.splits:
        keep_best(run, None)
        return
    pairs = run.data.splits["val"]
    predictor = Predictor(run.evaluated, run.card, device=str(device))
    loss = make_loss(run.recipe.loss, run.data.labels.ignore_index)
    losses, counts, seen = [], [], 0
    shown, columns = watched(len(pairs)), []

    def labels_of(sample: Sample) -> np.ndarray:
        nonlocal seen
        if stop.asked:
            raise stop.interrupted(f"stopped after step {run.step}, saved in {run.folder}; the same command resumes")
        prediction = predictor(sample.image)
        scores, truth = torch.from_numpy(prediction.probabilities), torch.tensor(known(sample.mask))
        losses.append(float(loss(scores.clamp_min(1e-12).log()[None], truth[None])))
        counts.append(int((truth != run.data.labels.ignore_index).sum()))
        if seen in shown:
            columns.append([overlay(sample.image, known(sample.mask), run.data.labels), prediction.overlay_array()])
        seen += 1
        return prediction.labels

    result = evaluate(labels_of, pairs, run.data.labels, "val")
    keep_best(run, result)
    run.seconds = time.perf_counter() - began
    write_image(run.folder / "overlays" / f"step-{run.step:08d}.jpg", beside(columns, WIDTH))
    log.write(step=run.step, val_miou=result.miou, val_loss=float(np.average(losses, weights=counts)),
              seconds=round(run.seconds, 2))  # fmt: skip


def watched(count: int) -> set[int]:
    """Which of so many validation pictures are drawn: `WATCHED` of them, evenly spread, always the same."""
    return {place * count // min(WATCHED, count) for place in range(min(WATCHED, count))}


def validation_seconds(run: Run, device: torch.device) -> float:
    """What one validation will take, from three pictures."""
    pairs: Sequence[Sample] = run.data.splits.get("val", [])
    predictor, times = Predictor(copy.deepcopy(run.evaluated), run.card, device=str(device)), []
    for index in range(min(4, len(pairs))):
        start = time.perf_counter()
        _ = predictor(pairs[index].image).probabilities
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:] or times or [0.0]) * len(pairs)
