"""Augmentation of a training sample: one resampling, then colour, then what a camera adds.

Scale, rotation, shear, flips and crop are one affine map from the crop's pixels to the image's, so that the picture is
resampled once (bilinear) and only where it is needed. The mask follows by nearest neighbour through the same map.
An elastic deformation moves the crop's pixels before the map, within the same warp.
Pixel centres lie at half-integers in both, hence image and mask stay aligned to a fraction of a pixel at every scale.
"""

from dataclasses import dataclass, replace
from math import inf, log, radians

import numpy as np

from atrous.errors import ModelError
from atrous.sample import Sample
from atrous.transforms.elastic import displacements
from atrous.transforms.look import CropLook, change_look, colour_matrix
from atrous.transforms.warp import Move, crop_matrix, draw_span, move_image, move_mask

RANGES: dict[str, tuple[float, float]] = {
    "rotate": (0, 180), "shear": (0, 60), "flip": (0, 1), "vflip": (0, 1), "elastic": (0, inf),
    "brightness": (0, 1), "contrast": (0, 1), "saturation": (0, 1), "hue": (0, 180), "gamma": (0, 9),
    "blur": (0, inf), "noise": (0, inf), "jpeg": (1, 100),
}  # fmt: skip
DRAWS = 16


def generator(seed: int, epoch: int, index: int, part: int = 0) -> np.random.Generator:
    """Random numbers for one sample of one epoch; they depend on nothing else (not on workers, order or a resume).

    seed, epoch: 0..2^64-1; index: the sample's place in its data set; part: for samples that need several streams.
    Philox is counter based (Salmon et al., SC 2011): seed and epoch are its key, index and part words of the counter,
    so that streams never overlap.
    """
    key, counter = np.array([seed, epoch], np.uint64), np.array([0, 0, index, 1 + part], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


@dataclass(frozen=True)
class Augment:
    """Sample -> Sample of exactly `crop` (height, width) pixels, any dtype and number of channels.

    scale: from, to; drawn so that zooming out and in by the same factor are equally likely. rotate, shear: at most so
    many degrees either way; shear is how far verticals and horizontals lean. flip, vflip: chance of a mirror image
    (left-right, up-down). elastic: standard deviation, in pixels of the crop, of the vectors on a 3 x 3 grid (10 in
    U-Net 2015). brightness, contrast, saturation: a factor within 1 - x .. 1 + x, contrast about the crop's mean,
    saturation about each pixel's grey; hue: a turn of at most so many degrees about the grey axis. Saturation and hue
    apply to three-channel images only.

    gamma: an exponent between 1 / (1 + x) and 1 + x, of values from black to white, in float32 images from the crop's
    least to its greatest. blur: Gaussian, its standard deviation drawn from 0 .. x pixels. noise: Gaussian, its
    standard deviation drawn from 0 .. x of white, in float32 images from 0 .. x of their own units. jpeg: packed at a
    quality drawn from x .. 100, where 100 leaves the image as it is; for uint8 of one or three channels.

    Outside the image the mask is ignored (255, or 65535 in a uint16 mask) and the image continues by reflection:
    those pixels cost nothing in the loss, but a flat border would be an edge that no real image has, and would shift
    the batch norms' statistics. uint8 and uint16 are clipped to their range, float32 is not. The geometry of the
    sample is dropped.
    """

    crop: tuple[int, int]
    scale: tuple[float, float] = (0.5, 2.0)
    rotate: float = 0.0
    flip: float = 0.5
    vflip: float = 0.0
    elastic: float = 0.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 5.0
    shear: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg: int = 100

    def __post_init__(self) -> None:
        if min(self.crop) < 1:
            raise ModelError(f"crop {self.crop} is empty; expected a height and a width of at least 1 pixel")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ModelError(f"scale {self.scale} is no range; expected two positive factors, the smaller one first")
        for name, (least, most) in RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise ModelError(f"{name}={getattr(self, name)} is out of range; expected {least:g}..{most:g}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """image (H, W, C), mask (H, W) or None -> the same types at the crop's size; equal rng, equal bytes."""
        move, look = self.draw((sample.image.shape[0], sample.image.shape[1]), rng)
        return self.apply(sample, move, look, rng)

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[Move, CropLook]:
        """What will happen to an image of `size` (height, width) pixels, but for the noise of each pixel."""
        u = rng.random(DRAWS)  # always as many, in one order: switching one change off leaves the others as they were
        either = 2 * u - 1
        low, top = log(self.scale[0]), log(self.scale[1])
        zoom = float(np.exp(low + u[0] * (top - low)))
        spans = draw_span(size[0], self.crop[0], zoom, u[5]), draw_span(size[1], self.crop[1], zoom, u[4])
        mirror = bool(u[3] < self.vflip), bool(u[2] < self.flip)
        turn = radians(self.rotate * either[1])
        lean = radians(self.shear * either[10]), radians(self.shear * either[11])
        straight = not (turn or any(lean) or self.elastic)
        matrix = crop_matrix(self.crop, zoom, spans, mirror, turn, lean)
        moved = displacements(self.crop, rng, sigma=self.elastic) if self.elastic else None
        saturation, angle = 1 + self.saturation * either[8], radians(self.hue * either[9])
        look = CropLook(
            brightness=1 + self.brightness * either[6],
            contrast=1 + self.contrast * either[7],
            colour=colour_matrix(saturation, angle) if saturation != 1 or angle else None,
            gamma=(1 + self.gamma) ** either[12],
            blur=self.blur * u[13],
            noise=self.noise * u[14],
            jpeg=100 - int((101 - self.jpeg) * u[15]),
        )
        return Move(self.crop, zoom, *spans, mirror, straight, matrix, moved), look

    def apply(self, sample: Sample, move: Move, look: CropLook, rng: np.random.Generator, *, shrunk: int = 1) -> Sample:
        """Do what was drawn. shrunk: the image was read at 1 / shrunk of its size (rounded up), the mask was not."""
        if self.jpeg < 100 and (sample.image.dtype != np.uint8 or sample.image.shape[2] not in (1, 3)):
            raise ModelError(
                f"jpeg={self.jpeg} is for uint8 images of 1 or 3 channels; these have {sample.image.shape[2]} of "
                f"{sample.image.dtype}, leave it at 100"
            )
        image = change_look(move_image(sample.image, move, shrunk), look, rng)
        mask = None if sample.mask is None else move_mask(sample.mask, move)
        return replace(sample, image=image, mask=mask, geometry={})
