"""Networks whose convolutions have no padding: the border is mirrored, the image runs whole or tile by tile.

`valid` turns a side n into n - 2 margin, where n - 2 margin is 4 modulo `grid`, the network's total stride: the last
two 3x3 eat 4 of an even number of pixels. Any number of axes.
"""

from collections.abc import Callable
from itertools import product

import torch

from atrous.errors import ModelError
from atrous.layers.pad import cut, pad_reflect

Valid = Callable[[torch.Tensor], torch.Tensor]


def run_whole(valid: Valid, image: torch.Tensor, margin: int, grid: int) -> torch.Tensor:
    """(N, C, H, W) -> (N, K, H, W): mirrored by the margin and up to the next size that `valid` takes, run, cropped."""
    return cut(valid(_mirror(image, margin, grid)), image.shape[2:])


def overlap_tile(valid: Valid, image: torch.Tensor, margin: int, grid: int, tile: int) -> torch.Tensor:
    """(N, C, H, W) -> (N, K, H, W): as `run_whole`, from tiles with a side of `tile` (U-Net, figure 2).

    Tiles start at multiples of `grid`, so that every pool sees the pixels that it sees in the whole image: the logits
    are those of `run_whole` to rounding. (Tiles side by side, 388 pixels apart in U-Net's case, have no visible seams
    either, but other logits.) Raises ModelError when a tile is too small to go on by a multiple of `grid`.
    """
    step = (tile - 2 * margin) // grid * grid
    if step < grid:
        raise ModelError(
            f"tiles of {tile} pixels leave {tile - 2 * margin} of output; use {2 * margin + grid + 4} or more"
        )
    mirrored = _mirror(image, margin, grid)
    sides = [side - 2 * margin for side in mirrored.shape[2:]]
    logits: torch.Tensor | None = None
    for origin in product(*(range(0, max(side - 4, 1), step) for side in sides)):
        left = [min(tile, side - start) for side, start in zip(mirrored.shape[2:], origin, strict=True)]
        scores = valid(cut(mirrored, left, origin))
        if logits is None:
            logits = scores.new_empty((*scores.shape[:2], *sides))
        cut(logits, scores.shape[2:], origin).copy_(scores)
    assert logits is not None
    return cut(logits, image.shape[2:])


def _mirror(image: torch.Tensor, margin: int, grid: int) -> torch.Tensor:
    return pad_reflect(image, *(pad for side in image.shape[2:] for pad in (margin, margin + (4 - side) % grid)))
