"""The facts that a plan needs about images: sizes, channels, classes, and if they have an up.

Images have an up if top and bottom differ in the same way in most of them: sky above road, for
example. Such images are not turned upside down in training.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal

import cv2
import numpy as np

from atrous.datasets import DataSet, Pairs
from atrous.doctor.look import CELLS, same_channels, shrink_nearest
from atrous.sample import Sample

Kind = Literal["photos", "grey", "bands", "deep"]
KINDS: dict[Kind, str] = {
    "photos": "colour images of 8 bits, taken for photos",
    "grey": "grey images, such as from microscopes",
    "bands": "images of other bands than red, green and blue, such as from satellites",
    "deep": "colour images of more than 8 bits",
}
SIZES, PICTURES = 32, 64
"""Images that are read for their size (up to twice as many) and searched for an up (at most)."""
FEWEST = 8
"""With fewer images there is no answer about an up."""
UP = 0.3
"""Images whose agreement is at least this have an up.

Measured, top to bottom (and left to right): CamVid 0.87 (0.09), slices of ISBI's electron
microscope 0.18 (0.24), the demo's land cover -0.01 (0.01).
"""
BANDS = 8
"""Number of stripes, from top to bottom, that are compared."""


@dataclass(frozen=True)
class Facts:
    """Facts about the training images.

    Attributes:
        pictures: how many there are.
        channels: of each image.
        dtype: type of the pixels, such as `uint8`.
        sizes: (height, width) of some of them.
        frequencies: number of labelled pixels of each class, int64 (K,).
        equal: the three channels are equal: the images are grey.
        up: `agreement` from top to bottom; None if it was not computed.
    """

    pictures: int
    channels: int
    dtype: str
    sizes: tuple[tuple[int, int], ...]
    frequencies: np.ndarray
    equal: bool
    up: float | None

    @cached_property
    def kind(self) -> Kind:
        """What the rules tell apart."""
        if self.channels == 1 or self.equal:
            return "grey"
        if self.channels != 3:
            return "bands"
        return "photos" if self.dtype == "uint8" else "deep"

    @property
    def median(self) -> tuple[float, float]:
        """Median height and median width."""
        height, width = np.median(self.sizes, axis=0)
        return float(height), float(width)

    @property
    def shares(self) -> np.ndarray:
        """Share of each class in the labelled pixels, (K,), 0 to 1."""
        return np.asarray(self.frequencies / max(self.frequencies.sum(), 1))

    @property
    def turnable(self) -> bool:
        """Whether they may be turned upside down: no photos, and no up was found in them."""
        return self.kind != "photos" and self.up is not None and self.up < UP

    def summary(self, names: Sequence[str]) -> dict[str, Any]:
        """Plain data for JSON. names: of the classes, in order."""
        plain = asdict(self)
        del plain["sizes"], plain["frequencies"], plain["equal"]
        return {
            **plain,
            "kind": self.kind,
            "median_size": list(self.median),
            "smallest": list(min(self.sizes, key=prod)),
            "largest": list(max(self.sizes, key=prod)),
            "classes": {name: round(float(share), 6) for name, share in zip(names, self.shares, strict=True)},
        }


def facts_of(data: DataSet) -> Facts:
    """Look at the training split: at every mask, and at some of the images."""
    train = data.training
    sizes = tuple(train.size(index) for index in range(0, len(train), max(1, len(train) // SIZES)))
    equal = data.channels == 3 and all(same_channels(train[index].image) for index in spread(len(train), 8))
    found = Facts(len(train), data.channels, str(data.dtype), sizes, train.frequencies(), equal, None)
    if found.kind == "photos" or len(train) < FEWEST:
        return found
    return Facts(len(train), data.channels, str(data.dtype), sizes, found.frequencies, equal, agreement(train, axis=0))


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0 .. count - 1, evenly spaced."""
    return [int(index) for index in np.unique(np.linspace(0, count - 1, min(most, count)).round())]


def agreement(pairs: Pairs, axis: int) -> float:
    """How far images agree on what lies above and below (axis 0), or left and right (axis 1).

    For each image, `lopsided` compares stripes with their mirror images. The result is the mean
    product of two different images' vectors, divided by the mean square: about 0 if each image is
    as likely as its mirror image, 1 if all images are alike.
    """
    samples = (pairs[index] for index in spread(len(pairs), PICTURES))
    odd = np.array([lopsided(sample, len(pairs.labels), axis) for sample in samples])
    squares = float((odd**2).sum())
    products = float((odd.sum(0) ** 2).sum()) - squares
    return products / (len(odd) - 1) / squares if squares > 0 else 0.0


def lopsided(sample: Sample, classes: int, axis: int) -> np.ndarray:
    """Half the difference between stripes on one side and their mirror images, as one vector.

    Each stripe holds the mean of every channel, in units of the channel's standard deviation in
    this image, and twice the share of every class.
    """
    assert sample.mask is not None
    rows = []
    for channel in range(sample.image.shape[2]):
        plane = np.ascontiguousarray(sample.image[..., channel]).astype(np.float32)
        small = cv2.resize(plane, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
        rows.append(small.mean(axis=1 - axis) / max(float(plane.std()), 1e-6))
    cells = shrink_nearest(sample.mask)
    rows += [2 * (cells == index).mean(axis=1 - axis) for index in range(classes)]
    stripes = np.array(rows).reshape(len(rows), BANDS, -1).mean(axis=2)
    return ((stripes - stripes[:, ::-1]) / 2)[:, : BANDS // 2].ravel()
