"""Augmentation of volumes: one resampling on any device, in millimetres, then colour."""

from dataclasses import dataclass
from math import log, radians

import numpy as np
import torch
from torch.nn import functional

from atrous.errors import DataError, ModelError
from atrous.ops.resize import resize

VOLUME_DRAWS = 20


@dataclass(frozen=True)
class VolumeAugment:
    """(C, D, H, W) and its labels (D, H, W) -> float32 and labels of exactly `crop` (depth, height, width) voxels.

    scale: from, to; zooming out and in by the same factor are equally likely. rotate: at most so many degrees either
    way about the axes D, H and W, in this order; on slices far apart leave all but the first at zero. flip: chance of a
    mirror image along D, H, W. elastic: standard deviation, in mm, of the vectors on a 3 x 3 x 3 grid over the crop,
    linear in between. Rotation, scale and deformation are those of the body, not of the grid of voxels: `spacing` says
    how far voxels are apart. brightness, contrast: a factor within 1 - x .. 1 + x, contrast about each channel's mean;
    gamma: an exponent between 1 / (1 + x) and 1 + x from the crop's least value to its greatest; noise: Gaussian, its
    standard deviation drawn from 0 .. x of each channel's own.

    The image is read trilinearly and continues by reflection, labels by nearest neighbour; beyond the volume they are
    ignored. Nothing is averaged when the crop zooms out: keep the scale above 1/2.
    """

    crop: tuple[int, int, int]
    scale: tuple[float, float] = (0.7, 1.4)
    rotate: tuple[float, float, float] = (30.0, 30.0, 30.0)
    flip: tuple[float, float, float] = (0.5, 0.5, 0.5)
    elastic: float = 0.0
    brightness: float = 0.25
    contrast: float = 0.25
    gamma: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if min(self.crop) < 1:
            raise ModelError(f"crop {self.crop} is empty; expected depth, height and width of at least 1 voxel")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ModelError(f"scale {self.scale} is no range; expected two positive factors, the smaller one first")
        if not all(0 <= chance <= 1 for chance in (*self.flip, self.brightness, self.contrast)):
            raise ModelError(f"flip={self.flip}, brightness={self.brightness}, contrast={self.contrast}: expected 0..1")
        if min(*self.rotate, self.elastic, self.gamma, self.noise) < 0:
            raise ModelError("rotate, elastic, gamma and noise are sizes; expected 0 or more")

    def __call__(
        self,
        image: torch.Tensor,
        labels: torch.Tensor | None,
        rng: np.random.Generator,
        *,
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        centre: tuple[float, float, float] | None = None,
        ignore: int = 255,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """spacing: mm between voxels along D, H, W. centre: the voxel in the crop's middle, as one of a rare class;
        without it the crop lies anywhere inside where it fits. ignore: the label of what lies beyond the volume.

        Equal `rng`, equal result. DataError for other shapes or labels that are no whole numbers.
        """
        if image.ndim != 4 or (labels is not None and labels.shape != image.shape[1:]):
            shape = "none" if labels is None else tuple(labels.shape)
            raise DataError(f"image {tuple(image.shape)}, labels {shape}; expected (C, D, H, W) and (D, H, W)")
        if labels is not None and (labels.is_floating_point() or labels.is_complex()):
            raise DataError(f"labels of type {labels.dtype}; expected whole numbers")
        u = rng.random(VOLUME_DRAWS)
        places = self._places(image, u, rng, np.asarray(spacing, float), centre)
        changed = self._recolour(_read(image.float(), places), u, rng)
        return changed, None if labels is None else _nearest(labels, places, ignore)

    def _places(
        self,
        image: torch.Tensor,
        u: np.ndarray,
        rng: np.random.Generator,
        spacing: np.ndarray,
        centre: tuple[float, float, float] | None,
    ) -> torch.Tensor:
        """(d, h, w, 3) float32: the index along D, H, W that each voxel of the crop comes from."""
        either, crop, size = 2 * u - 1, np.array(self.crop), np.array(image.shape[1:])
        zoom = float(np.exp(log(self.scale[0]) + u[0] * (log(self.scale[1]) - log(self.scale[0]))))
        half = crop / zoom / 2
        middle = np.where(size > 2 * half, half + u[7:10] * (size - 2 * half), size / 2) - 0.5
        if centre is not None:
            middle = np.asarray(centre, float)
        turn = _rotation(*(radians(most * draw) for most, draw in zip(self.rotate, either[1:4], strict=True)))
        mirror = np.where(u[4:7] < self.flip, -1.0, 1.0)
        linear = np.diag(1 / spacing) @ turn @ np.diag(mirror * spacing) / zoom  # from voxels to voxels by way of mm
        device = image.device
        axes = [torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2 for n in self.crop]
        offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        if self.elastic:
            vectors = torch.from_numpy(rng.normal(0, self.elastic, (1, 3, 3, 3, 3)) / spacing[:, None, None, None])
            smooth = resize(vectors.float().to(device), self.crop)[0]
            offsets = offsets + smooth.permute(1, 2, 3, 0)
        return offsets @ _tensor(linear.T, device) + _tensor(middle, device)

    def _recolour(self, image: torch.Tensor, u: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        either = 2 * u - 1
        brightness, contrast = 1 + self.brightness * either[10], 1 + self.contrast * either[11]
        if self.contrast:
            mean = image.mean((1, 2, 3), keepdim=True)
            image = (image - mean) * contrast + mean
        image = image * brightness
        if self.gamma:
            low, high = image.amin(), image.amax()
            if high > low:
                image = low + (high - low) * ((image - low) / (high - low)) ** ((1 + self.gamma) ** either[12])
        if self.noise:
            deviation = self.noise * u[13] * image.std((1, 2, 3), keepdim=True, correction=0)
            grain = torch.from_numpy(rng.standard_normal(tuple(image.shape), np.float32))
            image = image + deviation * grain.to(image.device)
        return image


def _rotation(about_d: float, about_h: float, about_w: float) -> np.ndarray:
    """3 x 3 in the order D, H, W; radians."""
    turns = []
    for axis, angle in enumerate((about_d, about_h, about_w)):
        first, second = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        turns.append(turn)
    return turns[0] @ turns[1] @ turns[2]


def _tensor(values: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, torch.float32)


def _read(image: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """(C, D, H, W) at (d, h, w, 3) indices, reflected about the outer voxels -> (C, d, h, w)."""
    last = torch.tensor([max(n - 1, 1) for n in image.shape[1:]], dtype=torch.float32, device=image.device)
    grid = (2 * places / last - 1).flip(-1)[None]  # torch wants W, H, D; corners at the middles of the outer voxels
    return functional.grid_sample(image[None], grid, mode="bilinear", padding_mode="reflection", align_corners=True)[0]


def _nearest(labels: torch.Tensor, places: torch.Tensor, ignore: int) -> torch.Tensor:
    """(D, H, W) -> (d, h, w) of the same type."""
    size = torch.tensor(labels.shape, device=labels.device)
    index = (places + 0.5).floor().long()
    inside = ((index >= 0) & (index < size)).all(-1)
    d, h, w = torch.minimum(index.clamp_min(0), size - 1).unbind(-1)
    return torch.where(inside, labels[d, h, w], torch.tensor(ignore, dtype=labels.dtype, device=labels.device))
