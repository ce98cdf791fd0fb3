"""Which masks to look at first: those that fit their images as no other mask of the set does.

Two measures, each against the set itself, so that nothing is learnt from elsewhere:

place:  a table of colour, texture and height in the picture, counted over all pairs but the one in question, says
        which class such a cell has. A mask is odd where its classes are far less likely than the table's.
edges:  the mask's edges lie on the image's (`doctor.fit`). A mask is odd where they lie badly, or better when shifted.

A set in which one measure says little (edges that are nowhere seen) is not judged by it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from atrous.doctor.findings import Finding, as_percent
from atrous.doctor.look import CELLS, PairLook
from atrous.doctor.reading import Reading, file_of_mask
from atrous.labels import LabelSet

BINS = (8, 4, 4, 4)
"""Of lightness, the two colours and texture: steps at equal shares of the cells."""
HEIGHTS = 6
FEWEST = 8
"""Masks below which there is no set to compare with."""
ODD, ODD_OF_FEW = 4.0, 36.0
"""Robust standard deviations of the logarithm from which on a mask is named: the first, and the second by the number
of masks, since few of them say less of what is usual."""
CLEAR_GAIN = 1.0
CLEAR_SHIFT = 3
"""Pixels of the full image that a shift must have."""


class Suspect(NamedTuple):
    """A look by its place in the list; score: the larger, the odder; reason: what is odd, '' where little is."""

    place: int
    score: float
    reason: str
    kind: str = "place"


def rank_masks(reading: Reading) -> list[Suspect]:
    """Every mask that can be judged, the oddest first."""
    if reading.labels is None or len(reading.labels) < 2:
        return []
    scores: dict[int, tuple[float, str, str]] = {}
    placed = by_place(reading, reading.labels)
    for place, score, reason, kind in [*placed, *by_edges(reading.looks, {one.place: one.score for one in placed})]:
        if place not in scores or score > scores[place][0]:
            scores[place] = score, reason, kind
    ranked = sorted(scores.items(), key=lambda item: -item[1][0])
    return [Suspect(place, score, reason, kind) for place, (score, reason, kind) in ranked]


def find_suspicious(reading: Reading, ranked: Sequence[Suspect]) -> list[Finding]:
    """The findings about those whose reason is strong."""
    remedy = "look at it beside its image (--html shows the oddest ones) and correct it or take it out"
    strong = [one for one in ranked if one.score >= ODD and one.reason]
    return [Finding("suspicious", "warning", (file_of_mask(reading.looks[k.place]),), k.reason, remedy) for k in strong]


def by_place(reading: Reading, labels: LabelSet) -> list[Suspect]:
    """How unlikely the classes of a mask are, given where and of what colour they lie."""
    places, codes, classes = _cells(reading, labels)
    if len(places) < FEWEST:
        return []
    size, count = int(codes.max()) + 1, len(labels)
    joint = codes.astype(np.int64) * (count + 1) + classes
    table = np.bincount(joint.ravel(), minlength=size * (count + 1)).reshape(size, count + 1)[:, :count]
    prior = table.sum(0) / max(table.sum(), 1)
    oddness, worst = np.full(len(places), np.nan), [""] * len(places)
    for k in range(len(places)):
        known = classes[k] < count
        if known.sum() < CELLS:
            continue
        code, own = codes[k][known], classes[k][known]
        cells, where = np.unique(code, return_inverse=True)
        mine = np.bincount(where * count + own, minlength=len(cells) * count).reshape(len(cells), count)
        rest = table[cells] - mine + 0.5 * count * prior + 1e-3
        likely = rest / rest.sum(1, keepdims=True)
        loss = np.log(likely.max(1)[where]) - np.log(likely[where, own])
        oddness[k] = loss.mean()
        worst[k] = _instead(loss, own, likely.argmax(1)[where], labels)
    good = np.isfinite(oddness)
    z = _deviations(np.log(oddness + 0.05), good)
    odd = ODD + ODD_OF_FEW / len(places)
    return [Suspect(place, float(z[k]), worst[k] if z[k] >= odd else "") for k, place in enumerate(places) if good[k]]


def _cells(reading: Reading, labels: LabelSet) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Places of the looks, (n, 1024) codes of their image's cells, (n, 1024) class indices, K where ignored."""
    places, pictures, classes = [], [], []
    table = np.full(65536, len(labels), np.int64)
    table[list(labels.values)] = np.arange(len(labels))
    for k in reading.usable:
        image, mask = reading.looks[k].image, reading.looks[k].mask
        if image is None or image.cells is None or mask is None or mask.cells is None:
            continue
        values = mask.cells
        for cure in reading.cures[k]:
            values = cure.apply(values, (CELLS, CELLS))
        places.append(k)
        pictures.append(image.cells.reshape(-1, 4))
        classes.append(table[values].reshape(-1))
    if not places:
        return [], np.zeros((0, 0), np.int64), np.zeros((0, 0), np.int64)
    cells = np.stack(pictures)
    codes = np.tile(np.repeat(np.arange(CELLS) * HEIGHTS // CELLS, CELLS), (len(places), 1))
    for channel, bins in enumerate(BINS):
        steps = np.unique(np.quantile(cells[..., channel], np.linspace(0, 1, bins + 1)[1:-1]))
        codes = codes * (len(steps) + 1) + np.searchsorted(steps, cells[..., channel])
    return places, codes, np.stack(classes)


def _instead(loss: np.ndarray, own: np.ndarray, likely: np.ndarray, labels: LabelSet) -> str:
    """The pair of classes that costs most, in words."""
    count = len(labels)
    cost = np.bincount(own * count + likely, weights=loss, minlength=count * count)
    said, meant = divmod(int(cost.argmax()), count)
    part = float(((own == said) & (likely == meant)).mean())
    return (
        f"{labels.names[said]} on {as_percent(part)} of the picture where images of this set rather have "
        f"{labels.names[meant]}: classes exchanged, or the mask of another image?"
    )


def by_edges(looks: Sequence[PairLook], placed: Mapping[int, float]) -> list[Suspect]:
    """How badly the mask's edges lie on the image's, where they mostly lie well.

    placed: the scores of `by_place`: a mask that has few edges where they show is named where it is odd in both.
    """
    fits = {k: look.fit for k, look in enumerate(looks) if look.fit is not None}
    steady = [fit for fit in fits.values() if _still(fit.shift)]
    if len(fits) < FEWEST or len(steady) < 0.8 * len(fits):
        return []
    levels = np.array([fit.level for fit in fits.values()])
    z = _deviations(-levels, np.ones(len(levels), bool))
    middle = float(np.median(levels))
    found = []
    for (place, fit), odd in zip(fits.items(), z.tolist(), strict=True):
        reason, kind = "", "edges"
        if not _still(fit.shift) and fit.gain >= CLEAR_GAIN and fit.peak >= middle / 2:
            reason, kind = f"its edges lie on the image's when it is moved by {_ways(*fit.shift)}", "shift"
            odd = max(odd, ODD + fit.gain)
        elif odd >= ODD and fit.level < middle / 3 and placed.get(place, 0) > 1.5:
            reason = f"its edges lie on no edges of the image (strength {fit.level:.2f}, usual {middle:.2f})"
        found.append(Suspect(place, odd, reason, kind))
    return found


def _still(shift: tuple[int, int]) -> bool:
    return max(map(abs, shift)) <= CLEAR_SHIFT


def _ways(right: int, down: int) -> str:
    """(12, -3) -> 12 px right and 3 px up."""
    across = [f"{abs(right)} px {'right' if right > 0 else 'left'}"] if right else []
    return " and ".join([*across, *([f"{abs(down)} px {'down' if down > 0 else 'up'}"] if down else [])])


def _deviations(values: np.ndarray, good: np.ndarray) -> np.ndarray:
    """How many robust standard deviations each value is above the median of the good ones."""
    some = values[good]
    if not some.size:
        return np.zeros(len(values))
    middle = np.median(some)
    low, high = np.quantile(some, [0.25, 0.75])
    spread = max((high - low) / 1.349, 1.4826 * float(np.median(np.abs(some - middle))), 1e-3)
    return (values - middle) / spread
