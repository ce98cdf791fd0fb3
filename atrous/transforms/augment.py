"""Augmentation of a training sample: one resampling, then colour, then what a camera adds.

Scale, rotation, shear, flips and crop are one affine map from the crop's pixels to the image's. So
the image is resampled once, and only where the crop needs it. The image is read bilinearly, the
mask by nearest neighbour through the same map. An elastic deformation moves the crop's pixels
before the map, within the same warp. In crop and image alike, pixel i has its centre at i + 1/2. So
image and mask stay aligned to a fraction of a pixel at every scale.
"""

from dataclasses import dataclass, replace
from math import inf, radians

import numpy as np

from atrous.errors import ModelError
from atrous.sample import Sample
from atrous.transforms.elastic import displacements
from atrous.transforms.look import CropLook, change_look, colour_matrix
from atrous.transforms.warp import Move, check_crop, crop_matrix, draw_span, draw_zoom, move_image, move_mask

RANGES: dict[str, tuple[float, float]] = {
    "rotate": (0, 180), "shear": (0, 60), "flip": (0, 1), "vflip": (0, 1), "elastic": (0, inf),
    "brightness": (0, 1), "contrast": (0, 1), "saturation": (0, 1), "hue": (0, 180), "gamma": (0, 9),
    "blur": (0, inf), "noise": (0, inf), "jpeg": (1, 100),
}  # fmt: skip
"""The smallest and the largest value of each option."""
DRAWS = 16
"""Random numbers that every crop draws, whatever its options are."""


def generator(seed: int, epoch: int, index: int, part: int = 0) -> np.random.Generator:
    """The random numbers of one sample in one epoch.

    They depend on the four arguments alone: not on the number of workers, the order of the samples,
    or whether a run was resumed.

    Args:
        seed: The run's seed, 0..2^64-1.
        epoch: 0..2^64-1.
        index: The sample's place in its data set.
        part: A number for each stream, where one sample needs several.

    Returns:
        A generator on Philox, which is counter based: seed and epoch are its key, index and part
        are words of its counter. So no two streams overlap.

    Source:
        Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    Example:
        >>> generator(seed=0, epoch=3, index=17).random() == generator(0, 3, 17).random()
        True
    """
    key, counter = np.array([seed, epoch], np.uint64), np.array([0, 0, index, 1 + part], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


@dataclass(frozen=True)
class Augment:
    """Draws a random crop of a sample and changes its shape and its look.

    Call it with a `Sample` and a `generator`; it returns a `Sample` of exactly `crop` pixels.
    Images are (H, W, C) of uint8, uint16 or float32 with any number of channels. uint8 and uint16
    are clipped to their range, float32 is not.

    Outside the image, the mask is ignored (255, or 65535 in a uint16 mask) and the image continues
    by reflection. Those pixels cost nothing in the loss. But a flat border would be an edge that no
    real image has, and would shift the statistics of batch norms. The sample's geometry is dropped.

    Args:
        crop: (height, width) of the result in pixels.
        scale: Zoom, (from, to). To zoom out and to zoom in by the same factor are equally likely.
        rotate: At most this many degrees either way, 0..180.
        flip: Chance of a left-right mirror image, 0..1.
        vflip: Chance of an up-down mirror image, 0..1.
        elastic: Standard deviation of the displacements on a 3 x 3 grid over the crop, in pixels of
            the crop; see `displacements`. U-Net 2015 has 10.
        brightness: x: the image is multiplied by a factor in 1 - x .. 1 + x; x in 0..1.
        contrast: x: so is its difference from the crop's mean.
        saturation: x: so is each pixel's difference from its own grey; three channels only.
        hue: A turn about the grey axis of at most this many degrees either way, 0..180; three
            channels only.
        shear: Verticals and horizontals each lean at most this many degrees either way, 0..60.
        gamma: x: an exponent between 1 / (1 + x) and 1 + x, 0..9. It applies to values from black
            to white; in float32 images, from the crop's least value to its greatest.
        blur: x: a Gaussian with a standard deviation drawn from 0..x pixels.
        noise: x: Gaussian noise with a standard deviation drawn from 0..x, as a share of white; in
            float32 images, in their own units.
        jpeg: x: the crop is packed at a quality drawn from x..100; at 100 it stays as it is. For
            uint8 images of one or three channels.

    Raises:
        ModelError: An option is out of its range (here), or `jpeg` does not fit the image (when
            called).

    Example:
        >>> import numpy as np
        >>> from atrous.sample import Sample
        >>> sample = Sample(np.zeros((300, 400, 3), np.uint8), np.zeros((300, 400), np.uint8))
        >>> augment = Augment(crop=(128, 160), rotate=15)
        >>> changed = augment(sample, generator(seed=0, epoch=0, index=0))
        >>> changed.image.shape, changed.mask.shape
        ((128, 160, 3), (128, 160))
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
        check_crop(self.crop, self.scale)
        for name, (least, most) in RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise ModelError(f"{name}={getattr(self, name)} is out of range; expected {least:g}..{most:g}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """A changed crop of image and mask (which may be None); equal `rng`, equal bytes."""
        move, look = self.draw((sample.image.shape[0], sample.image.shape[1]), rng)
        return self.apply(sample, move, look, rng)

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[Move, CropLook]:
        """Draw what happens to an image of `size` (height, width), except each pixel's noise."""
        u = rng.random(DRAWS)  # always all: switching one change off leaves the others
        either = 2 * u - 1
        zoom = draw_zoom(self.scale, u[0])
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
        """Do what was drawn. shrunk: the image was read at 1 / shrunk of its size, rounded up."""
        if self.jpeg < 100 and (sample.image.dtype != np.uint8 or sample.image.shape[2] not in (1, 3)):
            raise ModelError(
                f"jpeg={self.jpeg} is for uint8 images of 1 or 3 channels; this one has {sample.image.shape[2]} of "
                f"{sample.image.dtype}: leave jpeg at 100"
            )
        image = change_look(move_image(sample.image, move, shrunk), look, rng)
        mask = None if sample.mask is None else move_mask(sample.mask, move)
        return replace(sample, image=image, mask=mask, geometry={})
