"""What a plan wants to know of pictures: their sizes, channels and type, the shares of the classes, whether they have
an up."""

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
    "photos": "colour pictures of 8 bits, taken for photos",
    "grey": "grey pictures, as microscopes make",
    "bands": "pictures of other bands than red, green and blue, as satellites make",
    "deep": "colour pictures of more than 8 bits",
}
SIZES, PICTURES = 32, 64
"""How many pictures are asked for their size, and for their up, at most."""
FEWEST = 8
"""Pictures below which nothing is said of an up."""
UP = 0.3
"""Agreement from which on pictures have an up. Measured: 0.87 in CamVid (and 0.09 from left to right), 0.18 in slices
of ISBI's electron microscope (0.24), -0.01 in the demo's land cover (0.01)."""
BANDS = 8
"""Stripes from top to bottom that are compared."""


@dataclass(frozen=True)
class Facts:
    """Of the training pictures. sizes: (height, width) of some. frequencies: labelled pixels of each class, int64 (K,).
    equal: whether their three channels are one. up: how far they agree on what is above, None where nobody looked."""

    pictures: int
    channels: int
    dtype: str
    sizes: tuple[tuple[int, int], ...]
    frequencies: np.ndarray
    equal: bool
    up: float | None

    @cached_property
    def kind(self) -> Kind:
        if self.channels == 1 or self.equal:
            return "grey"
        if self.channels != 3:
            return "bands"
        return "photos" if self.dtype == "uint8" else "deep"

    @property
    def median(self) -> tuple[float, float]:
        """Height and width."""
        height, width = np.median(self.sizes, axis=0)
        return float(height), float(width)

    @property
    def shares(self) -> np.ndarray:
        """Of the labelled pixels, (K,)."""
        return np.asarray(self.frequencies / max(self.frequencies.sum(), 1))

    @property
    def turnable(self) -> bool:
        """Whether they may be turned upside down: their kind has no up as a rule, and none was found."""
        return self.kind != "photos" and self.up is not None and self.up < UP

    def summary(self, names: Sequence[str]) -> dict[str, Any]:
        """Plain data for JSON; names: of the classes."""
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
    """Look at the training split; every mask is read, some pictures."""
    train = data.splits["train"]
    sizes = tuple(train.size(index) for index in range(0, len(train), max(1, len(train) // SIZES)))
    equal = data.channels == 3 and all(same_channels(train[index].image) for index in spread(len(train), 8))
    found = Facts(len(train), data.channels, str(data.dtype), sizes, train.frequencies(), equal, None)
    if found.kind == "photos" or len(train) < FEWEST:
        return found
    return Facts(len(train), data.channels, str(data.dtype), sizes, found.frequencies, equal, agreement(train, axis=0))


def spread(count: int, most: int) -> list[int]:
    """At most so many of the indices 0 .. count - 1, evenly spaced."""
    return [int(index) for index in np.unique(np.linspace(0, count - 1, min(most, count)).round())]


def agreement(pairs: Pairs, axis: int) -> float:
    """How far pictures agree on what lies above and what below (axis 0), or left and right (axis 1): about 0 where each
    is as likely as its mirror image, 1 where all are alike.

    Of each picture the difference between stripes and their mirror images is taken, in brightness per channel and in
    classes; the mean product over pairs of different pictures is divided by the mean square.
    """
    samples = (pairs[index] for index in spread(len(pairs), PICTURES))
    odd = np.array([lopsided(sample, len(pairs.labels), axis) for sample in samples])
    squares = float((odd**2).sum())
    products = float((odd.sum(0) ** 2).sum()) - squares
    return products / (len(odd) - 1) / squares if squares > 0 else 0.0


def lopsided(sample: Sample, classes: int, axis: int) -> np.ndarray:
    """Half the difference between the stripes of one side and their mirror images, of channels in units of their
    standard deviation and of classes in halves, flat."""
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
