"""Labels straight from low-resolution logits: linear upsampling and argmax in one pass, no (K, H, W) tensor.

Each output row needs two rows of logits, lerped once into a band (K, w). Where the width is a whole multiple of w, all
pixels of one phase x mod scale share their two weights, so that eight neighbouring cells are lerped and compared as one
vector, class by class (`_by_phase`). Any other width, and corners that are aligned, take eight classes as one vector,
pixel by pixel (`_by_pixel`). Ties go to the lowest class. On other devices than the CPU plain torch does the same, a
band of classes at a time.
"""

import numpy as np
import torch

from atrous.ops.argmax_kernels import _all_by_phase, _all_by_pixel, _by_phase, _by_pixel
from atrous.ops.openmp import split_rows
from atrous.ops.resize import resize
from atrous.ops.vectors import WIDTH, padded

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
        split_rows(_by_phase, _all_by_phase, source, *rows, offsets, weights, places, tile, left, labels, confidence)
    else:
        source = np.full((h, w, padded(classes)), np.finfo(np.float32).min, np.float32)
        source[:, :, :classes] = logits.transpose(1, 2, 0)
        columns = _taps(w, size[1], align_corners, left, width)
        split_rows(_by_pixel, _all_by_pixel, source, *rows, *columns, labels, confidence)


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
