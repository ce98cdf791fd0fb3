"""Which pictures a network was trained on: they are known again wherever they lie.

A bundle keeps a trace of each training picture: hashes of its name, its pixels, its mask and its look. Names and pixels
cannot be read from them. A copy that was moved, renamed or saved losslessly has the same pixels. One that was saved
with losses has another hash of its pixels, but the same mask, or the same name, and nearly the same look.
"""

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b, sha256
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from atrous.datasets import Pairs
from atrous.doctor.copies import FAR, hashes
from atrous.doctor.look import CELLS, SIDE, shrink
from atrous.errors import DataError
from atrous.labels import LabelSet
from atrous.sample import Sample
from atrous.visual import to_rgb8

NEAR = 6
"""Two pictures of one name are the same if their looks differ in at most this many of 128 bits."""


class Trace(NamedTuple):
    """What is kept of a picture, in hexadecimal digits.

    name: of the file's stem. pixels: of the picture. mask: of its labels, "" where they are of one class.
    look: 128 bits that change little when a picture is compressed or scaled.
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
        >>> trace_of(sample).look
        '00000000000000000000000000000000'
    """
    mask = sample.mask if sample.mask is not None and sample.mask.min() != sample.mask.max() else None
    grey = cv2.cvtColor(to_rgb8(shrink(sample.image, SIDE)), cv2.COLOR_RGB2GRAY)
    first, second = hashes(cv2.resize(grey, (CELLS, CELLS), interpolation=cv2.INTER_AREA)[None])[0]
    return Trace(
        _hash((sample.path or Path()).stem.encode()),
        _hash_array(sample.image),
        "" if mask is None else _hash_array(mask),
        f"{int(first):016x}{int(second):016x}",
    )


def traces_of(pairs: Pairs) -> tuple[str, ...]:
    """The traces of pictures, as a card keeps them. A picture that cannot be read has none."""

    def trace(index: int) -> str | None:
        try:
            return str(trace_of(pairs[index]))
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
        self._looks: dict[str, list[int]] = defaultdict(list)
        for text in traces:
            trace = Trace(*text.split("."))
            self._pixels.add(trace.pixels)
            for key in (f"name {trace.name}", f"mask {trace.mask}"):
                self._looks[key].append(int(trace.look, 16))

    def __bool__(self) -> bool:
        return bool(self._pixels)

    def __contains__(self, sample: Sample) -> bool:
        trace = trace_of(sample)
        return trace.pixels in self._pixels or (
            self._alike(f"name {trace.name}", trace, NEAR)
            or (bool(trace.mask) and self._alike(f"mask {trace.mask}", trace, FAR))
        )

    def _alike(self, key: str, trace: Trace, most: int) -> bool:
        look = int(trace.look, 16)
        return any((look ^ other).bit_count() <= most for other in self._looks.get(key, ()))

    def among(self, pairs: Pairs) -> list[bool]:
        """For each picture, whether it was trained on.

        Raises:
            DataError: a picture cannot be read.
        """
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda index: pairs[index] in self, range(len(pairs))))


def fingerprint_of(labels: LabelSet, names: Iterable[str]) -> str:
    """A hash of classes and of the training images' names, which the recipe keeps."""
    return sha256("\n".join([repr(labels), *names]).encode()).hexdigest()[:16]


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()


def _hash_array(array: np.ndarray) -> str:
    return _hash(repr((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes())
