"""Index masks: one value per pixel, as the file has it.

`io.png` reads most of them and Pillow the others, as OpenCV would turn a palette into colours.
"""

from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from atrous.errors import DataError, let_through
from atrous.io.images import (
    TIFF_STARTS,
    Header,
    as_numbers,
    damage_as_data_error,
    decode_image,
    decode_parts,
    decode_pillow,
    open_file,
    orient,
    read_bytes,
    read_header,
)
from atrous.io.paths import save_bytes
from atrous.io.png import decode_bytes
from atrous.io.tiff import Tags, read_tags
from atrous.io.valid import empty_pixels
from atrous.labels import Colour, LabelSet

MOST_COUNTED = 300_000
"""How many numbers of a colour mask, evenly spaced, are read to count its colours for an error."""


def read_mask(path: Path | str) -> np.ndarray:
    """Read a mask file: one value per pixel, as stored.

    A palette PNG gives its indices. A grey PNG of 1, 2 or 4 bits gives its values 0..15. An RGB
    picture with r = g = b gives its grey. An .npy or TIFF file of any type gives its whole numbers.
    Alpha is dropped. The EXIF orientation is applied as for images, so that a pair stays aligned.
    A mask that only nearly is one is refused: a label in the alpha channel, fractions, one channel
    for each class, and a JPEG that holds more than black and white. Pixels of a TIFF that hold
    nothing (`nodata_value`) have the value that says so.

    Args:
        path: The mask file.

    Returns:
        (H, W), uint8 or uint16.

    Raises:
        DataError: The mask has colours, or a value that is not a whole number in 0..65535, or
            `read_image` would refuse the file.

    Example:
        >>> import numpy as np
        >>> np.save("mask.npy", np.array([[0, 1], [2, 300]]))
        >>> read_mask("mask.npy").tolist()
        [[0, 1], [2, 300]]
    """
    stored = _read(path)
    if stored.hidden:
        raise DataError(
            f"{path}: one colour everywhere, the label is in the alpha channel; save the alpha channel as the mask, "
            "or let `atrous check DATA --write OUT` do it"
        )
    with damage_as_data_error(path):
        values = mask_values(stored.values, path)
    if stored.kind == "JPEG" and (changed := ~np.isin(values, (0, 255))).any():
        raise DataError(
            f"{path}: value {values[changed][0]} in {int(changed.sum())} pixels of a JPEG mask; expected class "
            "indices, which JPEG compression changes, save the masks as PNG (`atrous check` tells whether it can)"
        )
    return values


def read_stored(path: Path | str) -> np.ndarray:
    """Read a mask file as `read_mask` does, without a check of its values.

    Args:
        path: The mask file.

    Returns:
        (H, W) or (H, W, C), of any numeric type; the alpha channel if the label is there. A channel
        for each class comes last.

    Raises:
        DataError: The file cannot be read.

    Example:
        >>> import numpy as np
        >>> np.save("mask.npy", np.array([[0.5, -1.0]]))
        >>> read_stored("mask.npy").tolist()
        [[0.5, -1.0]]
    """
    return _read(path).values


def hides_in_alpha(path: Path | str) -> bool:
    """Tell whether a mask file has one colour everywhere, and the label in its alpha channel."""
    return _read(path).hidden


def has_alpha(path: Path | str) -> bool:
    """Tell whether a picture file has an alpha channel."""
    data = read_bytes(path)
    with damage_as_data_error(path):
        return _alpha(data, read_header(BytesIO(data), path)) is not None


def is_one_hot(mask: np.ndarray) -> bool:
    """Tell whether (H, W, C) has a channel for each class: one is set, or all are shares of 1.

    The channel that is set has the same value in each pixel. Three channels with 255 count as
    colours.
    """
    if mask.shape[2] < 2 or not np.isfinite(mask).all() or mask.min() < 0:
        return False
    if mask.dtype.kind == "f" and mask.max() <= 1:
        return bool((np.abs(mask.sum(axis=2, dtype=np.float64) - 1) < 1e-2).all())
    top = mask.max(axis=2)
    if not top.min() > 0 or top.min() != top.max() or (mask.shape[2] == 3 and top.max() > 1):
        return False
    return bool((np.count_nonzero(mask, axis=2) == 1).all())


def fractions_of(values: np.ndarray) -> str:
    """Tell what the fractions in a mask (H, W) are: "" none, `soft` shares in 0..1, else `levels`.

    Numbers that no mask may hold, such as NaN and negative ones, are not fractions: "".
    """
    if values.dtype.kind != "f" or not np.isfinite(values).all() or (values == np.floor(values)).all():
        return ""
    low, high = float(values.min()), float(values.max())
    return "" if low < 0 or high > 65535 else "soft" if high <= 1 else "levels"


def nodata_value(path: Path | str) -> int | None:
    """Tell the value that `read_mask` gives the pixels of a mask that hold nothing.

    That is the nodata value of a TIFF (GDAL's tag), if it is a whole number 0..65535. It is 255 for
    another nodata value, such as -9999 or NaN, and for pixels outside of the TIFF's internal mask or
    of alpha 0 in a GeoTIFF; or 65535, if 255 is the value of other pixels.

    Returns:
        The value; None if the file has none of these, or cannot be read.

    Example:
        >>> import numpy as np
        >>> np.save("mask.npy", np.array([[0, 1]]))
        >>> nodata_value("mask.npy") is None
        True
    """
    try:
        with open_file(path) as stream:
            tags = read_tags(stream) if stream.read(4) in TIFF_STARTS and not stream.seek(0) else None
        if tags is None or (tags.nodata is None and tags.mask_page is None and not tags.transparent):
            return None
        if tags.nodata in range(65536):
            return int(tags.nodata or 0)
        data = read_bytes(path)
        return _tiff_values(data, read_header(BytesIO(data), path), tags, path)[1]
    except Exception as error:  # a damaged file can raise anything; reading it says so
        let_through(error)
        return None


def _tiff_values(data: bytes, header: Header, tags: Tags, path: Path | str) -> tuple[np.ndarray, int | None]:
    """The numbers of a TIFF mask, (H, W) or (H, W, C), and the value of the pixels that hold nothing."""
    stored, inside = decode_parts(data, header, path, shades=False)
    stored = stored[..., None] if stored.ndim == 2 else stored
    stored = stored.astype(np.uint8) if stored.dtype == bool else stored
    named = tags.nodata in range(65536)
    empty = None if named or tags.nodata is None else empty_pixels(stored, tags.nodata)
    values = as_numbers(orient(stored, header.orientation))
    hidden = np.zeros(stored.shape[:2], bool) if empty is None else empty
    if inside is not None:
        hidden |= ~inside
    hidden, void = orient(hidden, header.orientation), int(tags.nodata or 0) if named else None
    if hidden.any():
        if void is None:
            void = 65535 if (values[~hidden] == 255).any() else 255
        kind = np.uint16 if values.dtype == np.uint8 and void > 255 else values.dtype
        values = np.where(hidden[..., None], np.array(void, kind), values.astype(kind, copy=False))
    return np.ascontiguousarray(values[..., 0] if values.shape[2] == 1 else values), void


def fits_mask(values: np.ndarray) -> np.ndarray:
    """Tell which values a mask may hold: whole numbers 0..65535."""
    with np.errstate(invalid="ignore", over="ignore"):  # 65535 is infinite in float16
        return np.isfinite(values) & (values == np.floor(values)) & (values >= 0) & (values <= 65535)


def mask_palette(path: Path | str) -> list[Colour] | None:
    """Read the palette of a mask file.

    Args:
        path: The mask file.

    Returns:
        RGB colours 0..255 by index, or None if the file has no palette.

    Raises:
        DataError: The file cannot be read.

    Example:
        >>> import numpy as np
        >>> from atrous.labels import LabelSet
        >>> write_mask("mask.png", np.array([[0, 1]], np.uint8), LabelSet(("sea", "land")))
        >>> mask_palette("mask.png")[:2]
        [(0, 0, 0), (128, 0, 0)]
    """
    with damage_as_data_error(path):
        picture = read_header(BytesIO(read_bytes(path)), path).picture
        if picture is None or picture.mode != "P":
            return None
        flat = picture.getpalette() or []
        return [(red, green, blue) for red, green, blue in zip(flat[::3], flat[1::3], flat[2::3], strict=True)]


def write_mask(path: Path | str, indices: np.ndarray, labels: LabelSet, *, mark: bool = False) -> None:
    """Write class indices as a PNG mask of the label set's file values.

    Args:
        path: A .png file; its folder is made.
        indices: (H, W) class indices 0..K-1, `labels.ignore_index` where ignored.
        labels: The classes, with their values and colours.
        mark: As in `write_values`.

    Raises:
        DataError: As `write_values`.

    Example:
        >>> import numpy as np
        >>> from atrous.labels import LabelSet
        >>> labels = LabelSet(("sea", "land"), values=(0, 7))
        >>> write_mask("mask.png", np.array([[0, 1, 255]], np.uint8), labels)
        >>> read_mask("mask.png").tolist()
        [[0, 7, 255]]
    """
    write_values(path, labels.to_values(indices), labels, mark=mark)


def write_values(path: Path | str, values: np.ndarray, labels: LabelSet, *, mark: bool = False) -> None:
    """Write a mask of file values as a PNG; a write that fails leaves no half file.

    uint8 values are written with 8 bits and a palette of the classes' colours, in which every other
    value is black. uint16 values are written as 16-bit grey.

    Args:
        path: A .png file; its folder is made.
        values: (H, W), uint8 or uint16, the label set's own file values.
        labels: The classes, with their values and colours.
        mark: Mark the file as a result of this program, which it may write over.

    Raises:
        DataError: Another suffix or shape, or the file cannot be written.

    Example:
        >>> import numpy as np
        >>> from atrous.labels import LabelSet
        >>> labels = LabelSet(("sea", "land"), values=(3, 4))
        >>> write_values("mask.png", np.array([[3, 4]], np.uint8), labels)
        >>> read_mask("mask.png").tolist()
        [[3, 4]]
    """
    if Path(path).suffix.lower() != ".png" or values.ndim != 2:
        raise DataError(
            f"{path}: cannot write an array of shape {values.shape}; expected a mask (H, W) and a file ending in .png"
        )
    picture = Image.fromarray(values)
    if values.dtype == np.uint8:
        palette = np.zeros((256, 3), np.uint8)
        palette[list(labels.values)] = labels.colours
        picture.putpalette(palette.tobytes())
    stream = BytesIO()
    picture.save(stream, "PNG")
    save_bytes(path, stream.getvalue(), mark=mark)


def _unscaled(values: np.ndarray, data: bytes, kind: str) -> np.ndarray:
    """Undo Pillow's stretching of 2- and 4-bit grey PNGs to 0..255.

    Bytes 24 and 25 of a PNG are its bit depth and colour type.
    """
    if kind == "PNG" and data[25] == 0 and data[24] in (2, 4):
        return values // (255 // (2 ** data[24] - 1))
    return values


class _Stored(NamedTuple):
    """A mask file as it is: its values, the kind of file, and whether they come from the alpha channel."""

    values: np.ndarray
    kind: str
    hidden: bool = False


def _read(path: Path | str) -> _Stored:
    data = read_bytes(path)
    with damage_as_data_error(path):
        header = read_header(BytesIO(data), path)
        if header.tags is None and header.mode in ("P", "1", "L"):
            values = decode_bytes(data) if header.kind == "PNG" else None
            if values is None:
                values = _unscaled(decode_pillow(data, header), data, header.kind)
            values = np.ascontiguousarray(orient(values, header.orientation).astype(np.uint8, copy=False))
            return _Stored(values, header.kind)
        if header.kind == "npy":
            return _Stored(_channels_last(np.load(BytesIO(data), allow_pickle=False)), header.kind)
        tags = header.tags
        pixels = decode_image(data, path) if tags is None else _tiff_values(data, header, tags, path)[0]
        alpha = _alpha(data, header) if (pixels == pixels[:1, :1]).all() else None
        if alpha is None or (alpha == 255).all():
            return _Stored(pixels, header.kind)
        return _Stored(np.ascontiguousarray(orient(alpha, header.orientation)), header.kind, hidden=True)


def _channels_last(values: np.ndarray) -> np.ndarray:
    """Turn (1, H, W) into (H, W), and (K, H, W) of one channel for each class into (H, W, K)."""
    if values.ndim != 3 or values.shape[2] == 1:
        return values
    if values.shape[0] == 1:
        return values[0]
    moved = np.moveaxis(values, 0, 2)
    return moved if not is_one_hot(values) and is_one_hot(moved) else values


def _alpha(data: bytes, header: Header) -> np.ndarray | None:
    """Decode the alpha channel of a picture (H, W) uint8; None if it has none."""
    picture: Image.Image | None = header.picture
    if header.tags:
        try:
            picture = Image.open(BytesIO(data))
        except OSError:  # a TIFF that Pillow does not know has bands, not an alpha channel
            return None
    return np.asarray(picture.getchannel("A")) if picture and "A" in picture.getbands() else None


def mask_values(values: np.ndarray, path: Path | str) -> np.ndarray:
    """Turn pixels as stored, (H, W) or (H, W, C), into (H, W) uint8 or uint16; DataError if that would change one."""
    return _whole_numbers(_one_channel(values, path), path)


def _one_channel(values: np.ndarray, path: Path | str) -> np.ndarray:
    """Turn (H, W, C) into (H, W) if all channels are equal; else raise a DataError."""
    if values.ndim == 2:
        return values
    first = values[..., 0]
    if (values[..., 1:] == first[..., None]).all():
        return first
    if is_one_hot(values):
        raise DataError(
            f"{path}: one channel for each of {values.shape[2]} classes; expected one class index per pixel, save the "
            "number of the highest channel, or let `atrous check DATA --write OUT` do it"
        )
    step = -(-values.size // MOST_COUNTED)
    some = values.reshape(-1, values.shape[2])[::step]
    colours = f"{len(np.unique(some, axis=0))}{' or more' if step > 1 else ''}"
    raise DataError(
        f"{path}: a colour mask with {colours} colours in {values.shape[2]} channels; expected one class index per "
        "pixel, save it as a palette PNG or as grey values 0, 1, 2, ..."
    )


def _whole_numbers(values: np.ndarray, path: Path | str) -> np.ndarray:
    """Turn any numeric type into uint8 or uint16; DataError if that would change a value."""
    if values.dtype not in (np.uint8, np.uint16):
        fits = fits_mask(values)
        if fractions_of(values) == "soft":
            raise DataError(
                f"{path}: fractions such as {values[~fits][0]:.3g} in {int((~fits).sum())} pixels, a soft mask; "
                "expected class indices, cut it at 0.5, or let `atrous check DATA --write OUT` do it"
            )
        if not fits.all():
            raise DataError(
                f"{path}: value {values[~fits][0]} in a mask of type {values.dtype} ({int((~fits).sum())} pixels "
                "have such values); expected whole numbers 0..65535, give the ignored pixels a value such as 255"
            )
        values = values.astype(np.uint8 if values.max(initial=0) <= 255 else np.uint16)
    return np.ascontiguousarray(values)
