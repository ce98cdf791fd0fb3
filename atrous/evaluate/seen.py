"""Which pictures a network was trained on: they are known again wherever they lie.

A bundle keeps a trace of each training picture: hashes of its name, its pixels, its mask and its look. Names and pixels
cannot be read from them. A copy that was moved, renamed or saved losslessly has the same pixels. One that was saved
with losses has another hash of its pixels, but the same mask, or the same name, and nearly the same look.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b, sha256
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from atrous.datasets import Pairs
from atrous.datasets.folder import Pair
from atrous.doctor.look import SIDE, shrink
from atrous.errors import DataError
from atrous.labels import LabelSet
from atrous.sample import Sample
from atrous.visual import to_rgb8

SAME_NAME, SAME_MASK = (1, 0.15), (4, 1.0)
"""By how many of 15 steps a cell, and the mean cell, of two looks of one picture may differ. Pictures of one camera
look much alike, and numbers are used as names again and again; two pictures with one mask are hardly ever different."""


class Trace(NamedTuple):
    """What is kept of a picture, in hexadecimal digits.

    name: of the file's stem. pixels: of the picture. mask: of its labels, "" where they are of one class.
    look: 8 x 8 cells of grey, 0 to 15 from the darkest to the brightest. It changes little when a picture is
    compressed, scaled or made brighter.
    """

    name: str
    pixels: str
    mask: str
    look: str

    def __str__(self) -> str:
        return ".".join(self)


def trace_of(sample: Sample) -> Trace:
    """The trace of a picture with its mask.

    Example:
        >>> sample = Sample(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8), path=Path("a.png"))
        >>> trace_of(sample).look == "0" * 64
        True
    """
    mask = sample.mask if sample.mask is not None and sample.mask.min() != sample.mask.max() else None
    flat = sample.image if sample.image.ndim == 3 else sample.image[len(sample.image) // 2]
    grey = cv2.cvtColor(to_rgb8(shrink(flat, SIDE)), cv2.COLOR_RGB2GRAY).astype(np.float32)
    cells = cv2.resize(grey, (8, 8), interpolation=cv2.INTER_AREA)
    cells -= cells.min()
    look = np.round(15 * cells / max(float(cells.max()), 1.0)).astype(int)
    pixels = _hash_array(sample.image)
    # The names of volumes are often those of patients, and few enough to try all: they leave no trace.
    name = _hash(os.fsencode((sample.path or Path()).stem)) if sample.image.ndim == 3 else pixels
    return Trace(
        name,
        pixels,
        "" if mask is None else _hash_array(mask),
        "".join(f"{cell:x}" for cell in look.ravel()),
    )


def keep_trace(pairs: Pairs, pair: Pair, sample: Sample) -> str:
    """Make the trace of a sample that was just decoded, and keep it for `traces_of`."""
    pairs.facts["trace", pair] = text = str(trace_of(sample))
    return text


def traces_of(pairs: Pairs) -> tuple[str, ...]:
    """The traces of pictures, as a card keeps them. A picture that cannot be read has none."""

    def trace(index: int) -> str | None:
        pair = pairs.pairs[index]
        try:
            return pairs.facts.get(("trace", pair)) or keep_trace(pairs, pair, pairs[index])
        except DataError:
            return None

    with ThreadPoolExecutor() as pool:
        return tuple(found for found in pool.map(trace, range(len(pairs))) if found)


class Seen:
    """The pictures that networks were trained on.

    Args:
        traces: as `traces_of` gives them.
    """

    def __init__(self, traces: Iterable[str]) -> None:
        self._pixels: set[str] = set()
        self._looks: dict[str, list[np.ndarray]] = defaultdict(list)
        for text in traces:
            trace = Trace(*text.split("."))
            self._pixels.add(trace.pixels)
            for key in (f"name {trace.name}", f"mask {trace.mask}"):
                self._looks[key].append(_cells(trace.look))

    def __bool__(self) -> bool:
        return bool(self._pixels)

    def __contains__(self, sample: Sample) -> bool:
        trace = trace_of(sample)
        if trace.pixels in self._pixels:
            return True
        return self._alike(f"name {trace.name}", trace, *SAME_NAME) or (
            bool(trace.mask) and self._alike(f"mask {trace.mask}", trace, *SAME_MASK)
        )

    def _alike(self, key: str, trace: Trace, most: int, mean: float) -> bool:
        apart = [np.abs(_cells(trace.look) - look) for look in self._looks.get(key, ())]
        return any(cells.max() <= most and cells.mean() <= mean for cells in apart)

    def among(self, pairs: Pairs) -> list[bool]:
        """For each picture, whether it was trained on.

        Raises:
            DataError: a picture cannot be read.
        """
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda index: pairs[index] in self, range(len(pairs))))


def fingerprint_of(labels: LabelSet, names: Iterable[str]) -> str:
    """A hash of classes and of the training images' names, which the recipe keeps."""
    return sha256(os.fsencode("\n".join([repr(labels), *names]))).hexdigest()[:16]


def _cells(look: str) -> np.ndarray:
    return np.array([int(cell, 16) for cell in look])


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()


def _hash_array(array: np.ndarray) -> str:
    return _hash(repr((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes())
