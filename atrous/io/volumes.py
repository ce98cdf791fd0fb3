"""Volumes (NIfTI, MetaImage, NRRD), read and written by SimpleITK (the [medical] extra); axes (D, H, W).

The grid of the voxels stays with them (`atrous.io.geometry`): what was made from a volume is written
onto the same grid.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atrous.errors import AtrousError, DataError, let_through
from atrous.files import scratch
from atrous.io.extras import need
from atrous.io.geometry import Geometry, from_itk, to_itk
from atrous.io.headers import FAR, VOLUME_SUFFIXES, check_header, check_packed, is_volume
from atrous.io.marks import SOFTWARE
from atrous.io.masks import fits_mask
from atrous.io.paths import cannot_write

__all__ = [
    "VOLUME_SUFFIXES", "Volume", "is_volume", "read_labels", "read_volume", "volume_geometry",
    "volume_size", "write_volume",
]  # fmt: skip

READERS = {".nii": "NiftiImageIO", ".nii.gz": "NiftiImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO",
           ".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO"}  # fmt: skip
WRITTEN = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Kinds that are written: each is one file."""


@dataclass(frozen=True)
class Volume:
    """A volume in its file's own numbers and order.

    Attributes:
        array: (D, H, W), or (D, H, W, C) with several channels.
        grid: where its voxels are.
        path: the file, for messages.
    """

    array: np.ndarray
    grid: Geometry
    path: Path | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        depth, height, width = self.array.shape[:3]
        return depth, height, width


def read_volume(path: Path) -> Volume:
    """Read a volume with its grid.

    Raises:
        MissingExtra: SimpleITK is not installed.
        DataError: The file is missing, damaged, too large, or refers to files elsewhere.
    """
    if (told := check_header(path)).packed:
        check_packed(path, told)
    reader = _reader(path)
    with _damage(path):
        picture = reader.Execute()
        array = need("SimpleITK", "medical", path).GetArrayFromImage(picture)
    axes = picture.GetDimension()
    if axes == 4:
        array = np.moveaxis(array, 0, -1)
        array = array[..., 0] if array.shape[-1] == 1 else array
    elif axes == 2:
        array = array[None]
    if array.ndim > 4:
        raise DataError(f"{path}: {array.ndim} axes; expected three, with several channels four, export one of them")
    return Volume(array, _grid(path, picture), path)


def volume_size(path: Path) -> tuple[int, int, int, int]:
    """Read (D, H, W, C) from the header; errors as `read_volume`."""
    reader = _informed(path)
    width, height, depth, more = (*map(int, reader.GetSize()), 1, 1)[:4]
    return depth, height, width, more * int(reader.GetNumberOfComponents())


def volume_geometry(path: Path) -> Geometry:
    """Read where the voxels are from the header; errors as `read_volume`."""
    return _grid(path, _informed(path))


def read_labels(path: Path) -> Volume:
    """Read a label map (D, H, W), uint8 or uint16, with its grid.

    Raises DataError also for values that are not whole numbers in 0..65535.
    """
    volume = read_volume(path)
    array = volume.array
    if array.ndim != 3:
        raise DataError(
            f"{path}: labels of shape {array.shape}; expected one value per voxel, (D, H, W), save one channel"
        )
    if not fits_mask(array).all():
        raise DataError(
            f"{path}: labels from {array.min()} to {array.max()}; expected whole numbers 0..65535, correct the labels"
        )
    return Volume(array.astype(np.uint8 if array.max() <= 255 else np.uint16), volume.grid, path)


def write_volume(path: Path, array: np.ndarray, grid: Geometry) -> None:
    """Write a volume onto a grid, whole or not at all; the ending of the name says the kind (`WRITTEN`).

    Args:
        path: The file; it is replaced.
        array: (D, H, W) numbers.
        grid: Where its voxels are.

    Raises:
        MissingExtra: SimpleITK is not installed.
        DataError: The name has another ending, or the file cannot be written.
    """
    suffix = next((one for one in WRITTEN if path.name.lower().endswith(one)), None)
    if suffix is None:
        raise DataError(f"{path}: a volume is written as {', '.join(WRITTEN)}; give a name that ends so")
    simple = need("SimpleITK", "medical", path)
    picture = simple.GetImageFromArray(np.ascontiguousarray(array))
    to_itk(grid, picture)
    picture.SetMetaData("ITK_FileNotes" if suffix.startswith(".nii") else "software", SOFTWARE)
    try:
        with scratch(path) as folder:
            part = folder / f"volume{suffix}"
            simple.WriteImage(picture, str(part), useCompression=suffix != ".nii", imageIO=READERS[suffix])
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(path)
    except (OSError, RuntimeError) as error:
        raise cannot_write(path, error) from error


def _reader(path: Path) -> Any:
    simple = need("SimpleITK", "medical", path)
    simple.ProcessObject.SetGlobalWarningDisplay(False)  # else its C++ code prints
    reader = simple.ImageFileReader()
    reader.SetImageIO(next(io for suffix, io in READERS.items() if path.name.lower().endswith(suffix)))
    reader.SetFileName(str(path))
    return reader


def _informed(path: Path) -> Any:
    check_header(path)
    reader = _reader(path)
    with _damage(path):
        reader.ReadImageInformation()
    return reader


def _grid(path: Path, picture: Any) -> Geometry:
    grid = from_itk(picture) if len(picture.GetSize()) > 2 else Geometry()
    if not (np.abs(grid.affine) <= FAR).all():  # nor if one is no number
        raise DataError(f"{path}: its voxels lie at no place of finite numbers below a million mm; export it again")
    return grid


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn what SimpleITK raises on a damaged file into a DataError of one sentence."""
    try:
        yield
    except AtrousError:
        raise
    except Exception as error:  # its own errors are RuntimeErrors of several lines
        let_through(error)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1].removeprefix("sitk::ERROR:").removeprefix("ITK ERROR:").strip() if lines else "no reason"
        raise DataError(f"{path}: damaged volume ({reason[:200]}); expected a whole file, copy it again") from error
