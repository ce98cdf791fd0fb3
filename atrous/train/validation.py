"""Judging a run on the validation split while it trains: mIoU, loss, overlays to watch."""

import copy
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, Subset

from atrous.bundle import Card
from atrous.datasets import Pairs
from atrous.evaluate.evaluation import Evaluation, evaluate, pooled
from atrous.labels import LabelSet
from atrous.losses import make_loss
from atrous.predict.loading import predictor_of
from atrous.sample import Sample
from atrous.train import processes
from atrous.train.run import known
from atrous.train.sharding import in_one_piece
from atrous.train.signals import Stop
from atrous.visual import chief_slice, overlay

WATCHED = 4
"""How many validation pictures are drawn each time."""


class Validation(NamedTuple):
    """What a validation found: the evaluation, the mean loss (None of volumes), and pairs of overlays, truth on top."""

    result: Evaluation
    loss: float | None
    columns: list[list[np.ndarray]]


def validate(
    network: nn.Module, card: Card, pairs: Pairs, loss: str, *, device: torch.device, stop: Stop
) -> Validation | None:
    """Judge a network on the validation split; None where a stop was asked for meanwhile.

    Each of several processes judges a share of the pictures; then all put their counts together.

    Args:
        network: the weights that would be kept.
        card: what the bundle would say about them.
        pairs: the validation split.
        loss: the loss to report, as `atrous.losses.make_loss` takes it; without class weights.
    """
    predictor = predictor_of(in_one_piece(network, card.build), card, device=str(device))
    measure = make_loss(loss, card.labels.ignore_index)
    losses: list[tuple[float, int]] = []
    shown, columns, share = watched(len(pairs)), [], processes.mine(range(len(pairs)))

    def labels_of(sample: Sample) -> np.ndarray:
        if stop.asked:
            raise _Asked
        prediction, truth = predictor.of(sample), torch.tensor(known(sample.mask))
        if share[len(losses)] in shown:
            columns.append([_truth(sample, card.labels), prediction.overlay_array()])
        counted = int((truth != card.labels.ignore_index).sum())
        value = 0.0  # of volumes: probabilities of all classes would fill the memory
        if not card.volume:
            scores = torch.from_numpy(prediction.probabilities)
            value = float(measure(scores.clamp_min(1e-12).log()[None], truth[None]))
        losses.append((value, counted))
        return prediction.labels

    try:
        judged = evaluate(labels_of, cast(Pairs, Subset(cast(Dataset, pairs), share)), card.labels, "val")
    except _Asked:
        judged = None
    parts = processes.everyones((judged, losses, columns, stop.asked))
    stop.hear(asked for *_, asked in parts)
    if any(judged is None for judged, *_ in parts):
        return None
    values, weights = zip(*(one for _, losses, *_ in parts for one in losses), strict=True)
    return Validation(
        pooled([known(judged) for judged, *_ in parts]),
        None if card.volume else float(np.average(values, weights=weights)),
        [column for _, _, columns, _ in parts for column in columns],
    )


def _truth(sample: Sample, labels: LabelSet) -> np.ndarray:
    """The picture of a sample with its mask over it; of a volume the slice that shows most."""
    image, mask = sample.image, known(sample.mask)
    if mask.ndim == 3:
        place = chief_slice(np.where(mask == labels.ignore_index, 0, mask))
        image, mask = image[place], mask[place]
    return overlay(image, mask, labels)


class _Asked(Exception):
    """A stop was asked for during a validation."""


def watched(count: int) -> set[int]:
    """The indices of the validation pictures that are drawn: `WATCHED` of `count`, evenly spread, always the same."""
    return {place * count // min(WATCHED, count) for place in range(min(WATCHED, count))}


def validation_seconds(network: nn.Module, card: Card, pairs: Sequence[Sample], device: torch.device) -> float:
    """How long one validation will take: the median time of three pictures, times each process's share of them."""
    predictor, times = predictor_of(copy.deepcopy(network), card, device=str(device)), list[float]()
    for index in range(min(4, len(pairs))):
        start = time.perf_counter()
        prediction = predictor.of(pairs[index])
        if not card.volume:
            _ = prediction.probabilities
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:] or times or [0.0]) * len(pairs) / processes.size()
