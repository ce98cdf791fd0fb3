"""Index masks: one value per pixel, as the file has it. `io.png` reads most of them, Pillow the others: OpenCV turns
palettes into colours."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from atrous.errors import DataError
from atrous.io.images import (
    damage_as_data_error,
    decode_image,
    decode_pillow,
    orient,
    read_bytes,
    read_header,
)
from atrous.io.paths import save_bytes
from atrous.io.png import decode_bytes
from atrous.labels import Colour, LabelSet

MOST_COUNTED = 300_000
"""Numbers of a colour mask that are gone through to count its colours, evenly spread."""


def read_mask(path: Path | str) -> np.ndarray:
    """A mask file -> its own values (H, W), uint8 or uint16; the same EXIF rule as for images, so that a pair stays
    aligned.

    A palette PNG gives its indices, a 1-, 2- or 4-bit grey PNG its values 0..15, an RGB picture with r = g = b its
    grey, .npy and TIFF of any type their whole numbers 0..65535; alpha is dropped. Raises DataError for a colour
    mask, for fractions or values outside 0..65535, and for whatever `read_image` refuses.
    """
    with damage_as_data_error(path):
        return _whole_numbers(_one_channel(read_stored(path), path), path)


def read_stored(path: Path | str) -> np.ndarray:
    """`read_mask` before anything is judged: (H, W) or (H, W, C), of any numeric type, whatever the values.

    DataError where the file cannot be read.
    """
    data = read_bytes(path)
    with damage_as_data_error(path):
        header = read_header(BytesIO(data), path)
        if header.mode in ("P", "1", "L"):
            values = decode_bytes(data) if header.kind == "PNG" else None
            if values is None:
                values = _unscaled(decode_pillow(data, header), data, header.kind)
            return np.ascontiguousarray(orient(values, header.orientation).astype(np.uint8, copy=False))
        if header.kind == "npy":
            return np.load(BytesIO(data), allow_pickle=False)
        return decode_image(data, path)


def fits_mask(values: np.ndarray) -> np.ndarray:
    """Which of the values a mask may hold: whole numbers 0..65535."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(values) & (values == np.floor(values)) & (values >= 0) & (values <= 65535)


def mask_palette(path: Path | str) -> list[Colour] | None:
    """The RGB colours 0..255 of a palette file by index, or None for a file without a palette."""
    with damage_as_data_error(path):
        picture = read_header(BytesIO(read_bytes(path)), path).picture
        if picture is None or picture.mode != "P":
            return None
        flat = picture.getpalette() or []
        return [(red, green, blue) for red, green, blue in zip(flat[::3], flat[1::3], flat[2::3], strict=True)]


def write_mask(path: Path | str, indices: np.ndarray, labels: LabelSet) -> None:
    """Write class indices (H, W) as a PNG of the label set's file values, whole or not at all: see `write_values`."""
    write_values(path, labels.to_values(indices), labels)


def write_values(path: Path | str, values: np.ndarray, labels: LabelSet) -> None:
    """Write a mask (H, W), uint8 or uint16 of the label set's file values, as a PNG, whole or not at all.

    8 bits with a palette of the classes' colours (all else black), or 16-bit grey where the values are uint16.
    """
    if Path(path).suffix.lower() != ".png" or values.ndim != 2:
        raise DataError(f"{path}: cannot write an array of shape {values.shape}; a mask is (H, W) and its file a .png")
    picture = Image.fromarray(values)
    if values.dtype == np.uint8:
        palette = np.zeros((256, 3), np.uint8)
        palette[list(labels.values)] = labels.colours
        picture.putpalette(palette.tobytes())
    stream = BytesIO()
    picture.save(stream, "PNG")
    save_bytes(path, stream.getvalue())


def _unscaled(values: np.ndarray, data: bytes, kind: str) -> np.ndarray:
    """Undo Pillow's stretching of 2- and 4-bit grey PNGs to 0..255; bytes 24 and 25 are bit depth and colour type."""
    if kind == "PNG" and data[25] == 0 and data[24] in (2, 4):
        return values // (255 // (2 ** data[24] - 1))
    return values


def _one_channel(values: np.ndarray, path: Path | str) -> np.ndarray:
    """(H, W) or (H, W, C) -> (H, W) where all channels agree; else the error about a colour mask."""
    if values.ndim == 2:
        return values
    first = values[..., 0]
    if (values[..., 1:] == first[..., None]).all():
        return first
    step = -(-values.size // MOST_COUNTED)
    some = values.reshape(-1, values.shape[2])[::step]
    colours = f"{len(np.unique(some, axis=0))}{' or more' if step > 1 else ''}"
    raise DataError(
        f"{path}: a colour mask with {colours} colours in {values.shape[2]} channels; expected one class index per "
        "pixel, save it as a palette PNG or as grey values 0, 1, 2, ..."
    )


def _whole_numbers(values: np.ndarray, path: Path | str) -> np.ndarray:
    """Any numeric type -> uint8 or uint16; raises DataError where that would change a value."""
    if values.dtype not in (np.uint8, np.uint16):
        fits = fits_mask(values)
        if not fits.all():
            raise DataError(
                f"{path}: value {values[~fits][0]} in a mask of type {values.dtype} ({int((~fits).sum())} pixels "
                "have such values); expected whole numbers 0..65535, give the ignored pixels a value such as 255"
            )
        values = values.astype(np.uint8 if values.max(initial=0) <= 255 else np.uint16)
    return np.ascontiguousarray(values)
