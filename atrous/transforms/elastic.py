"""Elastic deformation: a coarse grid of random displacements, and a smooth surface through them."""

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from atrous.errors import ModelError
from atrous.sample import Sample


def displacements(
    size: tuple[int, int], rng: np.random.Generator, *, sigma: float = 10.0, nodes: int = 3
) -> np.ndarray:
    """A random smooth displacement of every pixel.

    A grid of nodes x nodes cells covers the image. The vector in the middle of each cell is drawn,
    each component from a normal distribution. Between the nodes it is interpolated bicubically,
    beyond the outer ones it is constant.

    Args:
        size: (height, width) in pixels.
        rng: Where the vectors are drawn from.
        sigma: Standard deviation of a component, in pixels; 0 or more.
        nodes: Nodes along each side, 1 or more.

    Returns:
        (height, width, 2) float32: how far the source of each pixel lies to the right and below, in
        pixels.

    Raises:
        ModelError: `sigma` is negative, or `nodes` less than 1.

    Source:
        Ronneberger et al., "U-Net", MICCAI 2015, section 3.1 (sigma 10 on a 3 x 3 grid).

    Example:
        >>> import numpy as np
        >>> displacements((64, 96), np.random.default_rng(0)).shape
        (64, 96, 2)
    """
    if sigma < 0 or nodes < 1:
        raise ModelError(f"sigma={sigma} and nodes={nodes}: expected sigma of 0 or more and nodes of 1 or more")
    coarse = rng.normal(0.0, sigma, (nodes, nodes, 2)).astype(np.float32)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def deform(sample: Sample, rng: np.random.Generator, *, sigma: float = 10.0, nodes: int = 3) -> Sample:
    """Deform a sample elastically: image and mask through one warp.

    The image is read bilinearly and continues by reflection beyond its border. The mask is read by
    nearest neighbour and is ignored there (255, or 65535 in a uint16 mask). The sample's geometry
    is dropped. `Augment(elastic=...)` does the same within its one resampling.

    Args:
        sample: Image (H, W, C) of uint8, uint16 or float32; mask (H, W) or None.
        rng: Where the displacements are drawn from; the same bytes for the same `rng`.
        sigma: Standard deviation of the displacements, in pixels; see `displacements`.
        nodes: Nodes of their grid along each side.

    Returns:
        A sample of the same size and types.

    Raises:
        ModelError: As `displacements`.

    Example:
        >>> import numpy as np
        >>> from atrous.sample import Sample
        >>> cells = Sample(np.zeros((64, 96, 1), np.uint8), np.zeros((64, 96), np.uint8))
        >>> deform(cells, np.random.default_rng(0)).mask.shape
        (64, 96)
    """
    size = sample.image.shape[:2]
    x, y = cv2.split(pixel_grid((size[0], size[1])) + displacements((size[0], size[1]), rng, sigma=sigma, nodes=nodes))
    parts = [
        cv2.remap(sample.image[..., start : start + 4], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        for start in range(0, sample.image.shape[2], 4)  # OpenCV warps four channels at most
    ]
    image = np.concatenate([part.reshape(*size, -1) for part in parts], axis=2)
    mask = sample.mask
    if mask is not None:
        ignored = int(np.iinfo(mask.dtype).max)
        mask = cv2.remap(mask, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=ignored)
    return replace(sample, image=image, mask=mask, geometry={})


@lru_cache(maxsize=2)
def pixel_grid(size: tuple[int, int]) -> np.ndarray:
    """(height, width) -> (height, width, 2) float32, read-only: x and y of each pixel."""
    columns, rows = np.meshgrid(np.arange(size[1], dtype=np.float32), np.arange(size[0], dtype=np.float32))
    grid = np.stack([columns, rows], axis=2)
    grid.flags.writeable = False
    return grid
