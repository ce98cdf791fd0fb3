"""Does a refiner help a network, and with which parameters? A cross-validated search that may answer "leave it off".

On held-out pictures, every candidate is tried on a few pictures, and the best few candidates on all.
The pictures are cut into folds of neighbours, or of whole videos. For each fold, the parameters are
chosen on the other folds ("leave it off" is one of the choices) and judged on this one. The answer is
"use" where these judgements together beat the network by more than chance (paired bootstrap), and
where the pictures are of enough videos.

One picture with its scores is in memory at a time; what is kept of it are counts of pixels, 24 bytes for each class and
candidate that it was tried with. Of the decoded pictures, the data set's cache keeps at most 1 GiB.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from atrous.bundle import load_card, save_bundle
from atrous.doctor.videos import recordings
from atrous.errors import DataError
from atrous.evaluate.sources import held_out, told
from atrous.files import alone
from atrous.metrics import ConfusionMatrix
from atrous.ops.stats import Comparison, by_cluster, compare, miou_of_sums
from atrous.predict import Predictor
from atrous.progress import Over
from atrous.refine.named import Refinement

FOLDS, FIRST, PIXELS, LEFT = 10, 24, 5_000_000, 3
"""Folds; pictures of the first round (more if they are small, up to this many pixels); candidates per fold that reach
the second round."""
VIDEOS = 4
"""Fewer videos than this say nothing about another one."""

Candidate = tuple[str, dict[str, Any]]


def crf_candidates() -> list[Candidate]:
    """Dense CRFs around those of the papers, and graph cuts of four strengths."""
    found: list[Candidate] = [(name, {}) for name in ("deeplab_v1", "deeplab_v2", "crfasrnn", "pydensecrf")]
    for sxy, srgb, weight in product((20, 50), (5, 10, 20), (1, 3)):
        gaussian = [1, weight] if srgb == 5 else [3, weight]
        found.append(("crf", {"gaussian": gaussian, "bilateral": [sxy, srgb, weight], "iterations": 5}))
    return found + [("graph_cut", {"smoothness": smoothness}) for smoothness in (0.5, 1.0, 2.0, 4.0)]


def tune_crf(
    run: Path,
    data: Path | None = None,
    split: str | None = None,
    *,
    tried: Sequence[Candidate] | None = None,
    block: int | None = None,
    progress: Over | None = None,
) -> dict[str, Any]:
    """Search for a refiner on a split of `data`, and write the verdict into the run's bundle.

    Args:
        run: a run's folder, or a bundle.
        data: the labelled data; default what the network was trained on.
        split: what to search on; default "val". The split that was trained on is refused.
        tried: (name, options) of the refiners to try; default `crf_candidates()`.
        block: draw this many neighbouring pictures together; default single pictures, or whole videos
            where the pictures are their frames.
        progress: see `atrous.progress.Over`.

    Returns:
        Plain values for JSON: `use`, the best candidate's `name` and `options`; the mIoU `before`, and
        `held_out` with choices made on other pictures; their `difference` with `interval` and `p`; what
        every candidate scored; and the number of `videos` (None if the pictures are not frames). Fewer
        than four videos never give `use`.
    """
    predictor, chosen, path = held_out(run, data, split)
    pairs = chosen.pairs
    videos = None
    if block is None:
        paths = [Path(one) for one in pairs.names]
        videos = recordings(paths, (pairs[index].image for index in range(len(pairs))))
    options: dict[str, Any] = {"block": block or 1, "videos": videos, "progress": progress}
    with alone(path.parent):
        found = {**told(chosen), **search(predictor, pairs, tried or crf_candidates(), **options)}
        save_bundle(path, predictor.model, replace(load_card(path), refinement=found))
    return found


def search(
    predictor: Predictor,
    pairs: Any,
    tried: Sequence[Candidate],
    *,
    block: int = 1,
    videos: Sequence[str] | None = None,
    progress: Over | None = None,
) -> dict[str, Any]:
    """The search itself, on (image, mask) pairs. videos: the video of each picture. Returns what `tune_crf` does."""
    count = len(pairs)
    if count < 4:
        raise DataError(f"{count} pictures cannot be cut into folds; a search needs at least 4, and 20 to say much")
    several = videos is not None and len(set(videos)) >= VIDEOS
    units = list(videos) if videos is not None and several else list(range(count))
    place = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    folds = min(FOLDS, len(place) if several else count // 2)
    fold = np.array([place[unit] for unit in units]) * folds // len(place)
    table = Table(predictor, pairs, tried)
    many = max(FIRST, PIXELS // (pairs[0].image.shape[0] * pairs[0].image.shape[1]))
    first = np.unique(np.linspace(0, count - 1, min(count, many)).round().astype(int))
    best = {f: first[fold[first] != f] for f in range(folds)}
    jobs = [(index, range(len(tried))) for index in first]
    for index, wanted in progress_over(progress, jobs):
        table.fill(index, wanted)
    left = {f: table.ranked(range(len(tried)), images)[:LEFT] for f, images in best.items()}
    finalists = sorted(
        {one for ones in left.values() for one in ones} | {*table.ranked(range(len(tried)), first)[:LEFT]}
    )
    for index, wanted in progress_over(progress, [(index, finalists) for index in range(count)]):
        table.fill(index, wanted)

    judged = np.empty_like(table.before)
    for f, ones in left.items():
        others = np.flatnonzero(fold != f)
        choice = table.ranked([None, *ones], others)[0]
        judged[fold == f] = table.counts(choice)[fold == f]
    paired = compare([by_cluster(judged, units)], [by_cluster(table.before, units)], block=block)
    winner = table.ranked(finalists, np.arange(count))[0]
    assert winner is not None
    return {
        **_verdict(paired, enough=videos is None or several),
        "videos": None if videos is None else len(set(videos)),
        "name": tried[winner][0],
        "options": tried[winner][1],
        "images": count,
        "folds": folds,
        "candidates": [
            {"name": tried[c][0], "options": tried[c][1], "images": len(images), "miou": table.miou(c, images),
             "before": table.miou(None, images)}
            for c in range(len(tried))
            for images in [np.arange(count) if c in finalists else first]
        ],
    }  # fmt: skip


class Table:
    """For each candidate and picture the counts (3, K) of true, predicted and hit pixels, filled in as needed."""

    def __init__(self, predictor: Predictor, pairs: Any, tried: Sequence[Candidate]) -> None:
        card = predictor.card
        self.predictor, self.pairs, self.ignored = predictor, pairs, card.labels.ignore_index
        self.refiners = [
            Refinement(name, options, card.dtype, tuple(card.mean), tuple(card.std)) for name, options in tried
        ]
        self.before = np.zeros((len(pairs), 3, len(card.labels)), np.int64)
        self._after = np.zeros((len(tried), *self.before.shape), np.int64)  # takes memory where it is written
        self._done = np.zeros((len(tried), len(pairs)), bool)

    def fill(self, index: int, wanted: Sequence[int]) -> None:
        """Count the network's own labels of a picture, and those of the wanted candidates that are missing."""
        sample = self.pairs[index]
        prediction = self.predictor(sample.image)
        self.before[index] = self._count(prediction.labels, sample.mask)
        for candidate in wanted:
            if not self._done[candidate, index]:
                labels, _ = self.refiners[candidate](prediction.image, prediction.probabilities)
                self._after[candidate, index] = self._count(labels, sample.mask)
                self._done[candidate, index] = True

    def counts(self, candidate: int | None) -> np.ndarray:
        """The counts (n, 3, K) of a candidate; None stands for the network itself."""
        return self.before if candidate is None else self._after[candidate]

    def miou(self, candidate: int | None, images: np.ndarray) -> float:
        """The mIoU of a candidate over these images together."""
        true, predicted, hit = self.counts(candidate)[images].sum(0)
        return round(float(miou_of_sums(hit, true + predicted - hit)), 6)

    def ranked(self, ones: Sequence[Any], images: np.ndarray) -> list[Any]:
        """These candidates, the best on these images first. Equal ones keep their order."""
        return sorted(ones, key=lambda one: -self.miou(one, images))

    def _count(self, labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return ConfusionMatrix(self.before.shape[2], self.ignored).update(labels, mask)


def progress_over(progress: Over | None, jobs: Sequence[Any]) -> Any:
    """The jobs, shown by a progress bar if there is one."""
    return (jobs[place] for place in (progress(range(len(jobs)), len(jobs)) if progress else range(len(jobs))))


def _verdict(paired: Comparison, enough: bool) -> dict[str, Any]:
    low, high = paired.interval
    return {
        "use": bool(low > 0 and enough),
        "before": round(paired.b, 6),
        "held_out": round(paired.a, 6),
        "difference": round(paired.difference, 6),
        "interval": [round(low, 6), round(high, 6)],
        "p": round(paired.p, 6),
    }
