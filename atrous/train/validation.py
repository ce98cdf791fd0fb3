"""Judging a run on the validation split while it trains: mIoU, loss, overlays to watch."""

import copy
import statistics
import time
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from atrous.datasets import Pairs
from atrous.evaluate.evaluation import evaluate, pooled
from atrous.io import write_image
from atrous.losses import make_loss
from atrous.predict import Predictor
from atrous.sample import Sample
from atrous.train import processes
from atrous.train.loggers import Logger
from atrous.train.run import Run, keep_best, known
from atrous.train.sharding import in_one_piece
from atrous.train.signals import Stop
from atrous.visual import beside, overlay

WATCHED, WIDTH = 4, 256
"""How many validation pictures are drawn each time, and the width of each in pixels."""


def validate(run: Run, device: torch.device, stop: Stop, log: Logger, began: float) -> None:
    """Judge the weights on the validation split, and keep them if they are the best so far.

    Each of several processes judges a share of the pictures; then all put their counts together.
    """
    if "val" not in run.data.splits:
        keep_best(run, None)
        return
    pairs = run.data.splits["val"]
    predictor = Predictor(in_one_piece(run.evaluated, run.card.build), run.card, device=str(device))
    loss = make_loss(run.recipe.loss, run.data.labels.ignore_index)
    losses: list[tuple[float, int]] = []
    shown, columns, share = watched(len(pairs)), [], processes.mine(range(len(pairs)))

    def labels_of(sample: Sample) -> np.ndarray:
        if stop.asked:
            raise _Asked
        prediction = predictor(sample.image)
        scores, truth = torch.from_numpy(prediction.probabilities), torch.tensor(known(sample.mask))
        if share[len(losses)] in shown:
            columns.append([overlay(sample.image, known(sample.mask), run.data.labels), prediction.overlay_array()])
        counted = int((truth != run.data.labels.ignore_index).sum())
        losses.append((float(loss(scores.clamp_min(1e-12).log()[None], truth[None])), counted))
        return prediction.labels

    try:
        judged = evaluate(labels_of, cast(Pairs, Subset(cast(Dataset, pairs), share)), run.data.labels, "val")
    except _Asked:
        judged = None
    parts = processes.everyones((judged, losses, columns, stop.asked))
    stop.hear(asked for *_, asked in parts)
    if any(judged is None for judged, *_ in parts):
        raise stop.interrupted(f"stopped after step {run.step}, saved in {run.folder}; the same command resumes")
    result = pooled([known(judged) for judged, *_ in parts])
    keep_best(run, result)
    run.seconds = time.perf_counter() - began
    values, weights = zip(*(one for _, losses, *_ in parts for one in losses), strict=True)
    if processes.first():
        pictures = [column for _, _, columns, _ in parts for column in columns]
        write_image(run.folder / "overlays" / f"step-{run.step:08d}.jpg", beside(pictures, WIDTH))
    log.write(step=run.step, val_miou=result.miou, val_loss=float(np.average(values, weights=weights)),
              seconds=round(run.seconds, 2))  # fmt: skip


class _Asked(Exception):
    """A stop was asked for during a validation."""


def watched(count: int) -> set[int]:
    """The indices of the validation pictures that are drawn: `WATCHED` of `count`, evenly spread, always the same."""
    return {place * count // min(WATCHED, count) for place in range(min(WATCHED, count))}


def validation_seconds(run: Run, device: torch.device) -> float:
    """How long one validation will take: the median time of three pictures, times each process's share of them."""
    pairs: Sequence[Sample] = run.data.splits.get("val", [])
    predictor, times = Predictor(copy.deepcopy(run.evaluated), run.card, device=str(device)), []
    for index in range(min(4, len(pairs))):
        start = time.perf_counter()
        _ = predictor(pairs[index].image).probabilities
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:] or times or [0.0]) * len(pairs) / processes.size()
