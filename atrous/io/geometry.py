"""Where the voxels of a volume lie in the patient, in one convention.

An array (D, H, W) has its voxels along three axes. The world is the patient's, in mm: x goes to the
left, y to the back, z to the head (LPS, as in DICOM and ITK). NIfTI's world has x and y the other
way round (RAS); SimpleITK turns them, and its array axes are (D, H, W).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
"""Of each world axis, the letters of its way down and up."""


@dataclass(frozen=True)
class Geometry:
    """The grid of a volume's voxels.

    Attributes:
        spacing: mm between voxels along D, H, W.
        origin: (x, y, z) in mm of the centre of the voxel (0, 0, 0).
        direction: three rows x, y, z; column k is the way that axis k of the array goes, one mm long.

    Example:
        >>> grid = Geometry((5.0, 1.0, 1.0))
        >>> grid.letters, grid.place((2, 0, 10)).tolist()
        ('SPL', [10.0, 0.0, 10.0])
    """

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[tuple[float, float, float], ...] = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) float64: voxel (d, h, w, 1) -> (x, y, z, 1) in mm."""
        whole = np.eye(4)
        whole[:3, :3] = np.array(self.direction) * np.array(self.spacing)
        whole[:3, 3] = self.origin
        return whole

    @property
    def letters(self) -> str:
        """The way of each axis of the array, D first: L or R, P or A, S or I, whichever is nearest."""
        found = []
        for axis, world in enumerate(nearest_axes(np.array(self.direction))):
            found.append(LETTERS[world][self.direction[world][axis] > 0])
        return "".join(found)

    def place(self, voxel: Sequence[float]) -> np.ndarray:
        """(x, y, z) in mm of a voxel (d, h, w), which may lie between others."""
        return np.asarray((self.affine @ [*voxel, 1.0])[:3])

    def differs(self, other: "Geometry", shape: Sequence[int]) -> float:
        """How far, in mm, the corners of two grids of this many voxels lie apart, at most."""
        corners = np.array(np.meshgrid(*((0, n - 1) for n in shape))).reshape(3, -1)
        apart = (self.affine - other.affine)[:3] @ np.vstack([corners, np.ones(8)])
        return float(np.linalg.norm(apart, axis=0).max())


@dataclass(frozen=True)
class Turn:
    """How the axes of an array are brought into another order and way, without touching a value.

    Attributes:
        axes: axis k of the result is this axis of the array.
        flips: whether it goes the other way.
    """

    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    def array(self, array: np.ndarray) -> np.ndarray:
        """A view of an array (D, H, W, ...) that is turned."""
        turned = array.transpose(*self.axes, *range(3, array.ndim))
        return turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]

    def back(self, array: np.ndarray) -> np.ndarray:
        """The inverse: a view of an array that `array` gave."""
        whole = array[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]
        return whole.transpose(*np.argsort(self.axes).tolist(), *range(3, array.ndim))

    def geometry(self, grid: Geometry, shape: Sequence[int]) -> Geometry:
        """The grid of the turned array. shape: (D, H, W) of the one before."""
        first = [shape[axis] - 1 if flip else 0 for axis, flip in zip(self.axes, self.flips, strict=True)]
        corner = np.zeros(3)
        corner[list(self.axes)] = first
        columns = np.array(grid.direction)[:, list(self.axes)] * np.where(self.flips, -1.0, 1.0)
        spacing = tuple(grid.spacing[axis] for axis in self.axes)
        return Geometry(spacing, _three(grid.place(corner)), _rows(columns))  # type: ignore[arg-type]


def standard(grid: Geometry) -> Turn:
    """The turn that lets D go to the head, H to the back and W to the left, as near as whole axes allow.

    Two files of one scan whose voxels are stored in different orders look the same after it.

    Example:
        >>> turned = Geometry(direction=((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
        >>> standard(turned)
        Turn(axes=(2, 1, 0), flips=(False, False, True))
    """
    direction = np.array(grid.direction)
    worlds = nearest_axes(direction)
    axes = tuple(worlds.index(world) for world in (2, 1, 0))
    flips = tuple(bool(direction[world, axis] < 0) for world, axis in zip((2, 1, 0), axes, strict=True))
    return Turn(axes, flips)  # type: ignore[arg-type]


def nearest_axes(direction: np.ndarray) -> tuple[int, ...]:
    """For each axis of the array the world axis that it goes along; each world axis once, the best fit of all.

    Where two fit equally well (a grid turned by 45 degrees), the choice is the same for a copy whose
    axes have another order or way: it is made by what these do not change.
    """
    size = np.abs(direction)

    def fit(worlds: tuple[int, ...]) -> tuple[float, ...]:
        ways = [direction[:, worlds.index(world)] for world in (2, 1, 0)]
        products = [way[one] * way[other] for way in ways for one, other in ((1, 2), (0, 2), (0, 1))]
        whole = sum(size[world, axis] for axis, world in enumerate(worlds))
        return tuple(np.round([whole, *(abs(way[2]) for way in ways), *products], 6).tolist())

    return max(permutations(range(3)), key=fit)


def from_itk(picture: Any) -> Geometry:
    """The grid of a SimpleITK image, or of its reader after `ReadImageInformation`; x, y, z become W, H, D."""
    axes = len(picture.GetSize())
    direction = np.array(picture.GetDirection()).reshape(axes, axes)[:3, :3]
    return Geometry(_three(picture.GetSpacing()[2::-1]), _three(picture.GetOrigin()[:3]), _rows(direction[:, ::-1]))


def to_itk(grid: Geometry, picture: Any) -> None:
    """Give a SimpleITK image of three axes this grid."""
    picture.SetSpacing(grid.spacing[::-1])
    picture.SetOrigin(grid.origin)
    picture.SetDirection(np.array(grid.direction)[:, ::-1].reshape(-1).tolist())


def _three(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third


def _rows(matrix: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    return tuple(_three(row) for row in matrix)
