"""Labels straight from low-resolution logits: linear upsampling and argmax in one pass, no (K, H, W) tensor.

Each output row needs two rows of logits, lerped once into a band (K, w). Where the width is a whole multiple of w, all
pixels of one phase x mod scale share their two weights, so that eight neighbouring cells are lerped and compared as one
vector, class by class (`_by_phase`). Any other width, and corners that are aligned, take eight classes as one vector,
pixel by pixel (`_by_pixel`). Ties go to the lowest class. On other devices than the CPU plain torch does the same, a
band of classes at a time.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from numba import njit, prange

from atrous.ops.resize import resize
from atrous.ops.threads import Team, available
from atrous.ops.vectors import (
    WIDTH,
    choose,
    exp,
    larger,
    load,
    multiply_add,
    padded,
    spread,
    store,
    store_bytes,
    winner,
)
from atrous.ops.vectors import (
    total as sum_of,
)

try:  # torch's own threads, still awake from the network; others would share the cores with them
    from numba.np.ufunc import omppool  # type: ignore[attr-defined]  # noqa: F401

    OPENMP = True
    numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]  # type: ignore[attr-defined]
except ImportError:  # numba's own layer aborts the process under concurrent calls
    OPENMP = False

BAND = 48_000
"""Numbers of a band that stay in the second cache."""

Crop = tuple[int, int, int, int]


def upsample_argmax(
    logits: torch.Tensor, size: tuple[int, ...], *, align_corners: bool = False, crop: Crop | None = None
) -> torch.Tensor:
    """The class of every pixel of linearly resized logits: (N, K, h, w) -> (N, H, W) uint8 (uint16 when K > 256).

    size: (H, W) of the resized logits; crop: (top, left, height, width) of the part wanted, counted in resized pixels.
    Volumes, (N, K, d, h, w) and (D, H, W), are resized trilinearly -> (N, D, H, W); they take no crop.
    Equals `interpolate(logits, size, mode="bilinear", align_corners=...).argmax(1)` apart from ties at rounding.
    """
    return _upsample(logits, size, align_corners, crop, confident=False)[0]


def upsample_confidence(
    logits: torch.Tensor, size: tuple[int, ...], *, align_corners: bool = False, crop: Crop | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The labels of `upsample_argmax`, and the probability of each, its softmax in 0..1, float32 of the same shape."""
    return _upsample(logits, size, align_corners, crop, confident=True)


def upsample_threshold(
    logits: torch.Tensor,
    size: tuple[int, ...],
    threshold: float | torch.Tensor = 0.5,
    *,
    align_corners: bool = False,
    crop: Crop | None = None,
) -> torch.Tensor:
    """Where the sigmoid of linearly resized logits is over `threshold`: (N, K, h, w) -> (N, K, H, W) bool, multilabel.

    threshold: in 0..1, or (K,) of them. One class at a time: no (K, H, W) tensor of floats.
    """
    _check(logits, size, crop)
    levels = torch.as_tensor(threshold, dtype=torch.float32).logit().expand(logits.shape[1]).to(logits.device)
    masks = []
    for k, level in enumerate(levels):
        plane = resize(logits[:, k : k + 1].float(), tuple(size), align_corners=align_corners)
        masks.append(_cut(plane, crop) > level)
    return torch.cat(masks, 1)


def _upsample(
    logits: torch.Tensor, size: tuple[int, ...], align_corners: bool, crop: Crop | None, confident: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    _check(logits, size, crop)
    dtype = torch.uint8 if logits.shape[1] <= 256 else torch.uint16
    if logits.device.type != "cpu":
        pairs = [_by_classes(one[None], tuple(size), align_corners, crop, confident) for one in logits]
        return torch.cat([a for a, _ in pairs]).to(dtype), torch.cat([b for _, b in pairs])
    source = logits.detach().float().numpy()
    labels = np.empty((len(source), *_shape(size, crop)), np.uint8 if dtype == torch.uint8 else np.uint16)
    confidence = np.empty(labels.shape if confident else (len(source), 0, 0), np.float32)
    for one, label, sure in zip(source, labels, confidence, strict=True):
        if one.ndim == 3:
            _plane(one, (size[0], size[1]), align_corners, crop, label, sure)
            continue
        below, above, weights = _taps(one.shape[1], size[0], align_corners, 0, size[0])
        for z, (a, b, t) in enumerate(zip(below, above, weights, strict=True)):
            slab = one[:, a] + t * (one[:, b] - one[:, a])  # (K, h, w)
            _plane(slab, (size[1], size[2]), align_corners, None, label[z], sure[z] if confident else sure)
    return torch.from_numpy(labels), torch.from_numpy(confidence)


def _check(logits: torch.Tensor, size: tuple[int, ...], crop: Crop | None) -> None:
    axes = logits.ndim - 2
    if axes not in (2, 3) or 0 in logits.shape or len(size) != axes or min(size) < 1:
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}, to be resized to {tuple(size)}; expected (N, K, h, w) and "
            "(H, W), or (N, K, d, h, w) and (D, H, W), with no empty axis"
        )
    if crop is None:
        return
    top, left, height, width = crop
    if axes != 2 or min(crop) < 0 or top + height > size[0] or left + width > size[1]:
        raise ValueError(f"crop {crop} leaves the resized logits of size {tuple(size)}")


def _shape(size: tuple[int, ...], crop: Crop | None) -> tuple[int, ...]:
    return tuple(size) if crop is None else crop[2:]


def _cut(x: torch.Tensor, crop: Crop | None) -> torch.Tensor:
    return x if crop is None else x[..., crop[0] : crop[0] + crop[2], crop[1] : crop[1] + crop[3]]


def _plane(
    logits: np.ndarray,
    size: tuple[int, int],
    align_corners: bool,
    crop: Crop | None,
    labels: np.ndarray,
    confidence: np.ndarray,
) -> None:
    """(K, h, w) -> labels (H, W), and their probabilities where `confidence` is not empty, both written in place."""
    classes, h, w = logits.shape
    top, left, height, width = crop or (0, 0, *size)
    rows = _taps(h, size[0], align_corners, top, height)
    if size[1] % w == 0 and not align_corners:
        offsets, weights, places = _phases(size[1] // w)
        tile = max(WIDTH, min(padded(w), BAND // classes // WIDTH * WIDTH))
        source = np.ascontiguousarray(logits)
        _split(_by_phase, _all_by_phase, source, *rows, offsets, weights, places, tile, left, labels, confidence)
    else:
        source = np.full((h, w, padded(classes)), np.finfo(np.float32).min, np.float32)
        source[:, :, :classes] = logits.transpose(1, 2, 0)
        columns = _taps(w, size[1], align_corners, left, width)
        _split(_by_pixel, _all_by_pixel, source, *rows, *columns, labels, confidence)


def _split(kernel: Callable[..., None], parallel: Callable[..., None], *arguments: Any) -> None:
    """The kernel on equal parts of the rows, one a thread: as many as torch has."""
    threads, height = torch.get_num_threads(), len(arguments[1])
    if not OPENMP:
        with Team(min(available(), threads)) as team:
            team.split(height, kernel, *arguments)
        return
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    parallel(*arguments, np.linspace(0, height, min(threads, height) + 1).astype(np.int64))
    if torch.get_num_threads() != threads:  # numba's first launch sets OpenMP's count, which is torch's too
        torch.set_num_threads(threads)


def _taps(n: int, size: int, align_corners: bool, start: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per output position: lower and upper source index and the weight of the upper one, in torch's convention."""
    index = np.arange(start, start + count, dtype=np.float32)
    if align_corners:
        centre = index * np.float32((n - 1) / (size - 1) if size > 1 else 0)
    else:
        centre = np.maximum((index + np.float32(0.5)) * np.float32(n / size) - np.float32(0.5), 0)
    low = np.minimum(centre.astype(np.int64), n - 1)
    return low, np.minimum(low + 1, n - 1), (centre - low).astype(np.float32)


def _phases(scale: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per slot: whether it lerps from the cell before (0) or its own (1) on, by how much; and the slot of each phase.

    Slots come in pairs that start at the same cell, and in fours; a phase fills two of them where it stays alone.
    """
    positions = (np.arange(scale) + 0.5) / scale
    slots: list[int] = []
    for side in (np.flatnonzero(positions < 0.5), np.flatnonzero(positions >= 0.5)):
        slots += [*side, *side[len(side) - len(side) % 2 :]]
    slots += slots[: -len(slots) % 4]
    places = np.array([slots.index(phase) for phase in range(scale)])
    offsets = (positions[slots] >= 0.5).astype(np.uint64)
    return offsets, (positions[slots] + 0.5 - offsets).astype(np.float32), places


@njit(nogil=True, cache=True, fastmath={"contract"})
def _by_phase(  # type: ignore[no-untyped-def]
    logits, row0, row1, rweight, offsets, weights, places, tile, left, labels, confidence, first, last
):
    """Rows first..last - 1. A band's row is `span` long: the cell before the tile, the tile, and the one behind."""
    classes, _, source = logits.shape
    width, groups, scale = labels.shape[1], len(offsets) // 4, len(places)
    span = tile + 2 * WIDTH
    band, words = np.zeros(classes * span, np.float32), np.zeros(groups * span, np.uint32)
    many = classes > 256
    winners = np.zeros(4 * groups * span if many else 0, np.float32)
    sure = np.zeros(4 * groups * span if confidence.size else 0, np.float32)
    bytes_of = words.view(np.uint8)
    one, nothing, step = spread(np.float32(1)), spread(np.float32(0)), np.uint64(span)
    whole = left == 0 and scale % 4 == 0 and width == source * scale and not many
    for start in range(0, source, tile):
        cells = min(tile, source - start)
        for y in range(first, last):
            _lerp_rows(logits[:, row0[y]], logits[:, row1[y]], rweight[y], start, cells, span, band)
            for group in range(groups):
                o, p = offsets[4 * group], offsets[4 * group + 2]
                t0, t1 = spread(weights[4 * group]), spread(weights[4 * group + 1])
                t2, t3 = spread(weights[4 * group + 2]), spread(weights[4 * group + 3])
                for i in range(0, cells, WIDTH):
                    at = np.uint64(i)
                    a, b = load(band, at + o), load(band, at + p)
                    d, e = load(band, at + o + np.uint64(1)) - a, load(band, at + p + np.uint64(1)) - b
                    m0, m1 = multiply_add(t0, d, a), multiply_add(t1, d, a)
                    m2, m3 = multiply_add(t2, e, b), multiply_add(t3, e, b)
                    w0, w1, w2, w3, k = nothing, nothing, nothing, nothing, nothing
                    for _ in range(1, classes):
                        at += step
                        k = k + one
                        a = load(band, at + o)
                        d = load(band, at + o + np.uint64(1)) - a
                        x = multiply_add(t0, d, a)
                        w0, m0 = choose(x, m0, k, w0), larger(x, m0)
                        x = multiply_add(t1, d, a)
                        w1, m1 = choose(x, m1, k, w1), larger(x, m1)
                        b = load(band, at + p)
                        e = load(band, at + p + np.uint64(1)) - b
                        x = multiply_add(t2, e, b)
                        w2, m2 = choose(x, m2, k, w2), larger(x, m2)
                        x = multiply_add(t3, e, b)
                        w3, m3 = choose(x, m3, k, w3), larger(x, m3)
                    slot = np.uint64(group * span + i)
                    if many:
                        slot = np.uint64(4 * group * span + i)
                        store(winners, slot, w0)
                        store(winners, slot + step, w1)
                        store(winners, slot + step + step, w2)
                        store(winners, slot + step + step + step, w3)
                    else:
                        store_bytes(words, slot, w0, w1, w2, w3)
                    if confidence.size:
                        at, s0, s1, s2, s3 = np.uint64(i), nothing, nothing, nothing, nothing
                        for _ in range(classes):
                            a, b = load(band, at + o), load(band, at + p)
                            d, e = load(band, at + o + np.uint64(1)) - a, load(band, at + p + np.uint64(1)) - b
                            s0, s1 = s0 + exp(multiply_add(t0, d, a) - m0), s1 + exp(multiply_add(t1, d, a) - m1)
                            s2, s3 = s2 + exp(multiply_add(t2, e, b) - m2), s3 + exp(multiply_add(t3, e, b) - m3)
                            at += step
                        slot = np.uint64(4 * group * span + i)
                        store(sure, slot, s0)
                        store(sure, slot + step, s1)
                        store(sure, slot + step + step, s2)
                        store(sure, slot + step + step + step, s3)
            if whole:
                row = labels[y].view(np.uint32)
                for group in range(groups):
                    for i in range(cells):
                        row[(start + i) * groups + group] = words[group * span + i]
            for phase in range(scale):
                slot = places[phase]
                for i in range(cells):
                    x = (start + i) * scale + phase - left
                    if 0 <= x < width:
                        if many:
                            labels[y, x] = winners[slot * span + i]
                        elif not whole:
                            labels[y, x] = bytes_of[4 * (slot // 4 * span + i) + slot % 4]
                        if confidence.size:
                            confidence[y, x] = np.float32(1) / sure[slot * span + i]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _lerp_rows(upper, lower, weight, start, cells, span, band):  # type: ignore[no-untyped-def]
    """band[k, 1 + i] = cell start + i of the lerped row of class k, i = -1..cells; the image's edge is repeated."""
    classes, source = upper.shape
    begin, end, t = max(start - 1, 0), min(start + cells + 1, source), spread(weight)
    for k in range(classes):
        a, b, to = upper[k], lower[k], k * span + 1 - start
        i = begin
        while i + WIDTH <= end:
            x = load(a, np.uint64(i))
            store(band, np.uint64(to + i), multiply_add(t, load(b, np.uint64(i)) - x, x))
            i += WIDTH
        while i < end:
            band[to + i] = a[i] + weight * (b[i] - a[i])
            i += 1
        if begin == start:
            band[to + begin - 1] = band[to + begin]
        if end == source:
            band[to + end] = band[to + end - 1]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _by_pixel(logits, row0, row1, rweight, col0, col1, cweight, labels, confidence, first, last):  # type: ignore[no-untyped-def]
    """Rows first..last - 1 from logits (h, w, classes padded to whole vectors)."""
    _, source, classes = logits.shape
    band, flat = np.empty(source * classes, np.float32), logits.reshape(-1)
    eight, start = spread(np.float32(WIDTH)), np.arange(WIDTH).astype(np.float32)
    for y in range(first, last):
        a, b, t = row0[y] * source * classes, row1[y] * source * classes, spread(rweight[y])
        for i in range(0, source * classes, WIDTH):
            x = load(flat, np.uint64(a + i))
            store(band, np.uint64(i), multiply_add(t, load(flat, np.uint64(b + i)) - x, x))
        for column in range(labels.shape[1]):
            a, b, t = col0[column] * classes, col1[column] * classes, spread(cweight[column])
            x = load(band, np.uint64(a))
            best = multiply_add(t, load(band, np.uint64(b)) - x, x)
            index = load(start, np.uint64(0))
            chosen = index
            for k in range(WIDTH, classes, WIDTH):
                x = load(band, np.uint64(a + k))
                x = multiply_add(t, load(band, np.uint64(b + k)) - x, x)
                index = index + eight
                chosen, best = choose(x, best, index, chosen), larger(x, best)
            most, label = winner(best, chosen)
            labels[y, column] = label
            if confidence.size:
                lanes, total = spread(most), spread(np.float32(0))
                for k in range(0, classes, WIDTH):
                    x = load(band, np.uint64(a + k))
                    total = total + exp(multiply_add(t, load(band, np.uint64(b + k)) - x, x) - lanes)
                confidence[y, column] = np.float32(1) / sum_of(total)


@njit(nogil=True, cache=True, parallel=OPENMP)
def _all_by_phase(logits, row0, row1, rweight, offsets, weights, places, tile, left, labels, confidence, bounds):  # type: ignore[no-untyped-def]
    for part in prange(len(bounds) - 1):
        a, b = bounds[part], bounds[part + 1]
        _by_phase(logits, row0, row1, rweight, offsets, weights, places, tile, left, labels, confidence, a, b)


@njit(nogil=True, cache=True, parallel=OPENMP)
def _all_by_pixel(logits, row0, row1, rweight, col0, col1, cweight, labels, confidence, bounds):  # type: ignore[no-untyped-def]
    for part in prange(len(bounds) - 1):
        a, b = bounds[part], bounds[part + 1]
        _by_pixel(logits, row0, row1, rweight, col0, col1, cweight, labels, confidence, a, b)


def _by_classes(
    logits: torch.Tensor,
    size: tuple[int, ...],
    align_corners: bool,
    crop: Crop | None,
    confident: bool,
    budget: int = 1 << 26,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same in plain torch on any device, a band of classes at a time: at most `budget` values exist at once."""
    step = max(1, budget // int(np.prod(size)))
    best = label = total = None
    for first in range(0, logits.shape[1], step):
        part = _cut(resize(logits[:, first : first + step].float(), size, align_corners=align_corners), crop)
        value, index = part.max(1)
        mass = part.logsumexp(1) if confident else value
        if best is None or label is None or total is None:
            best, label, total = value, index, mass
        else:
            better = value > best
            best, label = torch.where(better, value, best), torch.where(better, index + first, label)
            total = torch.logaddexp(total, mass) if confident else total
    assert best is not None
    assert label is not None
    assert total is not None
    return label, (best - total).exp() if confident else best[:, :0, :0]
