"""Volumes (NIfTI, MetaImage, NRRD), read by SimpleITK (the [medical] extra); axes (D, H, W)."""

from pathlib import Path
from typing import Any

import numpy as np

from atrous.errors import DataError
from atrous.io.extras import need
from atrous.io.images import damage_as_data_error, open_file
from atrous.io.masks import fits_mask

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")


def is_volume(path: Path) -> bool:
    """Tell by its suffix whether a file is a volume."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_volume(path: Path) -> np.ndarray:
    """Read a volume in the file's own numbers.

    Returns:
        (D, H, W), or (D, H, W, C) with several channels.

    Raises:
        MissingExtra: SimpleITK is not installed.
        DataError: The file is missing or damaged.
    """
    reader = _reader(path)
    with damage_as_data_error(path):
        picture = reader.Execute()
        array = need("SimpleITK", "medical", path).GetArrayFromImage(picture)
        return np.moveaxis(array, 0, -1) if picture.GetDimension() == 4 else array


def volume_size(path: Path) -> tuple[int, int, int, int]:
    """Read (D, H, W, C) from the header; errors as `read_volume`."""
    reader = _reader(path)
    with damage_as_data_error(path):
        reader.ReadImageInformation()
        size = tuple(map(int, reader.GetSize()))
        channels = (size[3] if len(size) > 3 else 1) * int(reader.GetNumberOfComponents())
        return size[2], size[1], size[0], channels


def volume_spacing(path: Path) -> tuple[float, float, float]:
    """Read the spacing of the voxels, (z, y, x) in mm, from the header; errors as `read_volume`."""
    reader = _reader(path)
    with damage_as_data_error(path):
        reader.ReadImageInformation()
        x, y, z = map(float, reader.GetSpacing()[:3])
        return z, y, x


def read_labels(path: Path) -> np.ndarray:
    """Read a label map (D, H, W), uint8 or uint16.

    Raises DataError also for values that are not whole numbers in 0..65535.
    """
    volume = read_volume(path)
    if volume.ndim != 3:
        raise DataError(
            f"{path}: labels of shape {volume.shape}; expected one value per voxel, (D, H, W), save one channel"
        )
    if not fits_mask(volume).all():
        raise DataError(
            f"{path}: labels from {volume.min()} to {volume.max()}; expected whole numbers 0..65535, correct the labels"
        )
    return volume.astype(np.uint8 if volume.max() <= 255 else np.uint16)


def _reader(path: Path) -> Any:
    simple = need("SimpleITK", "medical", path)
    open_file(path).close()  # raises our error for a missing file
    reader = simple.ImageFileReader()
    reader.SetFileName(str(path))
    return reader
