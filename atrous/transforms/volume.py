"""Augmentation of volumes: one resampling in millimetres, then grey values; on any device."""

from dataclasses import dataclass, fields
from math import ceil, radians

import numpy as np
import torch
from torch.nn import functional

from atrous.errors import DataError, ModelError
from atrous.ops.resize import resize
from atrous.transforms.sampling import read_linear, read_nearest
from atrous.transforms.warp import check_crop, draw_zoom

VOLUME_DRAWS = 40
"""Random numbers that every crop draws, whatever its options are."""


@dataclass(frozen=True)
class Chances:
    """How often each change happens, 0..1. A crop that is not turned, zoomed or bent is cut out: that is far faster."""

    rotate: float = 1.0
    scale: float = 1.0
    elastic: float = 1.0
    brightness: float = 1.0
    contrast: float = 1.0
    gamma: float = 1.0
    noise: float = 1.0
    blur: float = 1.0
    lowres: float = 1.0


SELDOM = Chances(0.2, 0.2, 0.2, 0.15, 0.15, 0.3, 0.1, 0.1, 0.125)
"""As nnU-Net v2 draws them (its 3-D training transforms); those that it draws for half of the channels count half."""


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
        blur: x: a Gaussian blur with a standard deviation drawn from x / 2..x voxels.
        lowres: x: the crop is shrunk by a factor drawn from 1 - x..1 and enlarged again, as if it had
            been scanned more coarsely; x in 0..0.9.
        chances: how often each of these happens.

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
    blur: float = 0.0
    lowres: float = 0.0
    chances: Chances = Chances()

    def __post_init__(self) -> None:
        check_crop(self.crop, self.scale)
        if not all(0 <= chance <= 1 for chance in (*self.flip, self.brightness, self.contrast)):
            raise ModelError(f"flip={self.flip}, brightness={self.brightness}, contrast={self.contrast}: expected 0..1")
        if min(*self.rotate, self.elastic, self.gamma, self.noise, self.blur) < 0:
            raise ModelError(
                f"rotate={self.rotate}, elastic={self.elastic}, gamma={self.gamma}, noise={self.noise}, "
                f"blur={self.blur}: expected 0 or more"
            )
        if not 0 <= self.lowres <= 0.9:
            raise ModelError(f"lowres={self.lowres}: expected 0..0.9")

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
        happens = {one.name: u[20 + k] < getattr(self.chances, one.name) for k, one in enumerate(fields(Chances))}
        zoom = draw_zoom(self.scale, u[0]) if happens["scale"] else 1.0
        turned = happens["rotate"] and any(self.rotate)
        bent = happens["elastic"] and self.elastic > 0
        middle = self._middle(image, u, zoom, centre)
        plain = zoom == 1 and not (turned or bent)
        if plain:  # on whole voxels, where nothing is interpolated
            middle = np.floor(middle - (np.array(self.crop) - 1) / 2 + 0.5) + (np.array(self.crop) - 1) / 2
        if plain and (cut := self._cut(image, labels, middle, u)):
            changed, found = cut
        else:
            places = self._places(image, u, rng, np.asarray(spacing, float), middle, zoom, turned, bent)
            changed = read_linear(image.float()[None], places)[0]
            found = None if labels is None else read_nearest(labels[None], places, ignore)[0]
        return self._recolour(changed, u, rng, happens), found

    def _middle(
        self, image: torch.Tensor, u: np.ndarray, zoom: float, centre: tuple[float, float, float] | None
    ) -> np.ndarray:
        """The place in the volume, in voxels, of the middle of the crop."""
        if centre is not None:
            return np.asarray(centre, float)
        half, size = np.array(self.crop) / zoom / 2, np.array(image.shape[1:])
        return np.asarray(np.where(size > 2 * half, half + u[7:10] * (size - 2 * half), size / 2) - 0.5)

    def _cut(
        self, image: torch.Tensor, labels: torch.Tensor | None, middle: np.ndarray, u: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor | None] | None:
        """The crop as it stands in the volume, perhaps mirrored; None if it reaches out of it."""
        starts = (middle - (np.array(self.crop) - 1) / 2).astype(int)
        if (starts < 0).any() or (starts + self.crop > image.shape[1:]).any():
            return None
        box = tuple(slice(start, start + n) for start, n in zip(starts.tolist(), self.crop, strict=True))
        mirrored = [axis for axis in range(3) if u[4 + axis] < self.flip[axis]]
        found = None if labels is None else labels[box].flip(mirrored)
        return image[(slice(None), *box)].float().flip([axis + 1 for axis in mirrored]), found

    def _places(
        self, image: torch.Tensor, u: np.ndarray, rng: np.random.Generator, spacing: np.ndarray, middle: np.ndarray,
        zoom: float, turned: bool, bent: bool,
    ) -> torch.Tensor:  # fmt: skip
        """(1, d, h, w, 3) float32: where each voxel of the crop comes from, along W, H, D."""
        either = 2 * u - 1
        most = self.rotate if turned else (0.0, 0.0, 0.0)
        turn = _rotation(*(radians(angle * draw) for angle, draw in zip(most, either[1:4], strict=True)))
        mirror = np.where(u[4:7] < self.flip, -1.0, 1.0)
        linear = np.diag(1 / spacing) @ turn @ np.diag(mirror * spacing) / zoom  # it turns in mm
        device = image.device
        axes = [torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2 for n in self.crop]
        offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        if bent:
            vectors = torch.from_numpy(rng.normal(0, self.elastic, (1, 3, 3, 3, 3)) / spacing[:, None, None, None])
            smooth = resize(vectors.float().to(device), self.crop)[0]
            offsets = offsets + smooth.permute(1, 2, 3, 0)
        return (offsets @ _tensor(linear.T, device) + _tensor(middle, device)).flip(-1)[None]

    def _recolour(
        self, image: torch.Tensor, u: np.ndarray, rng: np.random.Generator, happens: dict[str, bool]
    ) -> torch.Tensor:
        either = 2 * u - 1
        if self.blur and happens["blur"]:
            image = _blurred(image, self.blur * (1 + float(u[14])) / 2)
        if self.lowres and happens["lowres"]:
            coarse = tuple(max(ceil(n * (1 - self.lowres * float(u[15]))), 1) for n in self.crop)
            image = resize(resize(image[None], coarse, mode="nearest"), self.crop)[0]
        if self.contrast and happens["contrast"]:
            mean = image.mean((1, 2, 3), keepdim=True)
            image = (image - mean) * (1 + self.contrast * either[11]) + mean
        if self.brightness and happens["brightness"]:
            image = image * (1 + self.brightness * either[10])
        if self.gamma and happens["gamma"]:
            low, high = image.amin(), image.amax()
            if high > low:
                image = low + (high - low) * ((image - low) / (high - low)) ** ((1 + self.gamma) ** either[12])
        if self.noise and happens["noise"]:
            deviation = self.noise * u[13] * image.std((1, 2, 3), keepdim=True, correction=0)
            grain = torch.from_numpy(rng.standard_normal(tuple(image.shape), np.float32))
            image = image + deviation * grain.to(image.device)
        return image


def _blurred(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """(C, D, H, W) blurred along each axis; the border goes on past an end. sigma: in voxels."""
    reach = max(ceil(3 * sigma), 1)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1, device=image.device) ** 2) / (2 * max(sigma, 1e-3) ** 2))
    kernel = kernel / kernel.sum()
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = len(kernel)
        pads = [0, 0, 0, 0, 0, 0]
        pads[4 - 2 * axis : 6 - 2 * axis] = [reach, reach]
        wide = functional.pad(image[:, None], pads, mode="replicate")
        image = functional.conv3d(wide, kernel.view(shape))[:, 0]
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
