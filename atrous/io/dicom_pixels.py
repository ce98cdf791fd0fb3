"""The pixels of DICOM files as they are stored: packed or not, of any number of bits.

Sources: DICOM PS3.5 8 and A.4, PS3.3 C.7.6.3.1.
"""

import re
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from atrous.errors import DataError
from atrous.io.dicom_headers import (
    BIG_END,
    JPEG,
    LOSSLESS_JPEG,
    NATIVE,
    RLE,
    TAGS,
    Frame,
    Pixels,
    damaged,
    data_set,
    pixels_of,
    quiet,
)
from atrous.io.extras import need


class Decoded:
    """The pixels of the file that was read last; the frames of a file come one after the other."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.pixels = np.zeros((0, 0, 0), np.int64)

    def frame(self, frame: Frame) -> np.ndarray:
        """(H, W) stored numbers."""
        if frame.path != self.path:
            self.path, self.pixels = frame.path, decode(frame.path, frame.pixels)
        return np.asarray(self.pixels[frame.number])


def decode(path: Path, pixels: Pixels) -> np.ndarray:
    """The stored numbers (frames, H, W) of a file, without rescaling.

    Raises:
        DataError: They are damaged, or packed in a way that nothing here reads.
    """
    shape = pixels.frames, pixels.rows, pixels.columns
    if pixels.syntax not in (*NATIVE, RLE, *JPEG):
        syntax = pixels.syntax if re.fullmatch(r"[0-9.]{1,64}", pixels.syntax) else "without a valid name"
        raise DataError(
            f"{path}: its transfer syntax {syntax} is not read; save it uncompressed, or as JPEG 2000 or RLE"
        )
    with quiet(path) as pydicom:
        found = data_set(path, [*TAGS[: TAGS.index("PixelPaddingValue")], "PixelData"], pixels=True)
        element = found["PixelData"]
        if pixels_of(path, found)[:8] != pixels[:8]:
            raise DataError(f"{path}: was changed while it was read; read it again")
        if pixels.syntax not in NATIVE:
            frames = _packed(path, pydicom, element.value, pixels)
            unpack = _by_gdcm if pixels.syntax in LOSSLESS_JPEG else _by_pydicom
            raw = unpack(path, pydicom, frames, pixels)
        else:
            raw = _native(path, element, pixels)
        return _used_bits(raw.reshape(shape), pixels)


def _native(path: Path, element: Any, pixels: Pixels) -> np.ndarray:
    """Numbers that stand in the file as they are."""
    count, data = pixels.frames * pixels.rows * pixels.columns, element.value
    if len(data) < (length := -(-count * pixels.allocated // 8)):
        raise DataError(
            f"{path}: {len(data):,} bytes of pixels, expected {length:,}; it is cut short or damaged, copy it again"
        )
    if pixels.syntax == BIG_END and pixels.allocated <= 8 and element.VR == "OW":
        data = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
    if pixels.allocated == 1:
        return np.unpackbits(np.frombuffer(data, np.uint8), count=count, bitorder="little")
    order = ">" if pixels.syntax == BIG_END else "<"
    return np.frombuffer(data, f"{order}{'i' if pixels.signed else 'u'}{pixels.allocated // 8}", count)


def _used_bits(raw: np.ndarray, pixels: Pixels) -> np.ndarray:
    """Take the bits that are used, with their sign; the others may hold anything (PS3.5 8.1.1)."""
    if pixels.allocated == 1 or pixels.stored == pixels.allocated:
        return raw
    values = raw.astype(np.int64) >> (pixels.high + 1 - pixels.stored)
    values &= (1 << pixels.stored) - 1
    if pixels.signed:
        half = 1 << (pixels.stored - 1)
        values = (values ^ half) - half
    return values.astype(np.int16 if pixels.stored < 16 else np.int32 if pixels.stored < 32 else np.int64)


def _packed(path: Path, pydicom: Any, data: bytes, pixels: Pixels) -> list[bytes]:
    """The packed frames; each says itself that it has the size that the file says, else its decoder is not called."""
    frames = list(pydicom.encaps.generate_frames(data, number_of_frames=pixels.frames))
    for frame in frames if pixels.syntax in JPEG else ():
        if (said := _said(frame)) is None or said[1:] != (pixels.rows, pixels.columns) or said[0] > pixels.allocated:
            raise damaged(path)
    if len(frames) != pixels.frames:
        raise damaged(path)
    return frames


def _said(data: bytes) -> tuple[int, int, int] | None:
    """(bits, H, W) of a JPEG, JPEG-LS or JPEG 2000 stream of one channel; None if it is none."""
    if (start := data.find(b"\xff\x4f\xff\x51", 0, 4096)) >= 0:  # also in a JP2 box
        if len(data) < start + 44:
            return None
        right, low, left, top = struct.unpack_from(">4I", data, start + 8)
        channels, bits = struct.unpack_from(">HB", data, start + 40)
        return (bits & 127) + 1, low - top, right - left if channels == 1 else -1
    place = 2 if data[:2] == b"\xff\xd8" else len(data)
    while place + 10 <= len(data) and data[place] == 0xFF:
        kind, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if kind in FRAME_STARTS:
            bits, high, wide, channels = struct.unpack_from(">BHHB", data, place + 4)
            return bits, high, wide if channels == 1 else -1
        place += 1 if kind == 0xFF else 2 + length
    return None


FRAME_STARTS = {*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7}
"""The markers after which a JPEG or JPEG-LS stream says its size."""


def _small(pydicom: Any, frames: list[bytes], pixels: Pixels) -> Any:
    """A data set that says nothing but how the pixels are stored."""
    uid = pydicom.uid
    small = pydicom.dataset.Dataset()
    small.SOPClassUID, small.SOPInstanceUID = uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage, "1.2.3"
    small.Rows, small.Columns, small.NumberOfFrames = pixels.rows, pixels.columns, len(frames)
    small.BitsAllocated, small.BitsStored, small.HighBit = pixels.allocated, pixels.stored, pixels.high
    small.PixelRepresentation, small.SamplesPerPixel = int(pixels.signed), 1
    small.PhotometricInterpretation = "MONOCHROME2"
    small.PixelData = pydicom.encaps.encapsulate(frames)
    small["PixelData"].VR, small["PixelData"].is_undefined_length = "OB", True
    small.file_meta = pydicom.dataset.FileMetaDataset()
    small.file_meta.TransferSyntaxUID = uid.UID(pixels.syntax)
    return small


def _by_pydicom(path: Path, pydicom: Any, frames: list[bytes], pixels: Pixels) -> np.ndarray:
    """RLE by pydicom itself, JPEG and JPEG 2000 by Pillow, JPEG-LS by pyjpegls, which highdicom brings."""
    decoder = pydicom.pixels.get_decoder(pydicom.uid.UID(pixels.syntax))
    return np.asarray(decoder.as_array(_small(pydicom, frames, pixels), raw=True)[0])


def _by_gdcm(path: Path, pydicom: Any, frames: list[bytes], pixels: Pixels) -> np.ndarray:
    """Lossless JPEG, which nothing else here decodes, by the GDCM in SimpleITK."""
    simple = need("SimpleITK", "medical", path)
    simple.ProcessObject.SetGlobalWarningDisplay(False)
    with tempfile.TemporaryDirectory(prefix="atrous-") as folder:
        file = Path(folder, "pixels.dcm")
        pydicom.dcmwrite(file, _small(pydicom, frames, pixels), enforce_file_format=True)
        reader = simple.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(file))
        array = np.asarray(simple.GetArrayFromImage(reader.Execute()))
    if array.size != pixels.frames * pixels.rows * pixels.columns:
        raise damaged(path)
    return array
