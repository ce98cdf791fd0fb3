"""Random calls of every public function that reaches a numba kernel, sound and hostile ones; what came of them as JSON.

python tests/helpers/kernel_fuzz.py SEED FIRST END PLACE    makes calls FIRST..END-1; PLACE keeps the number of the call

With NUMBA_BOUNDSCHECK=1 and a NUMBA_CACHE_DIR of its own each index of a kernel is checked, each vector too.
"""

import argparse
import json
import linecache
import struct
import sys
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from atrous.doctor.copies import alike_pairs
from atrous.errors import AtrousError
from atrous.io.png import decode_bytes
from atrous.labels import LabelSet
from atrous.metrics.boundary import BoundaryF
from atrous.metrics.surface import SurfaceScores, label_surface_scores
from atrous.ops.argmax import upsample_argmax, upsample_confidence
from atrous.ops.confusion import count_pairs
from atrous.ops.lattice import build_lattice, exact_lattice
from atrous.ops.matching import matching_size
from atrous.ops.maxflow import ARC, NODE, cut
from atrous.ops.resample import resample, resample_labels
from atrous.ops.stats import bootstrap, compare
from atrous.ops.tiles import blend, blend_labels
from atrous.refine.densecrf import dense_crf
from atrous.refine.graphcut import graph_cut
from atrous.refine.iterated_modes import icm, trws
from atrous.refine.meanfield import Kernel, MeanField

SLOW = 5.0
"""Seconds of processor time from which on a call hangs, if it takes them a second time too: kernels compile once."""
LATTICE = ("simplices", "number", "_slot", "gather", "chain", "unite", "_root")
FILTER = ("_splat", "_blur", "_splat_blur", "_slice")
FIELD = ("splat_ones", "blur_ones", "slice_ones", "_softmax", "_to_rows", "_from_rows")
MESSAGES = ("_gather", "_send", "_forward", "_backward")
FLOW = ("cut", "_wait", "_next", "_grow", "_augment", "_adopt", "_distance")

REACHES: dict[str, dict[str, tuple[str, ...]]] = {
    "upsample": {
        "ops/argmax_kernels.py": (
            "all_by_phase", "all_by_pixel", "by_phase", "by_pixel", "_lerp_rows", "_label_group", "_four",
            "_store_four", "_place_labels", "_place_confidence",
        ),
    },
    "blending": {"ops/tiles_kernels.py": ("all_by_pixel", "all_by_plane", "by_pixel", "by_plane", "_take")},
    "pairs": {"ops/confusion.py": ("_count", "count")},
    "translation": {"labels.py": ("_translate",)},
    "resampling": {"ops/stats.py": ("_tally",)},
    "borders": {"ops/matching.py": ("_match", "_levels", "_augment")},
    "matching": {"ops/matching.py": ("_match", "_levels", "_augment")},
    "filtering": {"ops/lattice_build.py": LATTICE, "ops/lattice.py": FILTER},
    "field": {"ops/lattice_build.py": LATTICE + FIELD[:3], "ops/lattice.py": FILTER, "refine/meanfield.py": FIELD[3:]},
    "crf": {"ops/lattice_build.py": LATTICE + FIELD[:3], "ops/lattice.py": FILTER, "refine/meanfield.py": FIELD[3:]},
    "cuts": {
        "refine/graphcut.py": ("_other", "_candidates", "_move"), "ops/maxflow.py": FLOW,
        "refine/iterated_modes.py": MESSAGES,
    },
    "modes": {"refine/iterated_modes.py": ("_sweep",)},
    "messages": {"refine/iterated_modes.py": MESSAGES},
    "flow": {"ops/maxflow.py": FLOW},
    "png": {"io/png.py": ("_undo_filters", "_paeth")},
    "copies": {"doctor/copies.py": ("nearest_codes", "_bits")},
    "volumes": {"ops/resample.py": ("_mix", "_vote")},
    "surfaces": {"ops/surfaces.py": ("_edges", "_nearest")},
}  # fmt: skip
"""For each kind of call the kernels that it reaches, by file."""


class Call(NamedTuple):
    """A call that is to be made: run gives an answer; sound tells whether an answer is one that was promised.

    finite: all numbers that were given are. Only of these an answer must be finite, and no warning may come.
    """

    run: Callable[[], Any]
    sound: Callable[[Any], bool]
    finite: bool = True


class Dice:
    """What random calls are made from. `finite` turns False where nan or inf was given."""

    def __init__(self, seed: int, number: int) -> None:
        self.rng, self.finite = np.random.default_rng((seed, number)), True

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, *things: Any) -> Any:
        return things[self.rng.integers(len(things))]

    def whole(self, low: int, high: int) -> int:
        """low..high, small ones more often."""
        return low + int((high - low + 1) * self.rng.random() ** 2)

    def size(self) -> float:
        """1e-9..1e9."""
        return float(10 ** self.rng.uniform(-9, 9))

    def odd(self, usual: Any, *others: Any, share: float = 0.04) -> Any:
        """The usual one, seldom another."""
        return self.pick(*others) if self.chance(share) else usual

    def shape(self, axes: int, most: int = 9) -> tuple[int, ...]:
        """Seldom with an empty axis, often with an axis of one."""
        return tuple(self.odd(self.whole(1, most), 0, share=0.01) for _ in range(axes))

    def bent(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape; seldom one that does not fit."""
        if self.chance(0.94):
            return shape
        axis, more = int(self.rng.integers(max(len(shape), 1))), self.pick(-1, 1, 3)
        longer = tuple(max(n + more * (i == axis), 0) for i, n in enumerate(shape))
        return self.pick(longer, shape[1:], (1, *shape), shape[::-1])

    def numbers(self, shape: tuple[int, ...], *, spoil: float = 0.05) -> np.ndarray:
        """Real numbers of any size, float64; seldom with nan or inf."""
        rng = self.rng
        values = self.pick(
            lambda: rng.normal(0, self.size(), shape), lambda: rng.uniform(0, 1, shape), lambda: np.zeros(shape),
            lambda: np.full(shape, self.size()), lambda: rng.integers(-3, 4, shape).astype(float),
            lambda: rng.choice([-1.0, 1.0], shape) * 10 ** rng.uniform(-9, 9, shape),
        )()  # fmt: skip
        if values.size and self.chance(spoil):
            self.finite = False
            values.reshape(-1)[rng.integers(0, values.size, self.whole(1, 3))] = self.pick(np.nan, np.inf, -np.inf)
        return values

    def laid(self, values: np.ndarray, dtype: Any = None) -> np.ndarray:
        """The same numbers in another layout: Fortran's order, negative strides, gaps, read-only, misaligned."""
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = values if dtype is None else values.astype(dtype)
        match self.whole(0, 9):
            case 5:
                return np.asfortranarray(values)
            case 6 if values.ndim:
                axis = int(self.rng.integers(values.ndim))
                return np.flip(np.flip(values, axis).copy(), axis)
            case 7 if values.ndim:
                return np.repeat(values, 2, axis=-1)[..., ::2]
            case 8:
                values = values.copy()
                values.flags.writeable = False
            case 9 if values.ndim and values.dtype.kind != "O":
                memory = np.zeros(values.nbytes + 1, np.uint8)
                moved = memory[1:].view(values.dtype).reshape(values.shape)
                moved[...] = values
                return moved
        return values

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        """Real numbers of some type and layout, seldom of another type."""
        dtype = self.pick(np.float32, np.float32, np.float64, np.float16, np.uint8, np.int32, np.int64, ">f4", bool)
        values = self.laid(self.numbers(shape), self.odd(dtype, np.complex64, "U3", object, share=0.02))
        if values.dtype.kind == "f":
            self.finite &= bool(np.isfinite(values).all())
        return values

    def labels(self, shape: tuple[int, ...], classes: int, ignore: int = 255) -> np.ndarray:
        """Labels of one to three classes, often in runs; seldom others, or of another type."""
        size = int(np.prod(shape))
        known = self.rng.integers(0, max(classes, 1), self.whole(1, 3))
        labels = np.repeat(self.rng.choice(known, size), self.whole(1, 9))[:size].reshape(shape).astype(np.int64)
        if size and self.chance(0.3):
            strange = self.pick(ignore, ignore, -1, classes, 2**31, 2**40, 300)
            labels.reshape(-1)[self.rng.integers(0, size, self.whole(1, 3))] = (
                strange if -(2**63) <= strange < 2**63 else 255
            )
        dtype = self.odd(self.pick(np.uint8, np.uint8, np.int64), np.uint16, np.int32, ">u2", bool, share=0.1)
        return self.laid(labels, self.odd(dtype, np.float32, np.complex64, share=0.02))

    def probabilities(self, shape: tuple[int, ...]) -> np.ndarray:
        """(K, ...) that sum to 1; seldom anything else."""
        if self.chance(0.1):
            return self.array(self.bent(shape))
        with np.errstate(all="ignore"):
            values = np.exp(self.rng.normal(0, self.pick(0, 1, 30), shape))
            values /= values.sum(0)
        return self.laid(values, self.pick(np.float32, np.float32, np.float64, np.float16))

    def image(self, shape: tuple[int, ...]) -> np.ndarray:
        """(*shape) or (*shape, C), colours in 0..255, seldom other numbers."""
        whole = self.odd((*shape, self.pick(1, 3, 3, 4, 9)), shape, (*shape, 0), share=0.2)
        if self.chance(0.3):
            return self.array(self.bent(whole))
        return self.laid(self.rng.integers(0, 256, self.bent(whole)), self.pick(np.uint8, np.float32, np.int64))


def upsample(dice: Dice) -> Call:
    axes = dice.odd(2, 3, share=0.15)
    classes = dice.odd(dice.whole(1, 20), 255, 256, 257, 300, share=0.05)
    shape = dice.bent((dice.odd(1, 2, 0), classes, *dice.shape(axes, 12 if axes == 2 else 4)))
    values = dice.odd(dice.array(shape), np.full(shape, 3e38), np.full(shape, -1e300), share=0.02)
    if values.dtype.kind in "UO" or not values.dtype.isnative:
        values = values.astype("f4", copy=True) if values.dtype.kind == "f" else np.zeros(shape)
    logits = torch.from_numpy(np.ascontiguousarray(values).copy())
    if values.dtype == np.float32 and dice.chance(0.1):
        logits = logits.to(torch.bfloat16)
    if logits.ndim == 4 and dice.chance(0.3):
        logits = dice.pick(
            lambda: logits.to(memory_format=torch.channels_last), lambda: logits.mT.contiguous().mT,
            lambda: logits.repeat_interleave(2, -1)[..., ::2],
            lambda: logits.requires_grad_(logits.is_floating_point()),
        )()  # fmt: skip
    cells = tuple(logits.shape[2:])
    scale = dice.pick(1, 2, 3, 4, 5, 8)
    size = tuple(n * scale for n in cells) if dice.chance(0.5) else dice.shape(axes, 40 if axes == 2 else 8)
    size = dice.odd(size, size[1:], (*size, 2), tuple(-n for n in size), share=0.02)
    crop = None
    if len(size) == 2 and dice.chance(0.4):
        top, left = (dice.whole(0, max(n, 1)) for n in size)
        crop = (top, left, dice.whole(0, max(size[0] - top, 0)), dice.whole(0, max(size[1] - left, 0)))
        crop = dice.odd(crop, (-1, *crop[1:]), (*crop[:3], crop[3] + 1), (*crop[:2], 1, -1))
        size = dice.odd(size, (size[0], cells[-1] * 2**30 if cells else 9), (2**40, size[1]), share=0.01)
    confident, corners = dice.chance(0.5), dice.chance(0.2)
    function = upsample_confidence if confident else upsample_argmax

    def sound(answer: Any) -> bool:
        labels, sure = answer if confident else (answer, None)
        wanted = (len(logits), *(crop[2:] if crop else size))
        fits = labels.shape == wanted and labels.dtype == (torch.uint8 if logits.shape[1] <= 256 else torch.uint16)
        fits &= not labels.numel() or int(labels.to(torch.int32).max()) < logits.shape[1]
        if sure is None:
            return fits
        return fits and sure.shape == wanted and sure.dtype == torch.float32 and bool(((sure > 0) & (sure <= 1)).all())

    return Call(lambda: function(logits, size, align_corners=corners, crop=crop), sound, dice.finite)


def blending(dice: Dice) -> Call:
    classes = dice.odd(dice.whole(1, 12), 257, 300, share=0.02)
    size = (dice.odd(dice.whole(1, 12), 0, -3, share=0.02), dice.odd(dice.whole(1, 24), 0, share=0.02))
    window = (dice.odd(dice.whole(1, 9), 0, -1, 50, share=0.05), dice.odd(dice.whole(1, 20), 0, 50, share=0.05))
    overlap = dice.odd(float(dice.rng.uniform(0, 0.9)), 0.0, 1.0, -0.5, np.nan, 1 - 1e-12, share=0.1)
    offsets = dice.odd(None, dice.numbers((classes,)), dice.numbers(dice.bent((classes,))), np.zeros(0), share=0.4)
    by_pixel, dtype = dice.chance(0.5), dice.odd(np.float32, np.float16, np.float64, np.uint8, ">f4", share=0.2)
    flaw, record = dice.odd(1.0, 0.5, share=0.1), dice.chance(0.05)
    hold = dice.numbers((classes, 24, 24))
    spoilt, finite = dice, dice.finite and dtype != np.float16  # larger numbers are infinite there
    told: list[int] = []

    def predict(top: int, left: int, height: int, width: int) -> np.ndarray:
        shape = (classes, height, width)
        if flaw < 1 and spoilt.chance(0.5):
            shape = spoilt.bent(shape)
        told.append(shape[0] if shape else 0)  # it alone says how many classes there are
        with np.errstate(invalid="ignore"):
            values = np.resize(hold, shape).astype(dtype)
        if record:  # numbers with gaps between them that are not whole numbers
            packed = np.zeros(shape, [("gap", "u1"), ("value", "f4")])
            packed["value"] = values
            return packed["value"]
        if by_pixel and values.ndim == 3:
            return np.ascontiguousarray(values.transpose(1, 2, 0)).transpose(2, 0, 1)
        return spoilt.laid(values)

    weights = dice.odd(dice.pick("gaussian", "uniform"), "none", share=0.02)
    means = dice.chance(0.3)

    def run() -> list[tuple[int, np.ndarray]]:
        if means:
            return list(blend(predict, size, window, overlap, weights))
        return list(blend_labels(predict, size, window, overlap, weights, offsets))

    def sound(bands: list[tuple[int, np.ndarray]]) -> bool:
        whole = np.concatenate([band for _, band in bands], 1 if means else 0)
        tops = np.cumsum([0, *(band.shape[1 if means else 0] for _, band in bands)])[:-1].tolist()
        if means:
            fits = whole.shape == (told[0], *size) and whole.dtype == np.float32
            return fits and tops == [top for top, _ in bands] and (not finite or bool(np.isfinite(whole).all()))
        fits = whole.shape == size and whole.dtype == (np.uint8 if told[0] <= 256 else np.uint16)
        return fits and int(whole.max()) < told[0]

    return Call(run, sound, finite)


def pairs(dice: Dice) -> Call:
    classes = dice.odd(dice.whole(1, 6), 0, -1, -3, 255, 300, share=0.05)
    ignore = dice.odd(255, -1, 0, 300, 2**40, 2**70, share=0.1)
    shape = dice.odd(dice.shape(dice.whole(0, 3)), (300,), (70_000,) if dice.chance(0.05) else (256,), share=0.15)
    truth, prediction = dice.labels(shape, classes, ignore), dice.labels(dice.bent(shape), classes)

    def sound(table: np.ndarray) -> bool:
        counted = int((truth != ignore).sum()) if abs(ignore) < 2**60 else truth.size
        return table.shape == (classes, classes + 1) and table.dtype == np.int64 and int(table.sum()) == counted

    return Call(lambda: count_pairs(truth, prediction, classes, ignore), sound)


def translation(dice: Dice) -> Call:
    count = dice.odd(dice.whole(1, 5), 254, 255, 256, 300, share=0.05)
    labels = LabelSet.numbered([str(k) for k in range(count)])
    mask = dice.labels(dice.shape(dice.whole(1, 3), 20), count, labels.ignore_index)
    strict = dice.chance(0.5)

    def sound(indices: np.ndarray) -> bool:
        inside = (indices < count) | (indices == labels.ignore_index)
        return indices.shape == mask.shape and indices.dtype == labels.dtype and bool(inside.all())

    return Call(lambda: labels.to_indices(mask) if strict else labels.to_classes(mask), sound)


def resampling(dice: Dice) -> Call:
    n, classes = dice.odd(dice.whole(1, 12), 0), dice.whole(1, 4)
    counts = dice.laid(dice.rng.integers(0, 100, dice.bent((n, 3, classes))), dice.pick(np.int64, np.int64, np.int32))
    block = dice.odd(dice.whole(1, 4), 0, -1, n, n + 1, share=0.2)
    draws, seed = dice.odd(dice.whole(1, 9), 0, -2), int(dice.rng.integers(99))
    if dice.chance(0.3):
        other = dice.laid(dice.rng.integers(0, 100, dice.bent(counts.shape)))
        return Call(
            lambda: compare([counts], [other], resamples=draws, block=block, seed=seed), lambda found: 0 <= found.p <= 1
        )
    return Call(
        lambda: bootstrap(counts, resamples=draws, block=block, seed=seed),
        lambda scores: scores.shape == (draws,),
    )


def borders(dice: Dice) -> Call:
    classes, shape = dice.whole(1, 4), dice.shape(2, 12)
    truth, guess = dice.labels(shape, classes), dice.labels(dice.bent(shape), classes)
    tolerance = dice.odd(0.2, 0.0, 1e-9, 1e9, 1.0, share=0.2)
    metric = BoundaryF(classes, tolerance=tolerance)

    def sound(scores: np.ndarray) -> bool:
        return scores.shape == (3, classes) and bool((np.isnan(scores) | ((scores >= 0) & (scores <= 1))).all())

    return Call(lambda: metric.update(guess, truth), sound)


def matching(dice: Dice) -> Call:
    rows, columns = dice.whole(0, 8), dice.whole(0, 8)
    graph = dice.rng.random((rows, columns)) < dice.rng.random()
    indptr, indices = np.concatenate([[0], graph.sum(1).cumsum()]).astype(np.int64), np.nonzero(graph)[1]
    for part in (indptr, indices):
        if part.size and dice.chance(0.1):
            part[dice.rng.integers(part.size)] = dice.pick(-1, 0, 1, columns, 2**40, -(2**40))
    columns = dice.odd(columns, -1, 0, columns - 1)
    types = [dice.odd(np.int64, np.int32, np.uint64, np.float32, share=0.1) for _ in range(2)]
    parts = [dice.laid(part, dtype) for part, dtype in zip((indptr, indices), types, strict=True)]
    parts = [dice.odd(part, part[:-1], part[None], share=0.02) for part in parts]
    return Call(lambda: matching_size(*parts, columns), lambda size: 0 <= size <= min(rows, max(columns, 0)))


def features(dice: Dice, points: int, most: int = 8) -> np.ndarray:
    """(points, d), mostly within some widths."""
    shape = (points, dice.odd(dice.whole(1, most), 0, 9, share=0.02))
    if dice.chance(0.3):
        return dice.array(dice.bent(shape))
    return dice.laid(dice.rng.normal(dice.odd(0, 1e9, -1e6), dice.pick(0.1, 1, 10), shape), dice.pick("f4", "f8"))


def filtering(dice: Dice) -> Call:
    points, exact = dice.odd(dice.whole(1, 30), 0, 300, share=0.03), dice.chance(0.15)
    where, channels = features(dice, points), dice.odd(dice.whole(1, 9), 0, 24, 30, share=0.1)
    values, threads = dice.array(dice.bent((points, channels))), dice.odd(1, None, 2, 0, -1, share=0.1)
    adjoint, half = dice.chance(0.3), dice.chance(0.3)

    def run() -> np.ndarray:
        lattice = exact_lattice(where) if exact else build_lattice(where, threads=threads)
        return (lattice.adjoint if adjoint else lattice.filter)(values, half=half, threads=threads)

    def sound(answer: np.ndarray) -> bool:
        fits = answer.shape == values.shape and answer.dtype == np.float32
        return fits and (not dice.finite or bool(np.isfinite(answer).all()))

    return Call(run, sound, dice.finite)


def field(dice: Dice) -> Call:
    classes, shape = dice.odd(dice.whole(2, 9), 1, 0, 24, 25, share=0.05), dice.shape(dice.whole(1, 2), 5)
    pixels = int(np.prod(shape))
    unary = dice.array(dice.bent((classes, pixels)))
    unary = unary if unary.dtype.kind in "fiub" else unary.real if unary.dtype.kind == "c" else np.zeros(unary.shape)
    kernels = []
    for _ in range(dice.whole(0, 2)):
        weight = dice.pick(3.0, -1.0, dice.numbers((classes,)), dice.numbers(dice.bent((classes, classes))))
        kind = dice.odd(dice.pick("none", "mean", "before", "after", "symmetric"), "other")
        where = features(dice, dice.odd(pixels, pixels + 1, max(pixels - 1, 0)), 5)
        kernels.append(Kernel(where, weight, kind, dice.chance(0.5)))
    given = dice.odd(shape, None, (), dice.bent(shape), (-1, -pixels), (0,), share=0.15)
    exact, half, turns = dice.chance(0.15), dice.chance(0.3), dice.whole(0, 3)
    start = dice.odd(None, dice.probabilities((classes, pixels)), dice.numbers(dice.bent((classes, pixels))), share=0.1)
    numbers = start is None or start.dtype.kind not in "UO"
    finite = dice.finite and numbers and (start is None or bool(np.isfinite(start).all()))

    def run() -> np.ndarray:
        made = MeanField(unary, kernels, shape=given, exact=exact, half=half, threads=1)
        if start is not None:
            made.marginals = start
        made.run(turns)
        return made.marginals if dice.chance(0.5) else made.last_marginals()

    def sound(q: np.ndarray) -> bool:
        fits = q.shape == unary.shape and q.dtype == np.float32
        return fits and (not finite or bool(np.isfinite(q).all()))

    return Call(run, sound, finite)


def crf(dice: Dice) -> Call:
    shape, classes = dice.shape(dice.odd(2, 3, share=0.1), 5), dice.odd(dice.whole(2, 9), 1, 0, share=0.02)
    kind = dice.odd("probabilities", "logits", "energies", "other", share=0.2)
    given = dice.probabilities if kind == "probabilities" else dice.array
    values, image = given((classes, *shape)), dice.image(shape)
    options: dict[str, Any] = {}
    if dice.chance(0.5):
        widths = [dice.size() if dice.chance(0.3) else float(dice.whole(1, 30)) for _ in range(3)]
        weights = [dice.odd(3.0, 0.0, -1.0, dice.size(), 1e300, np.nan, share=0.2) for _ in range(2)]
        options = {"gaussian": (widths[0], weights[0]), "bilateral": (*widths[1:], weights[1])}
    options["spacing"] = dice.odd(None, (1.0,) * len(shape), (dice.size(),) * len(shape), (0.0, 1.0), share=0.1)
    options["normalisation"] = dice.odd(None, "none", "mean", "before", "after", "other", share=0.2)
    options |= {"self_term": dice.chance(0.5), "exact": dice.chance(0.1), "half": dice.chance(0.2)}
    options |= {"iterations": dice.odd(dice.whole(0, 2), -1), "threads": dice.odd(1, 2, 0, share=0.03), "unary": kind}

    def sound(q: np.ndarray) -> bool:
        fits = q.shape == values.shape and q.dtype == np.float32
        return fits and bool((np.abs(q.sum(0) - 1) < 1e-4).all()) and bool((q >= 0).all())

    return Call(lambda: dense_crf(values, image, **options), sound, dice.finite)


def grid(dice: Dice) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any], Callable[[np.ndarray], bool]]:
    """Probabilities, image and options of the Potts model, and whether labels are such."""
    axes = dice.odd(2, 3, share=0.15)
    shape = dice.shape(axes, 6 if axes == 2 else 3)
    classes = dice.odd(dice.whole(2, 6), 1, 0, 257, share=0.03)
    values, image = dice.probabilities((classes, *shape)), dice.odd(None, dice.image(shape), share=0.6)
    options = {
        "smoothness": dice.odd(1.0, 0.0, dice.size(), -1.0, np.nan, 1e4, share=0.3),
        "neighbours": dice.odd(None, 4, 8, 6, 26, 5, share=0.4),
        "spacing": dice.odd(None, (1.0,) * axes, (dice.size(),) * axes, (1.0,), share=0.1),
        "beta": dice.odd(None, dice.size(), 1e-300, 1e300, 1e-44, 0.0, np.nan, share=0.3),
        "clip": dice.odd(1e-5, 1e-30, 0.5, 0.0, share=0.1),
    }

    def sound(labels: np.ndarray) -> bool:
        fits = labels.shape == values.shape[1:] and labels.dtype == (np.uint8 if len(values) <= 256 else np.uint16)
        return fits and int(labels.max()) < len(values)

    return values, image, options, sound


def cuts(dice: Dice) -> Call:
    values, image, options, sound = grid(dice)
    options |= {"method": dice.odd("expansion", "swap", "other", share=0.3), "cycles": dice.odd(None, 1, 0, share=0.1)}
    rounds = dice.odd(dice.whole(0, 3), -1)
    if len(values) > 20:
        options |= {"method": "expansion", "cycles": 1}
    return Call(lambda: graph_cut(values, image, rounds=rounds, **options), sound, dice.finite)


def modes(dice: Dice) -> Call:
    values, image, options, sound = grid(dice)
    sweeps = dice.odd(None, 1, 2, 0, -1, share=0.2)
    return Call(lambda: icm(values, image, sweeps=sweeps, **options), sound, dice.finite)


def messages(dice: Dice) -> Call:
    values, image, options, sound = grid(dice)
    rounds, gap = dice.odd(dice.whole(1, 3), 0, -1), dice.odd(1e-6, 0.0, -1.0, np.nan, 1e9)
    return Call(
        lambda: trws(values, image, rounds=rounds, gap=gap, **options),
        lambda found: sound(found.labels) and bool(np.isfinite([found.energy, *found.bounds]).all()),
        dice.finite,
    )


def flow(dice: Dice) -> Call:
    """A sound graph: `cut` is the kernel itself, which `graph_cut` alone calls."""
    count = dice.whole(1, 12)
    ends = np.triu(dice.rng.random((count, count)) < dice.rng.random(), 1).nonzero()
    most = dice.pick(1, 5, 2**30 // (2 * count + 2))
    heads, tails = np.concatenate(ends), np.concatenate(ends[::-1])
    order = np.argsort(heads, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    nodes, arcs = np.zeros(count + 1, NODE), np.zeros(len(order), ARC)
    nodes["first"] = np.searchsorted(heads[order], np.arange(count + 1))
    nodes["term"][:-1] = dice.rng.integers(-most, most + 1, count)
    arcs["head"], arcs["residual"] = tails[order], dice.rng.integers(0, most + 1, len(order))
    arcs["back"] = place[(order + len(order) // 2) % max(len(order), 1)]
    given, taken = (int(np.maximum(sign * nodes["term"].astype(np.int64), 0).sum()) for sign in (1, -1))
    return Call(lambda: cut(nodes, arcs), lambda sent: 0 <= sent <= min(given, taken))


def png(dice: Dice) -> Call:
    height, width = dice.odd(dice.whole(1, 9), 0, 70, 200, share=0.05), dice.odd(dice.whole(1, 20), 0, share=0.02)
    lines = dice.rng.integers(0, dice.pick(2, 256), (height, width + 1)).astype(np.uint8)
    lines[:, 0] = dice.rng.integers(0, dice.odd(5, 6), height)
    told = (dice.odd(width, width + 1, max(width - 1, 0), 2**31), dice.odd(height, height + 1, 2**20, share=0.02))
    body = bytearray(zlib.compress(lines.tobytes()[: dice.odd(lines.size, lines.size // 2)]))
    if dice.chance(0.1):
        body[dice.rng.integers(len(body))] ^= 1 << int(dice.rng.integers(8))
    data = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", *told, dice.odd(8, 1, 16), dice.pick(0, 3), 0, 0, dice.odd(0, 1))
    cuts = sorted({0, *dice.rng.integers(0, len(body) + 1, dice.whole(0, 2)).tolist(), len(body)})
    parts = [(b"IHDR", head), *((b"IDAT", bytes(body[a:b])) for a, b in pairwise(cuts)), (b"IEND", b"")]
    for name, content in parts:
        data += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    data = data[: dice.odd(len(data), dice.whole(0, len(data)))]
    return Call(
        lambda: decode_bytes(data),
        lambda found: found is None or (found.shape == (told[1], told[0]) and found.dtype == np.uint8),
    )


def copies(dice: Dice) -> Call:
    n = dice.odd(dice.whole(1, 4), 0)
    thumbs = dice.rng.integers(0, dice.pick(2, 256), (n, *dice.odd((32, 32), (31, 32), (8, 8), (32,))))
    if n > 1 and dice.chance(0.5):
        thumbs[-1] = dice.pick(thumbs[0], 7)
    sides = dice.rng.integers(0, 2, dice.odd(n, n + 1, max(n - 1, 0)))
    pictures, splits = dice.laid(thumbs, dice.odd(np.uint8, np.int64, np.float32)), dice.laid(sides)
    return Call(
        lambda: alike_pairs(pictures, splits),
        lambda found: all(0 <= one.first < one.second < n and 0 <= one.form < 8 for one in found),
    )


def volumes(dice: Dice) -> Call:
    shape = dice.shape(3, 7)
    size = tuple(dice.odd(dice.whole(1, 12), 0, -1, share=0.01) for _ in range(3))
    size = dice.odd(size, size[1:], (*size, 2), (2**20, 1, 1), share=0.02)
    if dice.chance(0.5):
        labels, orders = dice.labels(dice.bent(shape), 4), [dice.odd(dice.pick(0, 1), 3, 2) for _ in range(3)]
        return Call(
            lambda: resample_labels(labels, size, orders),
            lambda found: found.shape == size and found.dtype == labels.dtype and set(found.flat) <= set(labels.flat),
        )
    array, orders = (
        dice.array(dice.bent((dice.whole(1, 2), *shape))),
        [dice.odd(dice.pick(0, 1, 3), 2) for _ in range(3)],
    )

    def sound(found: np.ndarray) -> bool:
        fits = found.shape == (len(array), *size) and found.dtype == np.float32
        return fits and (not dice.finite or bool(np.isfinite(found).all()))

    return Call(lambda: resample(array, size, orders), sound, dice.finite)


def surfaces(dice: Dice) -> Call:
    axes, classes = dice.odd(dice.whole(1, 3), 4, 0, share=0.05), dice.whole(1, 4)
    shape = dice.shape(axes)
    target, prediction = dice.labels(shape, classes), dice.labels(dice.bent(shape), classes)
    asked = dice.odd(range(classes), [0, 0], [], [255, 0, 2**31], [-1, 2**64], range(256), share=0.2)
    spacing = dice.odd(tuple(dice.size() for _ in shape), None, (1.0,), (0.0,) * axes, (np.nan,) * axes, share=0.3)
    ignore = dice.odd(255, None, 0, -1, 2**40, share=0.4)

    def sound(found: dict[int, SurfaceScores]) -> bool:
        sizes = [(len(one.forth), len(one.back)) for one in found.values()]
        fits = list(found) == list(asked) and all(max(pair) <= target.size for pair in sizes)
        return fits and all(
            one.empty or (one.total_miss and one.hausdorff() == np.inf) or 0 <= one.hd95() <= one.hausdorff() < np.inf
            for one in found.values()
        )

    return Call(lambda: label_surface_scores(prediction, target, asked, spacing, ignore_index=ignore), sound)


CALLS: dict[str, Callable[[Dice], Call]] = {
    one.__name__: one
    for one in (
        upsample, blending, pairs, translation, resampling, borders, matching, filtering, field, crf, cuts, modes,
        messages, flow, png, copies, volumes, surfaces,
    )
}  # fmt: skip
NAMES = tuple(CALLS)


def attack(seed: int, number: int) -> tuple[str, str]:
    """(kind of call, what came of it): "answer", "refused", or a text that begins with "wrong"."""
    dice, name = Dice(seed, number), NAMES[number % len(NAMES)]
    call = CALLS[name](dice)
    began = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if call.finite:
                warnings.simplefilter("error", RuntimeWarning)
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
            answer = call.run()
    except Exception as error:
        return name, "refused" if is_ours(error) else "wrong error: " + traceback.format_exc(limit=-4)
    if time.process_time() - began > SLOW:  # it compiled, or it is slow each time
        again, began = CALLS[name](Dice(seed, number)), time.process_time()
        again.run()
        if (seconds := time.process_time() - began) > SLOW:
            return name, f"wrong: {seconds:.1f} s"
    try:
        sound = call.sound(answer)
    except Exception as error:
        return name, f"wrong answer: {error!r} of {repr(answer)[:300]}"
    return name, "answer" if sound else f"wrong answer: {repr(answer)[:300]}"


def is_ours(error: Exception) -> bool:
    """Whether an error is one of this package's: its own type, or raised by a `raise` of its own with words."""
    if isinstance(error, AtrousError | zlib.error):
        return True
    frame = traceback.extract_tb(error.__traceback__)[-1]
    raised = linecache.getline(frame.filename, frame.lineno or 0).strip().startswith("raise ")
    return isinstance(error, ValueError | TypeError) and raised and "atrous" in Path(frame.filename).parts


def make_calls(seed: int, first: int, end: int, place: Path | None = None) -> dict[str, Any]:
    """Tally of calls FIRST..END-1 by kind and outcome, and what was wrong; `place` holds the number of the call."""
    tally: dict[str, Counter[str]] = {name: Counter() for name in NAMES}
    wrong = []
    for number in range(first, end):
        if place is not None:
            place.write_text(str(number))
        name, outcome = attack(seed, number)
        tally[name][outcome.split(":")[0]] += 1
        if outcome.startswith("wrong"):
            wrong.append(f"seed {seed}, call {number} ({name}): {outcome}")
    return {"tally": tally, "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("seed", "first", "end"):
        parser.add_argument(name, type=int)
    parser.add_argument("place", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(make_calls(options.seed, options.first, options.end, options.place)))


if __name__ == "__main__":
    sys.exit(main())
