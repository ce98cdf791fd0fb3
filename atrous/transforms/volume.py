"""Augmentation of volumes: one resampling in millimetres, then grey values; on any device."""

from dataclasses import dataclass
from math import radians

import numpy as np
import torch

from atrous.errors import DataError, ModelError
from atrous.ops.resize import resize
from atrous.transforms.sampling import read_linear, read_nearest
from atrous.transforms.warp import check_crop, draw_zoom

VOLUME_DRAWS = 20
"""Random numbers that every crop draws, whatever its options are."""


@dataclass(frozen=True)
class VolumeAugment:
    """Draws a random crop of a volume and changes its shape and its grey values, on any device.

    Rotation, scale and deformation are those of the body, not of the grid of voxels: `spacing` says
    how far the voxels are apart. The image is read trilinearly and continues by reflection beyond
    the volume. Labels are read by nearest neighbour and are ignored there. Nothing is averaged when
    a crop zooms out, so keep `scale` above 1/2.

    Args:
        crop: (depth, height, width) of the result in voxels.
        scale: Zoom, (from, to). To zoom out and to zoom in by the same factor are equally likely.
        rotate: At most this many degrees either way about the axes D, H and W. If the slices are
            far apart, leave all but the first at 0.
        flip: Chance of a mirror image along D, H and W, 0..1.
        elastic: Standard deviation in mm of the displacements on a 3 x 3 x 3 grid over the crop,
            which are linear in between.
        brightness: x: the image is multiplied by a factor in 1 - x .. 1 + x; x in 0..1.
        contrast: x: so is the difference of each channel from its own mean.
        gamma: x: an exponent between 1 / (1 + x) and 1 + x; it applies to values from the crop's
            least to its greatest.
        noise: x: Gaussian noise with a standard deviation drawn from 0..x, as a share of each
            channel's own.

    Raises:
        ModelError: An option is out of its range.

    Example:
        >>> from atrous.transforms import generator
        >>> augment = VolumeAugment(crop=(16, 32, 32))
        >>> scan, labels = torch.zeros(1, 20, 64, 64), torch.zeros(20, 64, 64).byte()
        >>> image, mask = augment(scan, labels, generator(0, 0, 0), spacing=(3.0, 0.8, 0.8))
        >>> image.shape, mask.shape
        (torch.Size([1, 16, 32, 32]), torch.Size([16, 32, 32]))
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
        check_crop(self.crop, self.scale)
        if not all(0 <= chance <= 1 for chance in (*self.flip, self.brightness, self.contrast)):
            raise ModelError(f"flip={self.flip}, brightness={self.brightness}, contrast={self.contrast}: expected 0..1")
        if min(*self.rotate, self.elastic, self.gamma, self.noise) < 0:
            raise ModelError(
                f"rotate={self.rotate}, elastic={self.elastic}, gamma={self.gamma}, noise={self.noise}: "
                "expected 0 or more"
            )

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
        """A changed crop of a volume and its labels; the same result for the same `rng`.

        Args:
            image: (C, D, H, W) of any type.
            labels: (D, H, W) integers on the same device, or None.
            rng: Where all random numbers are drawn from.
            spacing: mm between voxels along D, H and W.
            centre: The voxel in the middle of the crop, such as one of a rare class. Without it the
                crop lies anywhere inside the volume, along each axis where it fits.
            ignore: The label of what lies beyond the volume.

        Returns:
            float32 (C, d, h, w), and labels (d, h, w) of their own type, or None.

        Raises:
            DataError: The shapes do not belong together, or the labels are not integers.
        """
        if image.ndim != 4 or (labels is not None and labels.shape != image.shape[1:]):
            shape = "none" if labels is None else tuple(labels.shape)
            raise DataError(f"image {tuple(image.shape)}, labels {shape}; expected (C, D, H, W) and (D, H, W)")
        if labels is not None and (labels.is_floating_point() or labels.is_complex()):
            raise DataError(f"labels of type {labels.dtype}; expected whole numbers")
        u = rng.random(VOLUME_DRAWS)
        places = self._places(image, u, rng, np.asarray(spacing, float), centre)
        changed = self._recolour(read_linear(image.float()[None], places)[0], u, rng)
        return changed, None if labels is None else read_nearest(labels[None], places, ignore)[0]

    def _places(
        self,
        image: torch.Tensor,
        u: np.ndarray,
        rng: np.random.Generator,
        spacing: np.ndarray,
        centre: tuple[float, float, float] | None,
    ) -> torch.Tensor:
        """(1, d, h, w, 3) float32: where each voxel of the crop comes from, along W, H, D."""
        either, crop, size = 2 * u - 1, np.array(self.crop), np.array(image.shape[1:])
        zoom = draw_zoom(self.scale, u[0])
        half = crop / zoom / 2
        middle = np.where(size > 2 * half, half + u[7:10] * (size - 2 * half), size / 2) - 0.5
        if centre is not None:
            middle = np.asarray(centre, float)
        turn = _rotation(*(radians(most * draw) for most, draw in zip(self.rotate, either[1:4], strict=True)))
        mirror = np.where(u[4:7] < self.flip, -1.0, 1.0)
        linear = np.diag(1 / spacing) @ turn @ np.diag(mirror * spacing) / zoom  # it turns in mm
        device = image.device
        axes = [torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2 for n in self.crop]
        offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        if self.elastic:
            vectors = torch.from_numpy(rng.normal(0, self.elastic, (1, 3, 3, 3, 3)) / spacing[:, None, None, None])
            smooth = resize(vectors.float().to(device), self.crop)[0]
            offsets = offsets + smooth.permute(1, 2, 3, 0)
        return (offsets @ _tensor(linear.T, device) + _tensor(middle, device)).flip(-1)[None]

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
    """3 x 3 in the order D, H, W; angles in radians."""
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
