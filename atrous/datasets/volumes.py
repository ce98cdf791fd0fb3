"""Volumes with their labels, as samples: (D, H, W, C) numbers, (D, H, W) class indices, one grid."""

from typing import Any

import numpy as np

from atrous.datasets.folder import Pair
from atrous.datasets.pairs import Pairs
from atrous.errors import DataError
from atrous.io.geometry import Geometry
from atrous.io.headers import ending_of, shown
from atrous.io.volumes import volume_geometry
from atrous.sample import Sample

APART = 0.1
"""Labels lie on the grid of their image if no corner is further away than this share of a voxel's shortest side."""


class Volumes(Pairs):
    """The volumes of one split. A sample's `geometry` has its `grid` and its `spacing` (D, H, W) in mm.

    Numbers are those of the files; types may differ from case to case.
    """

    def _of(self, pairs: Any) -> "Volumes":
        return Volumes(pairs, self.labels, self.channels, self.dtype, self._cache, self.readers)

    def _image(self, pair: Pair) -> tuple[np.ndarray, None]:
        array = self.readers.image(pair)
        return (array[..., None] if array.ndim == 3 else array), None

    def size(self, index: int) -> tuple[int, int]:
        """Not for volumes, which are not cropped as they are decoded."""
        raise NotImplementedError

    def _checked(self, pair: Pair, image: np.ndarray, valid: np.ndarray | None = None, factor: int = 1) -> Sample:
        values = self._values(pair)
        if image.shape[:3] != values.shape:
            raise DataError(
                f"{pair.mask}: the labels have {shown(values.shape)} voxels (D x H x W), their image "
                f"{pair.image.name} has {shown(image.shape[:3])}; expected equal sizes, export the labels on the "
                "image's grid"
            )
        if image.shape[3] != self.channels:
            raise DataError(
                f"{pair.image}: {image.shape[3]} channels, but the data set's first volume has {self.channels}; "
                "expected the same channels in each case"
            )
        grid = volume_geometry(pair.image)
        check_grids(pair, grid, volume_geometry(pair.mask), values.shape)
        mask = self.labels.to_indices(values, pair.where)
        if pair not in self._cache.counts:
            self._cache.counts[pair] = self._counted(mask)
        image.flags.writeable = mask.flags.writeable = False
        return Sample(image, mask, {"grid": grid, "spacing": grid.spacing}, pair.image)

    @property
    def names(self) -> list[str]:
        """The names of the cases: those of the image files without their endings."""
        return [case_name(pair.image.name) for pair in self.pairs]


def check_grids(pair: Pair, image: Geometry, labels: Geometry, shape: tuple[int, ...]) -> None:
    """Raise a DataError if labels lie elsewhere than their image."""
    apart = image.differs(labels, shape)
    if apart > APART * min(image.spacing):
        what = (
            f"their axes go {labels.letters}, the image's {image.letters}"
            if labels.letters != image.letters
            else f"their voxels are {_mm(labels.spacing)} mm apart, the image's {_mm(image.spacing)}"
            if not np.allclose(labels.spacing, image.spacing, rtol=1e-3)
            else f"up to {apart:.3g} mm away"
        )
        raise DataError(
            f"{pair.mask}: the labels lie elsewhere than their image {pair.image.name} ({what}); export them on the "
            "image's grid"
        )


def case_name(name: str) -> str:
    """Take a case's name out of the name of its file.

    Example:
        >>> case_name("liver_7_0000.nii.gz"), case_name("scan.NRRD")
        ('liver_7', 'scan')
    """
    return name.removesuffix(ending_of(name)).removesuffix("_0000")


def _mm(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{step:.4g}" for step in spacing)
