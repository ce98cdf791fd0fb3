"""Networks without padding in their convolutions: the border is mirrored; run whole or in tiles.

Such a network, `valid`, turns a side of n pixels into n - 2 margin, where n - 2 margin must be 4
modulo `grid`, its total stride: the last two 3x3 take 4 from an even number of pixels. Any number
of axes.
"""

from collections.abc import Callable
from itertools import product

import torch

from atrous.errors import ModelError
from atrous.layers.pad import cut, pad_reflect

Valid = Callable[[torch.Tensor], torch.Tensor]


def run_whole(valid: Valid, image: torch.Tensor, margin: int, grid: int) -> torch.Tensor:
    """Run a network without padding on a whole image.

    The image is mirrored by the margin and on to the next size that the network takes; the result
    is cropped.

    Args:
        valid: the network, (N, C, ...) -> (N, K, ...).
        image: (N, C, H, W) or (N, C, D, H, W).
        margin: pixels that the network loses on each side.
        grid: its total stride.

    Returns:
        Logits (N, K, H, W) or (N, K, D, H, W).
    """
    return cut(valid(_mirror(image, margin, grid)), image.shape[2:])


def overlap_tile(valid: Valid, image: torch.Tensor, margin: int, grid: int, tile: int) -> torch.Tensor:
    """As `run_whole`, tile by tile, for images that do not fit into memory (U-Net, figure 2).

    Tiles start at multiples of `grid`, so that every pool sees the same pixels as in the whole
    image: the logits equal those of `run_whole` up to rounding. Tiles side by side, 388 pixels
    apart in U-Net's case, have no visible seams either, but other logits.

    Args:
        valid: the network, (N, C, ...) -> (N, K, ...).
        image: (N, C, H, W) or (N, C, D, H, W).
        margin: pixels that the network loses on each side.
        grid: its total stride.
        tile: side of a tile before it loses its margins, in pixels.

    Returns:
        Logits (N, K, H, W) or (N, K, D, H, W).

    Raises:
        ModelError: if a tile leaves less than `grid` pixels of output.
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
