"""Elastic deformation: a coarse grid of random displacements, smoothly in between (U-Net 2015, section 3.1)."""

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from atrous.errors import ModelError
from atrous.sample import Sample


def displacements(
    size: tuple[int, int], rng: np.random.Generator, *, sigma: float = 10.0, nodes: int = 3
) -> np.ndarray:
    """(height, width) -> (height, width, 2) float32: how far every pixel's source lies to the right and below, pixels.

    nodes x nodes vectors, one in the middle of each cell of a grid over the image, each component drawn from
    N(0, sigma); bicubic in between, constant beyond the outer nodes.
    """
    if sigma < 0 or nodes < 1:
        raise ModelError(f"sigma={sigma} and nodes={nodes} make no deformation; give sigma from 0 and nodes from 1 on")
    coarse = rng.normal(0.0, sigma, (nodes, nodes, 2)).astype(np.float32)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def deform(sample: Sample, rng: np.random.Generator, *, sigma: float = 10.0, nodes: int = 3) -> Sample:
    """Image (H, W, C), mask (H, W) or None -> the same size, both through one warp; equal rng, equal bytes.

    The image bilinearly and by reflection beyond its border, the mask by nearest neighbour and ignored there (255, or
    65535 in a uint16 mask). The geometry of the sample is dropped.
    """
    size = sample.image.shape[:2]
    x, y = cv2.split(pixel_grid((size[0], size[1])) + displacements((size[0], size[1]), rng, sigma=sigma, nodes=nodes))
    parts = [
        cv2.remap(sample.image[..., start : start + 4], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        for start in range(0, sample.image.shape[2], 4)  # the most channels that OpenCV warps
    ]
    image = np.concatenate([part.reshape(*size, -1) for part in parts], axis=2)
    mask = sample.mask
    if mask is not None:
        ignored = int(np.iinfo(mask.dtype).max)
        mask = cv2.remap(mask, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=ignored)
    return replace(sample, image=image, mask=mask, geometry={})


@lru_cache(maxsize=2)
def pixel_grid(size: tuple[int, int]) -> np.ndarray:
    """(height, width) -> (height, width, 2) float32, read-only: x and y of every pixel."""
    columns, rows = np.meshgrid(np.arange(size[1], dtype=np.float32), np.arange(size[0], dtype=np.float32))
    grid = np.stack([columns, rows], axis=2)
    grid.flags.writeable = False
    return grid
