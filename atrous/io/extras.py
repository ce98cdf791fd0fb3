"""Packages that are not always installed, and what one of them alone decodes."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from atrous.errors import DataError, MissingExtra


def there(module: str) -> bool:
    """Tell whether an optional package is installed.

    Example:
        >>> there("numpy")
        True
    """
    return find_spec(module) is not None


def need(module: str, extra: str, path: Path) -> Any:
    """Import an optional package; MissingExtra names the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(f"{path}: reading it needs {module}; run `pip install 'atrous[{extra}]'`") from error


def decode_raster(data: bytes, why: str, name: Path | str) -> np.ndarray:
    """Decode a TIFF by rasterio: (H, W, C) as stored, with alpha, palette indices for a palette.

    why: what other decoders cannot read of it, for the DataError if rasterio is not installed.
    """
    if not there("rasterio"):
        raise DataError(f"{name}: {why}, which needs atrous[geo]; run `pip install 'atrous[geo]'`")
    rasterio = import_module("rasterio")
    with catch_warnings():
        simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.MemoryFile(data) as file, file.open(driver="GTiff") as raster:
            return np.ascontiguousarray(raster.read().transpose(1, 2, 0))
