"""How a picture goes through the network: whole, in windows that are blended, or in tiles that equal the whole.

Blended windows are an approximation: near its border a window sees less than the whole image would show. Exact tiles
carry the halo that the network's receptive field proves sufficient (`atrous.inspect.halo`), and are not blended.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypedDict

import numpy as np
import torch

from atrous.errors import ModelError, nearest
from atrous.inspect.seams import Halo
from atrous.io import Picture, strips
from atrous.ops import Tail, blend, blend_labels, positions, upsample_argmax
from atrous.ops.resize import resize
from atrous.ops.tiles import WEIGHTS
from atrous.predict.memory import PredictionNeeds

WHOLE_PIXELS = 4_000_000
"""Images up to this many pixels go through the network whole, larger ones in windows."""
WINDOW = 1024
"""Their side, in pixels."""
MANY = 1000
"""Windows that are never too many."""
LEAST_WORK, MOST_WORK = 64 * 64, 64
"""A call of the network takes the time of so many pixels at least; and the most pixels that may go through it for each
pixel of an image."""
SIDES = (1024, 768, 512, 384, 256, 192, 128)
"""Sides of windows to try when memory is limited, in this order."""

Network = Callable[[np.ndarray], tuple[torch.Tensor, Tail]]
"""Pixels (H, W, C) -> logits (1, K, h, w) and the resize to (H, W)."""
Scores = Callable[[np.ndarray], np.ndarray]
"""Pixels (H, W, C) -> (K, H, W) float32."""


class CuttingOptions(TypedDict, total=False):
    """The fields of `Cutting`, for signatures: a test keeps the two equal."""

    window: int | None
    overlap: float
    weights: str
    flip: bool
    scales: tuple[float, ...]
    exact: bool
    max_ram: int | None


@dataclass(frozen=True)
class Cutting:
    """How a user wants images to go through the network.

    Attributes:
        window: side of the square windows in pixels; 0: always the whole image; None: chosen by the image's size.
        overlap: the share of a window that neighbours have in common, in [0, 1).
        weights: how windows are blended, a name of `ops.tiles.WEIGHTS`.
        flip: average with the mirrored image.
        scales: average over these sizes of the image, factors in 0.1..8.
        exact: use tiles whose labels equal those of the whole image, or refuse.
        max_ram: bytes that the process may hold; windows are chosen to fit.
    """

    window: int | None = None
    overlap: float = 0.25
    weights: str = "gaussian"
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    exact: bool = False
    max_ram: int | None = None

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 0:
            raise ModelError(f"window {self.window}: give the side of the windows in pixels, or 0 for whole images")
        if self.weights not in WEIGHTS:
            raise ModelError(f"unknown blend {self.weights!r}; {nearest(self.weights, list(WEIGHTS))}")
        if not 0 <= self.overlap < 1:
            raise ModelError(f"overlap {self.overlap}: must be in [0, 1), such as 0.25")
        if not self.scales or not all(0.1 <= scale <= 8 for scale in self.scales):
            raise ModelError(f"scales {self.scales}: expected one or more factors from 0.1 to 8, such as 0.75,1,1.25")
        if self.exact and self.averaged:
            raise ModelError("exact tiles take one pass of the network; leave out --flip and --scales, or --exact")

    @property
    def averaged(self) -> bool:
        """Whether the scores are means over several passes."""
        return self.flip or tuple(self.scales) != (1.0,)

    @property
    def passes(self) -> int:
        """How many times each window goes through the network."""
        return len(self.scales) * (2 if self.flip else 1)


@dataclass(frozen=True)
class Cut:
    """How one image is cut. kind: whole, blended or exact. window: (h, w) pixels that enter the network at once."""

    kind: str
    window: tuple[int, int]


def choose_cut(wish: Cutting, shape: tuple[int, int, int], halo: Halo | None, needs: PredictionNeeds | None) -> Cut:
    """Choose how an image of shape (H, W, C) is cut.

    Args:
        halo: the network's halo, if exact tiles are asked for.
        needs: what windows take, if memory is limited.

    Raises:
        ModelError: the window is too small for the halo, there would be too many windows, or none fits into the memory.
    """
    cut = _choose_cut(wish, shape, halo, needs)
    if cut.kind == "blended":
        height, width = shape[:2]
        count = len(positions(height, cut.window[0], wish.overlap)) * len(positions(width, cut.window[1], wish.overlap))
        work = count * max(cut.window[0] * cut.window[1], LEAST_WORK)
        if count > MANY and work > MOST_WORK * height * width:
            raise ModelError(
                f"an image of {height}x{width} pixels takes {count:,} windows of {cut.window[0]}x{cut.window[1]} with "
                f"an overlap of {wish.overlap:g}; give a larger --window or a smaller --overlap"
            )
    return cut


def _choose_cut(wish: Cutting, shape: tuple[int, int, int], halo: Halo | None, needs: PredictionNeeds | None) -> Cut:
    height, width = shape[:2]
    if halo is not None:
        for axis, side in enumerate((height, width)):
            if side % halo.multiple[axis]:
                raise ModelError(
                    f"exact tiles of this network need sides in multiples of {halo.multiple[axis]}, but the image "
                    f"is {height}x{width}; pad it, or leave out --exact for blended windows"
                )
    kind = "blended" if halo is None else "exact"
    least = _least(halo) if halo else (1, 1)
    if wish.window and min(wish.window, height) < min(least[0], height):
        raise ModelError(
            f"exact tiles of this network need at least {least[0]}x{least[1]} pixels, --window {wish.window} is too "
            "small; give a larger one"
        )
    whole = Cut("whole", (height, width))
    if wish.window is None:
        sides = [(max(side, least[0]), max(side, least[1])) for side in (SIDES if needs else (WINDOW,))]
    else:
        sides = [(wish.window, wish.window)]
    windows = [Cut(kind, (min(h, height), min(w, width))) for h, w in dict.fromkeys(sides)]
    if wish.window == 0:
        tries = [whole]
    elif wish.window is None and height * width <= WHOLE_PIXELS:
        tries = [whole, *windows]
    else:
        tries = [whole] if wish.window and max(height, width) <= wish.window else windows
    if needs is None or wish.max_ram is None:
        return tries[0]
    sizes = [(needs.of(cut.window, width, blended=cut.kind == "blended" or wish.averaged), cut) for cut in tries]
    for size, cut in sizes:
        if size <= wish.max_ram:
            return cut
    size, cut = min(sizes, key=lambda pair: pair[0])
    raise ModelError(
        f"an image of {height}x{width} pixels takes {size / 1e9:.2f} GB even {_words(cut)}, of which the process holds "
        f"{needs.before / 1e9:.2f} GB already; give --max-ram {np.ceil(size / 1e8) / 10:g}GB or more"
    )


def mean_scores(network: Network, pixels: np.ndarray, flip: bool, scales: tuple[float, ...]) -> np.ndarray:
    """The mean of the logits (K, H, W) over these sizes of the image and, if `flip`, its mirror image."""
    size, total = (pixels.shape[0], pixels.shape[1]), None
    for scale in scales:
        image = pixels if scale == 1 else _scaled(pixels, scale)
        for mirrored in (False, True) if flip else (False,):
            logits, tail = network(np.ascontiguousarray(image[:, ::-1]) if mirrored else image)
            scores = tail.apply(logits.float())
            scores = scores.flip(-1) if mirrored else scores
            scores = scores if scale == 1 else resize(scores, size)
            total = scores if total is None else total + scores
    assert total is not None
    passes = len(scales) * (2 if flip else 1)
    return (total if passes == 1 else total / passes)[0].cpu().numpy()


def blended(
    scores: Scores, source: Picture, window: tuple[int, int], overlap: float, weights: str, offsets: np.ndarray | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (top, labels (rows, W)) as rows are finished. offsets: added to the mean scores of each class."""
    size = source.shape[:2]
    return blend_labels(_reader(scores, source, window, overlap), size, window, overlap, weights, offsets)


def blended_scores(
    scores: Scores, source: Picture, window: tuple[int, int], overlap: float, weights: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Like `blended`, with mean scores (K, rows, W) instead of labels."""
    return blend(_reader(scores, source, window, overlap), source.shape[:2], window, overlap, weights)


def exact(
    network: Network, source: Picture, window: tuple[int, int], halo: Halo, offsets: np.ndarray | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (top, labels (rows, W)) of tiles whose logits equal the whole image's; `window`: their largest sides."""
    rows, columns = (_cores(source.shape[axis], window[axis], halo, axis) for axis in (0, 1))
    spans = [halo.tile(a, b, source.shape[0], 0) for a, b in rows]
    for (first, _), (a, b), strip in zip(spans, rows, strips(source, spans), strict=True):
        parts = []
        for c, d in columns:
            left, right = halo.tile(c, d, source.shape[1], 1)
            logits, tail = network(strip[:, left:right])
            if offsets is not None:
                logits = logits + torch.from_numpy(offsets).to(logits)[:, None, None]
            top, side = (0, 0) if tail.crop is None else tail.crop[:2]
            crop = (top + a - first, side + c - left, b - a, d - c)
            parts.append(upsample_argmax(logits, tail.size, align_corners=tail.align_corners, crop=crop)[0])
        yield a, torch.cat(parts, 1).cpu().numpy()


def exact_scores(
    network: Network, source: Picture, window: tuple[int, int], halo: Halo
) -> Iterator[tuple[int, np.ndarray]]:
    """Like `exact`, with logits (K, rows, W) instead of labels."""
    rows, columns = (_cores(source.shape[axis], window[axis], halo, axis) for axis in (0, 1))
    for a, b in rows:
        parts = []
        first, end = halo.tile(a, b, source.shape[0], 0)
        strip = source.rows(first, end)
        for c, d in columns:
            left, right = halo.tile(c, d, source.shape[1], 1)
            logits, tail = network(strip[:, left:right])
            parts.append(tail.apply(logits.float())[0, :, a - first : b - first, c - left : d - left])
        yield a, torch.cat(parts, 2).cpu().numpy()


def _reader(
    scores: Scores, source: Picture, window: tuple[int, int], overlap: float
) -> Callable[[int, int, int, int], np.ndarray]:
    """A function that gives `blend` the scores of a window. It reads the picture one row of windows at a time."""
    height = min(source.shape[0], window[0])
    coming = strips(source, [(top, top + height) for top in positions(source.shape[0], height, overlap)])
    at, strip = -1, np.empty((0, 0, 0))

    def predict(top: int, left: int, height: int, width: int) -> np.ndarray:
        nonlocal at, strip
        if top != at:
            at, strip = top, next(coming)
        return scores(strip[:, left : left + width])

    return predict


def _scaled(pixels: np.ndarray, scale: float) -> np.ndarray:
    image = torch.from_numpy(pixels.astype(np.float32, order="C")).permute(2, 0, 1)[None]
    size = tuple(max(1, round(side * scale)) for side in pixels.shape[:2])
    return resize(image, size)[0].permute(1, 2, 0).contiguous().numpy()


def _least(halo: Halo) -> tuple[int, int]:
    """Sides of the smallest useful tile, of which at least an eighth of the pixels are kept."""
    sides = []
    for before, after, align in zip(halo.before, halo.after, halo.align, strict=True):
        around = before + after
        sides.append(around + max(align, -(-around // 2 // align) * align))
    return sides[0], sides[1]


def _cores(side: int, window: int, halo: Halo, axis: int) -> list[tuple[int, int]]:
    """The [start, stop) ranges along an axis that each tile contributes."""
    if window >= side:
        return [(0, side)]
    align = halo.align[axis]
    step = max(align, (window - halo.before[axis] - halo.after[axis]) // align * align)
    return list(pairwise([*range(0, side, step), side]))


def _words(cut: Cut) -> str:
    return {
        "whole": "whole, as was asked for",
        "blended": f"in windows of {cut.window[0]}x{cut.window[1]}",
        "exact": f"in exact tiles of {cut.window[0]}x{cut.window[1]}",
    }[cut.kind]
