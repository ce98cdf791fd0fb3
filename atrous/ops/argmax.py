"""Labels straight from low-resolution logits: resizing and argmax in one pass, no (K, H, W) tensor.

A label map has a byte a pixel, full-size logits have 4 K. Writing and reading those takes most of
the time of `interpolate(...).argmax(1)`, so they are never made: `argmax_kernels` computes each row
from the two rows of logits around it. On devices other than the CPU torch does the same, a few
classes at a time. Of equal logits the lowest class wins.
"""

import numpy as np
import torch

from atrous.errors import ModelError
from atrous.ops.argmax_kernels import SLOTS, Phases, Taps, all_by_phase, all_by_pixel, by_phase, by_pixel
from atrous.ops.openmp import split_rows
from atrous.ops.resize import resize
from atrous.ops.tiles import MOST_CLASSES
from atrous.ops.vectors import WIDTH, padded

BAND = 48_000
"""Numbers of a band (one row of all classes) that stay in the second cache."""

FAR = 2.0**120
"""What stands for an infinite logit, and for larger ones: sums and differences of a few are finite in float32."""
MOST_PIXELS = 2**24
"""Of an axis: float32 tells whole numbers apart up to there."""
MOST_PHASES = 1024
"""Of more pixels to a cell the slots outgrow a cache; there eight cells at once gain nothing any more."""

Crop = tuple[int, int, int, int]
"""(top, left, height, width), in pixels of the resized logits."""


def upsample_argmax(
    logits: torch.Tensor, size: tuple[int, ...], *, align_corners: bool = False, crop: Crop | None = None
) -> torch.Tensor:
    """The class of every pixel of linearly resized logits.

    Equals `interpolate(logits, size, mode="bilinear", align_corners=...).argmax(1)`, apart from
    ties at rounding. A class of -inf never wins where another one has a number.

    Args:
        logits: (N, K, h, w), any floating type and device; or (N, K, d, h, w) of volumes.
        size: (H, W) in pixels that logits are resized to; (D, H, W) of volumes, trilinearly.
        align_corners: as in torch; False everywhere but for networks trained otherwise.
        crop: (top, left, height, width) of the part that is wanted, in pixels of the resized
            logits. Not for volumes.

    Returns:
        (N, H, W) or (N, D, H, W), uint8, uint16 when K > 256; with a crop (N, height, width).

    Raises:
        ValueError: an axis is empty or longer than 2^24, the numbers of axes differ, there are more
            than 65,536 classes, logits are complex, or the crop leaves the picture.
        ModelError: a logit is nan.

    Example:
        >>> import torch
        >>> upsample_argmax(torch.tensor([[[[0.0, 1]], [[1, 0]]]]), (1, 4))
        tensor([[[1, 1, 0, 0]]], dtype=torch.uint8)
    """
    return _upsample(logits, size, align_corners, crop, confident=False)[0]


def finite(logits: torch.Tensor) -> torch.Tensor:
    """Put large numbers in the place of infinite logits, between which a resize would give nan.

    Costs one sum where all logits are ordinary numbers, which are then returned as they are; but
    float64 as float32, beyond which they count as infinite.

    Raises:
        ModelError: a logit is nan.

    Example:
        >>> finite(torch.tensor([1.0, -torch.inf])).tolist()
        [1.0, -1.329227995784916e+36]
    """
    logits = logits.float() if logits.dtype == torch.float64 else logits
    # Finite float32 and bfloat16 may be too large as well: where their squares have a sum, none is above 2^64.
    half = logits.dtype == torch.float16 or not logits.is_floating_point()
    if torch.isfinite(logits.sum() if half else torch.linalg.vector_norm(logits)):
        return logits
    if torch.isnan(logits).any():
        raise ModelError(
            "the network answers nan: its weights are damaged, its training has diverged, or the picture's numbers are "
            "too large for it; train with a lower learning rate, or check the picture's units"
        )
    return logits.float().clamp(-FAR, FAR)


def upsample_confidence(
    logits: torch.Tensor, size: tuple[int, ...], *, align_corners: bool = False, crop: Crop | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The labels of `upsample_argmax`, and how probable each is.

    Args:
        logits, size, align_corners, crop: as for `upsample_argmax`.

    Returns:
        The labels, and the softmax of each pixel's label, in 1/K..1, float32 of the same shape.

    Raises:
        ValueError: as `upsample_argmax`.

    Example:
        >>> import torch
        >>> labels, confidence = upsample_confidence(torch.tensor([[[[0.0]], [[2.0]]]]), (1, 2))
        >>> labels.tolist(), [round(p, 3) for p in confidence[0, 0].tolist()]
        ([[[1, 1]]], [0.881, 0.881])
    """
    return _upsample(logits, size, align_corners, crop, confident=True)


def upsample_threshold(
    logits: torch.Tensor,
    size: tuple[int, ...],
    threshold: float | torch.Tensor = 0.5,
    *,
    align_corners: bool = False,
    crop: Crop | None = None,
) -> torch.Tensor:
    """Masks of multilabel logits: where the sigmoid of linearly resized logits is over a threshold.

    Classes are resized one at a time: there is no (K, H, W) tensor of floats.

    Args:
        logits, size, align_corners, crop: as for `upsample_argmax`.
        threshold: probability in 0..1, one number or (K,) of them.

    Returns:
        (N, K, H, W) or (N, K, D, H, W) bool.

    Raises:
        ValueError: as `upsample_argmax`.

    Example:
        >>> import torch
        >>> upsample_threshold(torch.tensor([[[[-1.0, 1]]]]), (1, 4), 0.3)
        tensor([[[[False,  True,  True,  True]]]])
    """
    _check(logits, size, crop)
    logits = finite(logits)
    levels = torch.as_tensor(threshold, dtype=torch.float32).logit().expand(logits.shape[1]).to(logits.device)
    masks = []
    for k, level in enumerate(levels):
        plane = resize(logits[:, k : k + 1].float(), tuple(size), align_corners=align_corners)
        masks.append(_cut(plane, crop) > level)
    return torch.cat(masks, 1)


def _upsample(
    logits: torch.Tensor, size: tuple[int, ...], align_corners: bool, crop: Crop | None, confident: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels and their probabilities; these are empty unless `confident`."""
    _check(logits, size, crop)
    logits = finite(logits.detach())
    dtype = torch.uint8 if logits.shape[1] <= 256 else torch.uint16
    if logits.device.type != "cpu":
        pairs = [_by_classes(one[None], tuple(size), align_corners, crop, confident) for one in logits]
        return torch.cat([a for a, _ in pairs]).to(dtype), torch.cat([b for _, b in pairs])
    source = logits.float().numpy()
    labels = np.empty((len(source), *_shape(size, crop)), np.uint8 if dtype == torch.uint8 else np.uint16)
    confidence = np.empty(labels.shape if confident else (len(source), 0, 0), np.float32)
    for one, label, sure in zip(source, labels, confidence, strict=True):
        if one.ndim == 3:
            _plane(one, (size[0], size[1]), align_corners, crop, label, sure)
            continue
        # A trilinear resize is a bilinear one of lerped planes.
        for z, (a, b, t) in enumerate(zip(*_taps(one.shape[1], size[0], align_corners, 0, size[0]), strict=True)):
            slab = one[:, a] + t * (one[:, b] - one[:, a])  # (K, h, w)
            _plane(slab, (size[1], size[2]), align_corners, None, label[z], sure[z] if confident else sure)
    return torch.from_numpy(labels), torch.from_numpy(confidence)


def _check(logits: torch.Tensor, size: tuple[int, ...], crop: Crop | None) -> None:
    axes = logits.ndim - 2
    if axes not in (2, 3) or 0 in logits.shape or len(size) != axes or not 1 <= min(size) <= max(size) <= MOST_PIXELS:
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}, to be resized to {tuple(size)}; expected (N, K, h, w) and "
            f"(H, W), or (N, K, d, h, w) and (D, H, W), with no empty axis and none above {MOST_PIXELS:,}"
        )
    if logits.shape[1] > MOST_CLASSES or logits.is_complex():
        raise ValueError(
            f"logits are {logits.dtype} of {logits.shape[1]:,} classes; expected real numbers, of {MOST_CLASSES:,} "
            "classes at most"
        )
    if crop is None:
        return
    top, left, height, width = crop
    if axes != 2 or min(crop) < 0 or top + height > size[0] or left + width > size[1]:
        raise ValueError(
            f"crop {crop} does not fit resized logits of size {tuple(size)}; expected (top, left, height, width) "
            "inside them, and two axes"
        )


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
    """(K, h, w) -> labels, and their probabilities unless `confidence` is empty; both in place."""
    classes, h, w = logits.shape
    top, left, height, width = crop or (0, 0, *size)
    rows = _taps(h, size[0], align_corners, top, height)
    if size[1] % w == 0 and size[1] // w <= MOST_PHASES and not align_corners:
        # A tile is as wide as the cache allows, in whole vectors, and never wider than the logits.
        tile = max(WIDTH, min(padded(w), BAND // classes // WIDTH * WIDTH))
        source, phases = np.ascontiguousarray(logits), _phases(size[1] // w)
        split_rows(height, by_phase, all_by_phase, source, rows, phases, tile, left, labels, confidence)
    else:
        source = np.full((h, w, padded(classes)), np.finfo(np.float32).min, np.float32)
        source[:, :, :classes] = logits.transpose(1, 2, 0)
        columns = _taps(w, size[1], align_corners, left, width)
        split_rows(height, by_pixel, all_by_pixel, source, rows, columns, labels, confidence)


def _taps(n: int, size: int, align_corners: bool, start: int, count: int) -> Taps:
    """Output positions start..start + count - 1 of n cells resized to `size`, as torch has them.

    In float32 and in torch's order of operations: another rounding would move labels at ties.
    """
    index = np.arange(start, start + count, dtype=np.float32)
    if align_corners:
        centre = index * np.float32((n - 1) / (size - 1) if size > 1 else 0)
    else:
        centre = np.maximum((index + np.float32(0.5)) * np.float32(n / size) - np.float32(0.5), 0)
    low = np.minimum(centre.astype(np.int64), n - 1)
    return Taps(low, np.minimum(low + 1, n - 1), (centre - low).astype(np.float32))


def _phases(scale: int) -> Phases:
    """The slots of a whole scale: first the phases left of a cell's centre, then the others.

    The kernel works on four slots at a time, two and two of which start at the same cell. So the
    last phase of a side that has an odd number of them fills two slots, and slots are repeated
    until there are whole fours: computing a phase twice is cheaper than asking whether to.
    """
    positions = (np.arange(scale) + 0.5) / scale
    slots: list[int] = []
    for side in (np.flatnonzero(positions < 0.5), np.flatnonzero(positions >= 0.5)):
        slots += [*side, *side[len(side) - len(side) % 2 :]]
    slots += slots[: -len(slots) % SLOTS]
    places = np.unique(slots, return_index=True)[1]  # the first slot of each phase
    starts = (positions[slots] >= 0.5).astype(np.uint64)
    return Phases(starts, (positions[slots] + 0.5 - starts).astype(np.float32), places)


def _by_classes(
    logits: torch.Tensor,
    size: tuple[int, ...],
    align_corners: bool,
    crop: Crop | None,
    confident: bool,
    budget: int = 1 << 26,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same in torch on any device, some classes at a time: at most `budget` numbers at once."""
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
