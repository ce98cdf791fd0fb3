"""Which pixels of a picture hold a value, and what stands in the place of the others.

A pixel holds nothing if one of its channels is NaN or infinite, if it has the nodata value of its
file, or if the file's mask or the alpha of a GeoTIFF says so. Such pixels count in no statistics,
no loss and no score. A network sees the mean of the picture's other pixels there.
"""

import numpy as np

HUGE = 1e38
"""Nodata values beyond this are often rounded; no measurement is as large."""


def empty_pixels(pixels: np.ndarray, nodata: float | None = None) -> np.ndarray | None:
    """Tell which pixels hold nothing.

    A nodata value of 0..65535 can be a measurement: a pixel is empty if all its channels have it.
    Any other value, such as -9999, makes a pixel empty in any channel.

    Args:
        pixels: (H, W, C).
        nodata: The value that means nothing; None if there is none.

    Returns:
        (H, W) bool; None if every pixel holds a value.

    Example:
        >>> empty_pixels(np.array([[[1.0], [np.nan], [-9.0]]]), nodata=-9).tolist()
        [[False, True, True]]
    """
    empty = np.zeros(pixels.shape[:2], bool)
    if pixels.dtype.kind == "f":
        empty |= ~np.isfinite(pixels).all(axis=2)
    if nodata is not None and np.isfinite(nodata):
        if abs(nodata) > HUGE:
            same = np.abs(pixels) > HUGE if pixels.dtype.kind == "f" else np.zeros(pixels.shape, bool)
        else:
            same = pixels == (pixels.dtype.type(nodata) if pixels.dtype.kind == "f" else nodata)
        empty |= same.all(axis=2) if 0 <= nodata <= 65535 else same.any(axis=2)
    return empty if empty.any() else None


def mean_of(pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The mean of the valid pixels by channel, (C,) in the type of the picture; 0 if there is none."""
    held = pixels[valid]
    mean = held.mean(axis=0, dtype=np.float64) if len(held) else np.zeros(pixels.shape[2])
    return (np.rint(mean) if pixels.dtype.kind in "ui" else mean).astype(pixels.dtype)
