"""Objects that are drawn as outlines, ellipses or small masks, painted into label maps.

Several layouts share this: each reads its own files into regions. A region that cannot be painted
is a fault of its file, found while the folder is read where that needs no decoding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from atrous.datasets import shapes
from atrous.datasets.folder import (
    IMAGE_FOLDERS,
    Folder,
    Pair,
    Readers,
    checked_size,
    folders_in,
    image_file,
    size_of_file,
)
from atrous.datasets.naming import Named
from atrous.errors import DataError
from atrous.io import image_size
from atrous.labels import LabelSet

BACKGROUND = ("background", "_background_", "__background__", "bg")
"""Labels, in lower case, that mean value 0."""
Size = tuple[object, object]
"""Height and width of an image, as an annotation file states them."""


@dataclass(frozen=True)
class Region:
    """An object. Places are x, y in pixels; the first pixel covers 0..1.

    what: what errors call it. label: its class. outlines: polygons (n, 2) by the even-odd rule, an
    inner one is a hole. ellipse: centre x, y, radii x, y, and the angle clockwise in degrees. part:
    a bool mask (h, w) with the column and row of its first pixel. share: the places of outlines
    are shares 0..1 of the image's sides.
    """

    what: str
    label: str
    outlines: tuple[np.ndarray, ...] = ()
    ellipse: tuple[float, float, float, float, float] | None = None
    part: tuple[np.ndarray, int, int] | None = None
    share: bool = False

    def paint(self, height: int, width: int) -> np.ndarray:
        """Paint bool (H, W), cut off at the border; ValueError for places far outside."""
        scale = np.array([width, height]) if self.share else np.ones(2)
        if self.ellipse is not None:
            return fill_ellipse(self.ellipse, height, width)
        if self.part is not None:
            return paste(*self.part, height, width)
        mask = np.zeros((height, width), bool)
        for points in self.outlines:
            mask ^= shapes.fill([points * scale], height, width)
        return mask

    def area(self, height: int, width: int) -> float:
        """Compute the area of the outlines in pixels, holes included."""
        scale = np.array([width, height]) if self.share else np.ones(2)
        return sum(shapes.area(points * scale) for points in self.outlines)

    def misplaced(self, height: int, width: int) -> str | None:
        """Tell what is wrong with the place of the region in an image of this size, or None."""
        scale = np.array([width, height]) if self.share else np.ones(2)
        corners = self.outlines
        if self.ellipse is not None:
            x, y, across, down, _ = self.ellipse
            reach = max(across, down)
            corners = (np.array([[x - reach, y - reach], [x + reach, y + reach]]),)
        elif self.part is not None:
            part, left, top = self.part
            corners = (np.array([[left, top], [left + part.shape[1], top + part.shape[0]]], float),)
        if corners and all(shapes.is_outside(points * scale, height, width) for points in corners):
            return f"lies outside the image, {height} x {width} pixels"
        return None


@dataclass(frozen=True)
class RegionPainter:
    """Paints the regions of a pair, later ones on top.

    records: pair -> its size as its file states it, or None, and its regions. values: label -> class
    value. largest_first: outlines of smaller area are on top instead.
    """

    records: dict[Pair, tuple[Size | None, list[Region]]]
    values: dict[str, int]
    dtype: np.dtype[Any]
    largest_first: bool = False

    def __call__(self, pair: Pair) -> np.ndarray:
        """Paint (H, W) class values; DataError names a region that cannot be painted."""
        size, regions = self.records[pair]
        height, width = image_size(pair.image)[:2] if size is None else checked_size(*size, pair.where)
        values: np.ndarray = np.zeros((height, width), self.dtype)
        for region in sorted(regions, key=lambda one: -one.area(height, width)) if self.largest_first else regions:
            try:
                if problem := region.misplaced(height, width):
                    raise ValueError(problem)
                values[region.paint(height, width)] = self.values[region.label]
            except ValueError as error:
                raise DataError(f"{pair.where}: {region.what}: {error}; correct or delete it") from error
        return values


@dataclass
class Drawing:
    """What a layout of drawn objects reads: the folder it becomes, and the regions of each pair.

    names: the classes in their order; None takes all labels from A to Z. A class called background
    is value 0, else 0 is where nothing is drawn. images: (split, image) of all pairs. lost: file ->
    the images that it names and that are not there.
    """

    folder: Folder
    records: dict[Pair, tuple[Size | None, list[Region]]] = field(default_factory=dict)
    names: Sequence[str] | None = None
    images: set[tuple[str, Path]] = field(default_factory=set)
    lost: dict[Path, list[str]] = field(default_factory=dict)

    def fault(self, file: Path, sentence: str) -> None:
        """Note what is wrong with a file."""
        self.folder.faults.append((file, sentence))

    def add(self, split: str, image: Path, file: Path, regions: list[Region], size: Size | None = None) -> None:
        """Add an image with its regions; a second entry for it becomes a clash.

        size: height and width as the file states them.
        """
        pair = Pair(image, file)
        if pair in self.records or (split, image) in self.images:
            return self.folder.clashes.append((file, f"has a second entry for {image.name}; keep one of them"))
        self.images.add((split, image))
        self.records[pair] = size, regions
        self.folder.splits.setdefault(split, []).append(pair)
        return None

    def finished(self, largest_first: bool = False) -> Folder:
        """Return the folder, with its classes and readers; DataError if no class is left."""
        for file, lost in self.lost.items():
            shown = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
            self.fault(file, f"{len(lost)} of its images ({shown}) are not below {self.folder.root}; add them")
        used = {region.label for _, regions in self.records.values() for region in regions}
        names = list(self.names) if self.names is not None else sorted(used)
        names = [name for name in names if name.lower() not in BACKGROUND]
        if not names and not self.folder.faults and not self.folder.clashes:
            raise DataError(
                f"{self.folder.root}: no object with a label ({self.folder.why}); expected at least one, export the "
                "annotations again"
            )
        labels = LabelSet.numbered(["background", *names])
        values = {name: value for value, name in enumerate(labels.names)} | dict.fromkeys(
            [name for name in (*used, *(self.names or ())) if name.lower() in BACKGROUND], 0
        )
        for pairs in self.folder.splits.values():
            pairs.sort(key=lambda pair: pair.image)
        painter = RegionPainter(self.records, values, labels.dtype, largest_first)
        return replace(self.folder, labels=labels, readers=Readers(image_file, painter, size_of_file))


def fill_ellipse(ellipse: tuple[float, float, float, float, float], height: int, width: int) -> np.ndarray:
    """Paint bool (H, W): the pixels whose centres are in an ellipse (x, y, radii, angle)."""
    x, y, across, down, degrees = ellipse
    if not np.isfinite(ellipse).all() or min(across, down) <= 0:
        raise ValueError(f"an ellipse of the radii {across:g} and {down:g}; expected numbers above 0")
    angle = np.deg2rad(degrees)
    right = np.arange(width)[None] + 0.5 - x
    below = np.arange(height)[:, None] + 0.5 - y
    u, v = right * np.cos(angle) + below * np.sin(angle), below * np.cos(angle) - right * np.sin(angle)
    return (u / across) ** 2 + (v / down) ** 2 <= 1


def rectangle(x: float, y: float, width: float, height: float, degrees: float = 0) -> np.ndarray:
    """Make the outline (4, 2) of a rectangle that is turned clockwise about its centre."""
    if not np.isfinite([x, y, width, height, degrees]).all() or min(width, height) <= 0:
        raise ValueError(f"a rectangle of {width:g} x {height:g}; expected sides above 0")
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (width / 2, height / 2)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # for rows x, y
    return corners @ turn + (x + width / 2, y + height / 2)


def paste(part: np.ndarray, left: int, top: int, height: int, width: int) -> np.ndarray:
    """Paint a bool mask (h, w) with its first pixel at (left, top): bool (H, W), cut off."""
    mask = np.zeros((height, width), bool)
    rows, columns = np.nonzero(part)
    rows, columns = rows + top, columns + left
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    mask[rows[inside], columns[inside]] = True
    return mask


class Finder:
    """Finds the one image that an annotation file means by a name, anywhere below the root."""

    def __init__(self, root: Path) -> None:
        folders = [path for path in folders_in(root) if path.name.lower() in IMAGE_FOLDERS]
        self.named = Named(root, [root, *folders])

    def find(self, name: str, folder: str = "") -> Path | None:
        """Find the image that a name means; DataError if several images fit equally well.

        folder: one that is in front of the name, if there is such an image.
        """
        fits = (self.named.find(f"{folder}/{name}") if folder else []) or self.named.find(name)
        if len(fits) > 1:
            shown = " or ".join(path.relative_to(self.named.root).as_posix() for path in fits[:2])
            raise DataError(
                f"{self.named.root}: {name!r} may be {shown}; expected one image of this name, keep one or write its "
                "folder"
            )
        return fits[0] if fits else None
