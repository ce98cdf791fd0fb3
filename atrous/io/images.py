"""Photos and other pictures as arrays (H, W, C), channels in RGB order, in the file's own numbers.

The header of a file is read, and its size is checked, before any pixel is decoded. The first bytes
tell the kind of a file; its name does not count. OpenCV decodes PNG, JPEG and WebP (2.7 times
faster than Pillow on JPEG). Pillow decodes what OpenCV would distort: palettes, CMYK, TIFF, BMP,
GIF. Whatever a decoder raises on a damaged file arrives as a DataError.
"""

import os
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from atrous.errors import AtrousError, DataError, let_through
from atrous.io.extras import decode_raster
from atrous.io.paths import no_such_path, save_bytes
from atrous.io.png import chunks, tells_orientation
from atrous.io.tiff import (
    FLOAT,
    PALETTE,
    PHOTOMETRIC,
    WHITE_IS_ZERO,
    Tags,
    check_sizes,
    decode_mask,
    decode_plain,
    read_tags,
)
from atrous.io.valid import empty_pixels, mean_of

MAX_PIXELS = 100_000_000
"""The largest picture that is decoded, in pixels of up to four channels."""
LARGE = 2**23
"""Files of more bytes have their header checked before they are read as a whole."""

# Every kind that is read. A plugin reads the header alone, without Pillow's global size limit.
_READERS: dict[str, Any] = {
    "PNG": PngImageFile, "JPEG": JpegImageFile, "WebP": WebPImageFile, "BMP": BmpImageFile, "GIF": GifImageFile,
    "TIFF": TiffImageFile,
}  # fmt: skip
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WebP", b"BM": "BMP", b"GIF8": "GIF",
    b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF", b"\x93NUMPY": "npy",
}  # fmt: skip
TIFF_STARTS = tuple(start for start, kind in _MAGIC.items() if kind == "TIFF")
_BY_OPENCV = {"PNG", "JPEG", "WebP"}
_LONGEST = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}
_NO_ALPHA = (".jpg", ".jpeg")
_REDUCED = {
    2: (cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_COLOR_2),
    4: (cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_COLOR_4),
    8: (cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_COLOR_8),
}
_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}


@dataclass(frozen=True)
class Header:
    """What is known of a picture before its pixels are decoded.

    height, width: as stored, before the EXIF orientation is applied.
    """

    kind: str
    height: int
    width: int
    channels: int
    orientation: int = 1
    picture: ImageFile | None = None
    tags: Tags | None = None

    @property
    def mode(self) -> str:
        """Pillow's mode (`P`: palette, `1`: bits, `RGB`, ...), '' if Pillow does not read it."""
        return self.picture.mode if self.picture else ""


def read_image(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a PNG, JPEG, WebP, BMP, TIFF, GIF or .npy file in its own units.

    A grey picture has one channel. Palettes and CMYK become RGB. Alpha is dropped. The EXIF
    orientation is applied. One-bit pictures become 0 and 255. Other integers and float64 become
    float32.

    Args:
        path: The file. Its first bytes tell the kind; its suffix does not count.
        max_pixels: The largest height * width that is decoded. More than four channels count in
            proportion: eight channels count twice.

    Returns:
        (H, W, C), uint8, uint16 or float32, channels in RGB order.

    Raises:
        DataError: The file is missing, of another kind, damaged, cut short or larger than
            `max_pixels`, has several frames, or holds NaN or infinite values.

    Example:
        >>> import numpy as np
        >>> write_image("grey.png", np.full((4, 6), 7, np.uint8))
        >>> read_image("grey.png").shape
        (4, 6, 1)
    """
    return decode_image(read_bytes(path, max_pixels), path, max_pixels=max_pixels)


def decode_image(data: bytes, name: Path | str = "image", *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode the bytes of a picture file, as `read_image` decodes a file.

    Args:
        data: The whole file.
        name: What error messages call it.
        max_pixels: See `read_image`.

    Returns:
        (H, W, C), uint8, uint16 or float32, channels in RGB order.

    Raises:
        DataError: As `read_image`.

    Example:
        >>> import numpy as np
        >>> write_image("a.png", np.zeros((4, 6, 3), np.uint8))
        >>> with open("a.png", "rb") as file:
        ...     decode_image(file.read(), "a.png").shape
        (4, 6, 3)
    """
    with damage_as_data_error(name):
        header = read_header(BytesIO(data), name, max_pixels)
        pixels = as_numbers(orient(decode_parts(data, header, name)[0], header.orientation))
        if pixels.dtype == np.float32 and (broken := pixels.size - int(np.isfinite(pixels).sum())):
            raise DataError(f"{name}: {broken} values are NaN or infinite; expected finite numbers, replace them")
        return np.ascontiguousarray(pixels)


def read_valid(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a picture as `read_image` does, and tell which of its pixels hold a value.

    A pixel holds none if it is NaN or infinite, has the nodata value of a TIFF (GDAL's tag), is
    outside of its internal mask, or has the alpha 0 in a GeoTIFF. It gets the mean of the others.

    Args:
        path: The file.
        max_pixels: See `read_image`.

    Returns:
        (H, W, C) as `read_image` gives it, and (H, W) bool, None if every pixel holds a value.

    Raises:
        DataError: As `read_image`, but for NaN and infinite values in some of the pixels.

    Example:
        >>> import numpy as np
        >>> np.save("heights.npy", np.array([[1.0, np.nan, 3.0]]))
        >>> pixels, valid = read_valid("heights.npy")
        >>> pixels[..., 0].tolist(), valid.tolist()
        ([[1.0, 2.0, 3.0]], [[True, False, True]])
    """
    data = read_bytes(path, max_pixels)
    with damage_as_data_error(path):
        header = read_header(BytesIO(data), path, max_pixels)
        stored, inside = decode_parts(data, header, path)
        inside = None if inside is None else orient(inside, header.orientation)
        pixels = as_numbers(orient(stored, header.orientation))
        return patched(pixels, inside, header.tags.nodata if header.tags else None, path)


def patched(
    pixels: np.ndarray, inside: np.ndarray | None, nodata: float | None, name: Path | str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Put the mean of the other pixels where a pixel holds nothing.

    Args:
        pixels: (H, W, C).
        inside: (H, W) bool, what a mask says; None if there is none.
        nodata: The value of pixels that hold nothing; None if there is none.
        name: What error messages call the picture.

    Returns:
        (H, W, C), and (H, W) bool, which pixels hold a value, None if all do.

    Raises:
        DataError: The picture is all of NaN, and nothing says that it may be empty.
    """
    empty = empty_pixels(pixels, nodata)
    valid = inside if empty is None else ~empty if inside is None else inside & ~empty
    if valid is None or valid.all():
        return np.ascontiguousarray(pixels), None
    if nodata is None and not np.isfinite(pixels).any():
        raise DataError(f"{name}: every value is NaN or infinite; expected finite numbers, replace them")
    return np.where(valid[..., None], pixels, mean_of(pixels, valid)), np.ascontiguousarray(valid)


def valid_pixels(path: Path | str) -> np.ndarray | None:
    """Tell which pixels of a picture hold a value, as `read_valid` does; most kinds need no decoding."""
    with damage_as_data_error(path), open_file(path) as stream:
        kind = _kind(stream, path)
        if kind not in ("npy", "TIFF"):
            return None
        if kind == "npy":
            floats = npy_header(stream)[2].kind == "f"
        else:
            tags = read_tags(stream)
            floats = tags.format == FLOAT or tags.nodata is not None or tags.mask_page is not None
            floats = floats or tags.transparent
    return read_valid(path)[1] if floats else None


def read_reduced(path: Path | str, factor: int, *, max_pixels: int = MAX_PIXELS) -> np.ndarray | None:
    """Read a JPEG file at 1/2, 1/4 or 1/8 of its size (factor 2, 4, 8), which takes less time.

    Sizes are rounded up. Pixel i is a mean of the `factor` pixels from factor * i on. Returns None
    if the file cannot be read so: it is not a JPEG, has CMYK colours or an EXIF orientation, or is
    smaller than the factor.
    """
    with damage_as_data_error(path), open_file(path) as stream:
        if _kind(stream, path) != "JPEG":
            return None
        data = stream.read()
        header = read_header(BytesIO(data), path, max_pixels)
        if header.mode == "CMYK" or header.orientation != 1 or min(header.height, header.width) < factor:
            return None
        _check_whole(data, header.kind)
        flag = _REDUCED[factor][header.channels == 3] | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
        if pixels is None or pixels.shape[:2] != (-(-header.height // factor), -(-header.width // factor)):
            raise ValueError("its pixels cannot be decoded")
        return pixels[..., None] if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def image_size(path: Path | str) -> tuple[int, int, int]:
    """Tell the shape (H, W, C) that `read_image` would give, from the header alone.

    Args:
        path: The picture file, of any size.

    Returns:
        Height, width (after the EXIF orientation) and channels.

    Raises:
        DataError: The file is missing, of another kind, or its header cannot be read.

    Example:
        >>> import numpy as np
        >>> write_image("a.jpg", np.zeros((4, 6, 3), np.uint8))
        >>> image_size("a.jpg")
        (4, 6, 3)
    """
    with damage_as_data_error(path), open_file(path) as stream:
        header = read_header(stream, path, max_pixels=None)
        size = (header.width, header.height) if header.orientation >= 5 else (header.height, header.width)
        return *size, header.channels


def write_image(path: Path | str, rgb: np.ndarray, *, mark: bool = False) -> None:
    """Write a picture; a write that fails leaves no half file.

    Args:
        path: The file; its suffix (.png, .jpg, .jpeg, .webp) tells the kind. Its folder is made.
        rgb: (H, W, 3) in RGB order, (H, W, 4) with alpha (not in a JPEG), or (H, W) grey; uint8.
        mark: Mark a .png or .jpg as a result of this program, which it may write over.

    Raises:
        DataError: Another suffix, shape or type, a picture larger than the format holds, or the
            file cannot be written.

    Example:
        >>> import numpy as np
        >>> write_image("pictures/red.png", np.full((2, 2, 3), (255, 0, 0), np.uint8))
        >>> read_image("pictures/red.png")[0, 0].tolist()
        [255, 0, 0]
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg", ".webp") or rgb.dtype != np.uint8:
        raise DataError(
            f"{path}: cannot write {rgb.dtype} as {suffix or 'a file without suffix'}; "
            "use uint8 and .png, .jpg or .webp"
        )
    channels = rgb.shape[2] if rgb.ndim == 3 else 1
    if rgb.ndim not in (2, 3) or not rgb.size or channels not in ((1, 3) if suffix in _NO_ALPHA else (1, 3, 4)):
        raise DataError(
            f"{path}: cannot write an array of shape {rgb.shape}; expected (H, W), (H, W, 3), or RGBA in PNG"
        )
    if max(rgb.shape[:2]) > (most := _LONGEST.get(suffix, 2**31 - 1)):
        raise DataError(
            f"{path}: {rgb.shape[0]}x{rgb.shape[1]} pixels; {suffix} holds {most:,} a side, "
            "write a smaller picture or .png"
        )
    bgr = cv2.cvtColor(rgb, {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[channels]) if channels > 1 else rgb
    try:
        done, data = cv2.imencode(suffix, bgr)
    except cv2.error as error:
        raise DataError(f"{path}: cannot be encoded ({error.err}); write another kind of picture") from error
    if not done:
        raise DataError(f"{path}: cannot be encoded as {suffix}; write another kind of picture")
    save_bytes(path, data.tobytes(), mark=mark)


def write_fitting(path: Path | str, rgb: np.ndarray, *, mark: bool = False) -> None:
    """Write a picture to look at: every n-th pixel of one that is larger than the format holds.

    Args:
        path: See `write_image`.
        rgb: See `write_image`.
        mark: See `write_image`.

    Raises:
        DataError: See `write_image`.

    Example:
        >>> import numpy as np
        >>> write_fitting("wide.jpg", np.zeros((2, 70_000, 3), np.uint8))
        >>> image_size("wide.jpg")
        (1, 35000, 3)
    """
    step = -(-max(rgb.shape[:2]) // _LONGEST.get(Path(path).suffix.lower(), 2**31 - 1))
    write_image(path, np.ascontiguousarray(rgb[::step, ::step]), mark=mark)


@contextmanager
def damage_as_data_error(name: Path | str) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into a DataError of one sentence."""
    try:
        yield
    except AtrousError:
        raise
    except NotImplementedError as error:
        raise DataError(f"{name}: {error}") from error
    except UnicodeEncodeError as error:  # GDAL takes UTF-8 alone
        raise DataError(f"{name}: a file of this kind cannot be opened if its name is not UTF-8; rename it") from error
    except Exception as error:  # on a damaged file decoders raise whatever they meet
        let_through(error)
        if isinstance(error, OSError) and error.errno:
            raise DataError(f"{name}: cannot be read ({error.strerror}); check the file's permissions") from error
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(
            f"{name}: damaged or incomplete picture ({reason}); expected a whole file, copy it again"
        ) from error


def read_bytes(path: Path | str, max_pixels: int = MAX_PIXELS) -> bytes:
    """Read a whole file, after a check of its first bytes and, if it is large, of its header."""
    with damage_as_data_error(path), open_file(path) as stream:
        _kind(stream, path)
        if os.fstat(stream.fileno()).st_size > LARGE:
            read_header(stream, path, max_pixels)
            stream.seek(0)
        return stream.read()


def read_header(stream: BinaryIO, name: Path | str, max_pixels: int | None = MAX_PIXELS) -> Header:
    """Read kind, size and orientation; DataError for an unknown kind or more than `max_pixels`.

    max_pixels: None allows any number.
    """
    kind = _kind(stream, name)
    if kind == "npy":
        header = _npy_header(stream, name)
    else:
        tags = read_tags(stream) if kind == "TIFF" else None
        stream.seek(0)
        if tags and (tags.plain or tags.beyond):
            channels = 3 if tags.ifd.get(PHOTOMETRIC) == PALETTE else tags.channels
            header = Header(kind, tags.height, tags.width, channels, tags.orientation, tags=tags)
        else:
            picture = _READERS[kind](stream)
            channels = 1 if picture.mode in _GREY_MODES else 3
            header = Header(kind, picture.height, picture.width, channels, _orientation(picture, stream), picture, tags)
        _refuse_several(header, name)
    if min(header.height, header.width, header.channels) < 1:
        raise DataError(
            f"{name}: an empty picture ({header.height}x{header.width}); expected at least one pixel, replace the file"
        )
    if max_pixels is not None and header.height * header.width * max(header.channels / 4, 1) > max_pixels:
        raise DataError(
            f"{name}: {header.height}x{header.width} pixels of {header.channels} channels exceed the limit of "
            f"{max_pixels / 1e6:g} million pixels of up to four channels; cut the picture into tiles, "
            "or raise max_pixels"
        )
    return header


def _refuse_several(header: Header, name: Path | str) -> None:
    """Raise a DataError for a file of several pictures.

    The smaller copies and masks of a TIFF are none, nor are the previews behind a JPEG (MPO).
    """
    if header.tags and (pages := header.tags.pages) > 1:
        raise DataError(
            f"{name}: holds {pages} pages; expected one picture, save each page as a file of its own, images and masks "
            "under the same names (Fiji: Save As > Image Sequence)"
        )
    if header.kind in ("PNG", "GIF", "WebP") and getattr(header.picture, "is_animated", False):
        raise DataError(f"{name}: a {header.kind} with several frames; expected one picture, save each frame alone")


def decode_pillow(data: bytes, header: Header) -> np.ndarray:
    """Decode by Pillow: palette indices (H, W), bits as bool, colours (H, W, 3).

    A file that is cut short raises an error.
    """
    _check_whole(data, header.kind)
    assert header.picture is not None
    pixels = np.asarray(header.picture)
    if pixels.shape[:2] != (header.height, header.width):
        raise ValueError(f"the header says {header.height}x{header.width}, the pixels are {pixels.shape[:2]}")
    return pixels


def pillow_numbers(picture: Image) -> np.ndarray:
    """The pixels of a Pillow image of any mode as a file of it is read: (H, W) or (H, W, 3), without alpha.

    Raises:
        DataError: A mode without a way to RGB.

    Example:
        >>> from PIL import Image
        >>> pillow_numbers(Image.new("CMYK", (2, 1))).tolist()
        [[[255, 255, 255], [255, 255, 255]]]
    """
    if picture.mode in _GREY_MODES:
        pixels = np.asarray(picture)
        if picture.mode.startswith("I;16") and getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
            return 65535 - pixels  # Pillow turns 8 bits alone
        return pixels[..., 0] if picture.mode in ("LA", "La") else pixels
    try:
        return np.asarray(picture.convert("RGB"))
    except ValueError as error:
        raise DataError(f"an image of mode {picture.mode}; expected grey or colours, convert it to RGB") from error


def read_pillow(picture: Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a Pillow image as `read_valid` reads the file of it.

    An image of whose file no pixel has been read is read from the file: Pillow alone gives 8 bits of
    a colour picture of 16.

    Raises:
        DataError: As `read_valid`; an image of several frames, none of which was chosen by a copy.

    Example:
        >>> from PIL import Image
        >>> read_pillow(Image.new("I", (2, 1), 70000))[0].tolist()
        [[[70000.0], [70000.0]]]
    """
    name = os.fspath(getattr(picture, "filename", "") or "")
    opened = isinstance(picture, ImageFile) and os.path.isfile(name)
    if opened and picture.tile and picture.tell() == 0:  # type: ignore[attr-defined]
        return read_valid(name)
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        if not (opened and picture.format == "TIFF"):
            raise DataError("an image of several frames; expected one, choose it by image.seek(k) and image.copy()")
        with open(name, "rb") as stream:
            read_header(stream, name)  # the smaller copies in a TIFF are no frames
    turn = int(picture.getexif().get(0x0112, 1))
    pixels = orient(pillow_numbers(picture), turn if 1 <= turn <= 8 else 1)
    return patched(as_numbers(pixels), None, None, "the image")


def orient(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation 1..8 to (H, W) or (H, W, C): 5..8 transpose, then mirror."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def open_file(path: Path | str) -> BinaryIO:
    """Open a file to read; DataError if it is missing or is a folder."""
    path = Path(path)
    if not path.exists():
        raise no_such_path(path)
    if not path.is_file():
        raise DataError(f"{path}: not a file; expected a picture, give the name of a file")
    return path.open("rb")


def _kind(stream: BinaryIO, name: Path | str) -> str:
    start = stream.read(16)
    stream.seek(0)
    for magic, kind in _MAGIC.items():
        if start.startswith(magic) and (kind != "WebP" or start[8:12] == b"WEBP"):
            return kind
    what, remedy = (
        (f"a file that begins with {start[:4]!r}", "convert it") if start else ("an empty file", "copy it again")
    )
    raise DataError(f"{name}: {what}; expected a PNG, JPEG, WebP, BMP, TIFF, GIF or .npy picture, {remedy}")


def npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read shape, Fortran order and type of an .npy file; the stream then stands at its numbers."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def _npy_header(stream: BinaryIO, name: Path | str) -> Header:
    shape, _, dtype = npy_header(stream)
    stream.seek(0)
    if len(shape) not in (2, 3) or dtype.kind not in "buif":
        raise DataError(
            f"{name}: an array of shape {shape} and type {dtype}; expected numbers (H, W) or (H, W, C), "
            "save the array in that form"
        )
    return Header("npy", shape[0], shape[1], shape[2] if len(shape) == 3 else 1)


def _orientation(picture: ImageFile, stream: BinaryIO) -> int:
    if picture.format == "PNG" and not tells_orientation(stream):
        return 1  # Pillow would decode all pixels to find data behind them
    try:
        value = int(picture.getexif().get(0x0112, 1))
    except Exception as error:  # damaged EXIF data raises anything, and the pixels may still be sound
        let_through(error)
        return 1
    return value if 1 <= value <= 8 else 1


def decode_parts(
    data: bytes, header: Header, name: Path | str, *, shades: bool = True
) -> tuple[np.ndarray, np.ndarray | None]:
    """Decode the pixels as stored, and which of them are inside, (H, W) bool, None if nothing tells.

    Pixels are (H, W) or (H, W, C), in RGB order, without alpha, not yet oriented. The mask of a TIFF
    tells what is inside, and in a GeoTIFF alpha does. shades: palettes of a TIFF become colours, and
    numbers whose largest is black are turned; False gives the numbers of the file.
    """
    if header.kind == "npy":
        return np.load(BytesIO(data), allow_pickle=False), None
    tags = header.tags
    if tags is None:
        return _decode_colours(data, header), None
    if not tags.beyond:
        check_sizes(tags.ifd, tags.width, tags.height, tags.samples, tags.bits)
    inside = decode_mask(data, tags)
    if tags.beyond:
        samples = decode_raster(data, tags.beyond, name)
        if shades and tags.ifd.get(PHOTOMETRIC) == PALETTE:
            return tags.colours[samples[..., 0]], inside
        if shades and tags.inverted:
            samples = np.iinfo(samples.dtype).max - samples
    elif tags.plain or (tags.by_rows and not shades):
        samples = decode_plain(data, tags, stored=not shades)
    else:
        return _decode_colours(data, header) if shades else decode_pillow(data, header), inside
    if tags.transparent:
        inside = samples[..., -1] > 0 if inside is None else inside & (samples[..., -1] > 0)
    return samples[..., : tags.channels], inside


def _decode_colours(data: bytes, header: Header) -> np.ndarray:
    """Decode by OpenCV or Pillow: (H, W) or (H, W, C), RGB order, without alpha."""
    if header.kind in _BY_OPENCV and header.mode not in ("P", "1", "CMYK"):
        return _decode_opencv(data, header)
    decode_pillow(data, header)
    assert header.picture is not None
    return pillow_numbers(header.picture)


def _decode_opencv(data: bytes, header: Header) -> np.ndarray:
    _check_whole(data, header.kind)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise ValueError("its pixels cannot be decoded")
    if pixels.ndim == 2:
        return pixels
    return pixels[..., 0] if header.channels == 1 else cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2RGB)


def _check_whole(data: bytes, kind: str) -> None:
    """Raise ValueError for a file that is cut short, which a decoder may fill with grey.

    PNG is checked by its checksums, JPEG and WebP by their ends.
    """
    if kind == "PNG":
        deque(chunks(data), maxlen=0)
    elif kind == "JPEG" and data.find(b"\xff\xd9", max(data.rfind(b"\xff\xda"), 0)) < 0:
        raise ValueError("the end of the JPEG is missing")
    elif kind == "WebP" and len(data) < 8 + struct.unpack_from("<I", data, 4)[0]:
        raise ValueError("the end of the WebP is missing")


def as_numbers(pixels: np.ndarray) -> np.ndarray:
    """Turn (H, W) or (H, W, C) of any numeric type into (H, W, C), uint8, uint16 or float32."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return pixels.astype(np.float32, copy=False)
