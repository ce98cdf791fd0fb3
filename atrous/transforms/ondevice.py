"""`Augment` for a batch of whole images on any device: the same random numbers, but torch."""

from collections.abc import Sequence
from math import ceil

import numpy as np
import torch
from torch.nn import functional

from atrous.errors import DataError, ModelError
from atrous.transforms.augment import Augment
from atrous.transforms.look import CropLook, grain
from atrous.transforms.sampling import read_linear, read_nearest
from atrous.transforms.warp import Move


def augment_batch(
    augment: Augment, images: torch.Tensor, labels: torch.Tensor, generators: Sequence[np.random.Generator]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augment a batch on its device, as `augment` does image by image.

    With the same generators both give the same crops, except for rounding: uint8 values differ by
    one or two, and by more at edges where a crop zooms out to less than half.

    Args:
        augment: The options; `jpeg` must be 100.
        images: (N, C, H, W), uint8 in 0..255 or floating point in their own units, on any device.
        labels: (N, H, W) integers on the same device.
        generators: A generator for each image; see `atrous.transforms.generator`.

    Returns:
        Images (N, C, h, w) and labels (N, h, w) of the same types, at the crop's size. Beyond the
        images, the labels are 255.

    Raises:
        ModelError: `augment.jpeg` is below 100; a device cannot pack JPEG.
        DataError: The shapes do not belong together.

    Example:
        >>> from atrous.transforms import Augment, generator
        >>> images, labels = torch.zeros(2, 3, 90, 120).byte(), torch.zeros(2, 90, 120).byte()
        >>> rngs = [generator(seed=0, epoch=0, index=k) for k in range(2)]
        >>> images, labels = augment_batch(Augment((64, 64)), images, labels, rngs)
        >>> images.shape, images.dtype, labels.shape
        (torch.Size([2, 3, 64, 64]), torch.uint8, torch.Size([2, 64, 64]))
    """
    if augment.jpeg < 100:
        raise ModelError(f"jpeg={augment.jpeg}: JPEG is packed on the processor only; leave jpeg at 100 here")
    if images.ndim != 4 or labels.shape != (len(images), *images.shape[2:]) or len(generators) != len(images):
        raise DataError(
            f"images {tuple(images.shape)}, labels {tuple(labels.shape)}, {len(generators)} generators; "
            "expected (N, C, H, W), (N, H, W) and N"
        )
    drawn = [augment.draw((images.shape[2], images.shape[3]), rng) for rng in generators]
    moves, looks = [move for move, _ in drawn], [look for _, look in drawn]
    taps = max(1, *(ceil(0.5 / move.zoom) for move in moves))
    pixels = read_linear(images.float(), _places(moves, taps, images.device))
    pixels = functional.avg_pool2d(pixels, taps) if taps > 1 else pixels
    pixels = _relook(_rounded(pixels, images.dtype), looks, generators, images.dtype)
    return pixels.to(images.dtype), read_nearest(labels, _places(moves, 1, images.device))


def _places(moves: Sequence[Move], taps: int, device: torch.device) -> torch.Tensor:
    """(N, taps * h, taps * w, 2): x and y in the image, as pixel indices.

    taps: points along each side of a pixel of the crop, for averaging where a crop zooms out.
    """
    height, width = moves[0].crop
    y, x = (((torch.arange(n * taps, device=device, dtype=torch.float32) + 0.5) / taps - 0.5) for n in (height, width))
    grid = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=-1).expand(len(moves), -1, -1, -1)
    if any(move.moved is not None for move in moves):
        moved = torch.from_numpy(np.stack([move.moved for move in moves])).to(device)  # type: ignore[misc]
        grid = grid + moved.repeat_interleave(taps, 1).repeat_interleave(taps, 2)
    matrix = torch.from_numpy(np.stack([move.matrix for move in moves])).to(device, torch.float32)
    return grid @ matrix[:, None, :, :2].transpose(2, 3) + matrix[:, None, None, :, 2]


def _relook(
    pixels: torch.Tensor, looks: Sequence[CropLook], generators: Sequence[np.random.Generator], dtype: torch.dtype
) -> torch.Tensor:
    """`look.change_look` for floats (N, C, h, w) that stand for values of `dtype`."""

    def each(values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=pixels.device).view(-1, 1, 1, 1)

    if pixels.shape[1] == 3 and any(look.colour is not None for look in looks):
        colour = np.stack([np.eye(3) if look.colour is None else look.colour for look in looks])
        pixels = torch.einsum("nij,njhw->nihw", torch.from_numpy(colour).to(pixels), pixels)
    mean = pixels.mean((1, 2, 3), keepdim=True)
    contrast, brightness = each([look.contrast for look in looks]), each([look.brightness for look in looks])
    pixels = brightness * (contrast * (pixels - mean) + mean)
    if any(look.gamma != 1 for look in looks):
        low, high = pixels.amin((1, 2, 3), keepdim=True), pixels.amax((1, 2, 3), keepdim=True)
        if dtype == torch.uint8:
            low, high = torch.zeros_like(low), torch.full_like(high, 255)
        span = (high - low).clamp_min(1e-12)
        pixels = low + span * ((pixels - low) / span).clamp(0, 1) ** each([look.gamma for look in looks])
    pixels = _rounded(pixels, dtype)
    if any(look.blur for look in looks):
        pixels = _rounded(_blurred(pixels, [look.blur for look in looks]), dtype)
    if any(look.noise for look in looks):
        white, shape = 255.0 if dtype == torch.uint8 else 1.0, (*pixels.shape[2:], pixels.shape[1])
        noise = [grain(shape, look.noise * white, rng) for look, rng in zip(looks, generators, strict=True)]
        pixels = _rounded(pixels + torch.from_numpy(np.stack(noise)).to(pixels).permute(0, 3, 1, 2), dtype)
    return pixels


def _rounded(pixels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return pixels.round().clamp(0, 255) if dtype == torch.uint8 else pixels


def _blurred(pixels: torch.Tensor, deviations: Sequence[float]) -> torch.Tensor:
    """Blur each image by its own Gaussian, as far as 3 deviations of the widest, or the side."""
    images, channels = pixels.shape[:2]
    for axis in (2, 3):
        reach = min(ceil(3 * max(deviations)), pixels.shape[axis] - 1)
        steps = np.arange(-reach, reach + 1)
        weights = np.stack([np.exp(-0.5 * (steps / max(deviation, 1e-3)) ** 2) for deviation in deviations])
        weights = (weights / weights.sum(1, keepdims=True)).repeat(channels, axis=0)
        padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        shape = (-1, 1, 2 * reach + 1, 1) if axis == 2 else (-1, 1, 1, 2 * reach + 1)
        kernels = torch.from_numpy(weights.astype(np.float32)).to(pixels.device).view(shape)
        flat = functional.pad(pixels, padding, mode="reflect").flatten(0, 1)[None]
        pixels = functional.conv2d(flat, kernels, groups=images * channels)[0].unflatten(0, (images, channels))
    return pixels
