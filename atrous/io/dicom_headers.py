"""What the headers of DICOM files say of slices and pixels, read by pydicom and checked before anything is decoded.

Of the tags that name or describe a patient none is asked for, and no sentence repeats the text of a tag.

Sources: DICOM PS3.3 C.7.6.2 (planes), C.7.6.3 (pixels), C.7.5.1 (padding), C.7.6.16 (frames of enhanced files), C.11.1
(rescaling); PS3.10 7 (files).
"""

import logging
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite, prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atrous.errors import AtrousError, DataError, let_through
from atrous.io.extras import need
from atrous.io.headers import MAX_SIDE, MAX_VOXELS, shown
from atrous.io.images import open_file
from atrous.io.png import MOST_PACKED

MARK, MARKED_AT = b"DICM", 128
SMALL = 2**26
"""Bytes that packed pixels may always become; beyond, the file must have a share of it (`MOST_PACKED`)."""
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Transfer syntaxes of pixels that are not packed: implicit, explicit, explicit with the large end first."""
BIG_END, DEFLATED, RLE = NATIVE[2], "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
LOSSLESS_JPEG = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG = (*(f"1.2.840.10008.1.2.4.{kind}" for kind in (50, 51, 80, 81, 90, 91)), *LOSSLESS_JPEG)
"""JPEG, JPEG-LS, JPEG 2000 and lossless JPEG."""
GROUPS = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "SeriesNumber",
    "ImageType", "Rows", "Columns",
    "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "PhotometricInterpretation", "PixelPaddingValue", "PixelPaddingRangeLimit", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "RescaleSlope",
    "RescaleIntercept", "ModalityLUTSequence", "TemporalPositionIdentifier", "AcquisitionNumber", "EchoTime",
    "DiffusionBValue", "TriggerTime", "AcquisitionTime", *GROUPS,
]  # fmt: skip
"""What is read of a header."""
FRAMES_APART = (
    ("FrameContentSequence", "StackID"), ("FrameContentSequence", "TemporalPositionIndex"),
    ("MREchoSequence", "EffectiveEchoTime"), ("MRDiffusionSequence", "DiffusionBValue"),
    ("CTImageFrameTypeSequence", "FrameType"), ("MRImageFrameTypeSequence", "FrameType"),
)  # fmt: skip
"""The same for frames of one file: the group, and the tag in it."""


class Pixels(NamedTuple):
    """How the pixels of a file are stored (PS3.3 C.7.6.3.1).

    Attributes:
        frames, rows, columns: how many.
        allocated, stored, high: bits of a pixel, those of them that are used, and the highest of these.
        signed: whether the numbers may be below 0.
        syntax: the transfer syntax.
        padding: the number that stands where there is no picture, and the end of a range of such numbers.
    """

    frames: int
    rows: int
    columns: int
    allocated: int
    stored: int
    high: int
    signed: bool
    syntax: str
    padding: tuple[int, int] | None = None


class Frame(NamedTuple):
    """A slice: one file, or one frame of a file.

    Attributes:
        path, number: the file, and which of its frames, from 0.
        place: (x, y, z) in mm of its first pixel.
        way: cosines of the way along a row, then along a column.
        spacing: mm between its rows, and between its columns.
        thickness: mm from it to the next as its header says; 0 where it does not.
        slope, intercept: value = slope * stored number + intercept.
        apart: what may tell it from others at its place, as checksums.
        pixels: how the file's pixels are stored.
    """

    path: Path
    number: int
    place: tuple[float, float, float]
    way: tuple[float, ...]
    spacing: tuple[float, float]
    thickness: float
    slope: float
    intercept: float
    apart: tuple[int, ...]
    pixels: Pixels

    @property
    def normal(self) -> np.ndarray:
        """(3,) the way from slice to slice, one mm long."""
        normal = np.cross(self.way[:3], self.way[3:])
        return np.asarray(normal / np.linalg.norm(normal))


def looks_like_dicom(head: bytes) -> bool:
    if head[MARKED_AT : MARKED_AT + 4] == MARK:
        return True
    if len(head) < MARKED_AT or head[:2] not in (b"\x08\0", b"\x02\0") or head[2:4] > b"\x20\0":
        return False
    if head[4:6].isalpha() and head[4:6].isupper():
        length, start = int.from_bytes(head[6:8], "little"), 8
    else:
        length, start = int.from_bytes(head[4:8], "little"), 8
    following = head[start + length :][:6]
    if length % 2 or length > MARKED_AT or len(following) < 6:
        return False
    return following[:2] == head[:2] and int.from_bytes(following[2:4], "little") > int.from_bytes(head[2:4], "little")


_ALONE = threading.RLock()


@contextmanager
def quiet(path: Path) -> Iterator[Any]:
    """pydicom, which repeats values of a file in its warnings, its log and its errors; here it says nothing.

    Whatever a damaged file makes it raise becomes a DataError.
    """
    pydicom = need("pydicom", "medical", path)
    logs = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    with _ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = pydicom.config.settings
        mode, levels = settings.reading_validation_mode, [log.level for log in logs]
        settings.reading_validation_mode = pydicom.config.IGNORE
        for log in logs:
            log.setLevel(logging.CRITICAL + 1)
        try:
            yield pydicom
        except AtrousError:
            raise
        except Exception as error:  # pydicom raises anything on a damaged file
            let_through(error)
            if isinstance(error, OSError) and error.errno is not None:  # the system's own; pydicom's have no number
                raise
            raise damaged(path) from None
        finally:
            settings.reading_validation_mode = mode
            for log, level in zip(logs, levels, strict=True):
                log.setLevel(level)


def damaged(path: Path) -> DataError:
    """The sentence about a file that cannot be understood; pydicom's reason would repeat what stands in the file."""
    return DataError(f"{path}: damaged DICOM file; expected a whole one, copy it again or take it out of the folder")


class _Clipped:
    """A file that is asked for no more bytes than it has: a few bytes can claim that 4 GB follow."""

    def __init__(self, stream: Any, size: int) -> None:
        self.stream, self.size, self.name = stream, size, "file"

    def read(self, count: int = -1) -> bytes:
        left = max(self.size - self.stream.tell(), 0)
        return bytes(self.stream.read(left if count is None or count < 0 else min(count, left)))

    def seek(self, place: int, whence: int = 0) -> int:
        return int(self.stream.seek(place, whence))

    def tell(self) -> int:
        return int(self.stream.tell())

    def close(self) -> None:
        """The one who opened it closes it."""


def data_set(path: Path, tags: Sequence[str] | None, *, pixels: bool = False) -> Any:
    """Read a file's data set; call it inside `quiet`. None if it is not DICOM.

    Args:
        path: The file.
        tags: Which tags are read; None: all of them.
        pixels: Read them too.
    """
    pydicom = need("pydicom", "medical", path)
    with open_file(path) as stream:
        head = stream.read(MARKED_AT + 4)
        if not looks_like_dicom(head):
            return None
        marked = head[MARKED_AT:] == MARK
        if marked and str(pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", "")) == DEFLATED:
            raise DataError(f"{path}: its transfer syntax {DEFLATED} (deflated) is not read; save it uncompressed")
        stream.seek(0)
        source = _Clipped(stream, path.stat().st_size)
        found = pydicom.dcmread(
            source, stop_before_pixels=not pixels, force=not marked, specific_tags=list(tags) if tags else None
        )
        if not marked and str(found.get("SOPClassUID", "")).count(".") < 4:
            return None
        return found


def not_a_slice(path: Path, head: Any) -> str:
    """Why a picture has no place in a volume; '' if it has."""
    if int(head.get("SamplesPerPixel", 1)) != 1 or not str(
        head.get("PhotometricInterpretation", "MONOCHROME2")
    ).startswith("MONOCHROME"):
        return f"{path}: a colour picture; expected one number per pixel, choose another series"
    if "MOSAIC" in str(head.get("ImageType", "")):
        return f"{path}: a mosaic of slices in one picture; expected a slice, convert it with dcm2niix first"
    if head.get("ModalityLUTSequence"):
        return (
            f"{path}: its values stand in a table (Modality LUT); expected a slope and an intercept, convert it first"
        )
    enhanced = any(head.get(group) for group in GROUPS)
    if not enhanced and int(head.get("NumberOfFrames") or 1) > 1:
        count = int(head.NumberOfFrames)
        return f"{path}: does not say where its {count} frames are; expected a place of each, export it anew"
    for tag, group in (
        ("ImagePositionPatient", "PlanePositionSequence"), ("ImageOrientationPatient", "PlaneOrientationSequence"),
        ("PixelSpacing", "PixelMeasuresSequence"),
    ):  # fmt: skip
        of_frame = [*(head.get(GROUPS[0]) or [])[:1], *(head.get(GROUPS[1]) or [])[:1]]
        inside = [part[group][0].get(tag) for part in of_frame if part.get(group)]
        if not (any(inside) if enhanced else head.get(tag)):
            return (
                f"{path}: has no {tag}, so its place is not known; expected one in each slice, export the series anew"
            )
    return ""


def uid_of(head: Any, tag: str) -> str:
    """SOPClassUID or SOPInstanceUID, which the first part of a file has too: who blanks patients often blanks these."""
    return str(head.get(tag) or getattr(head, "file_meta", {}).get(f"MediaStorage{tag}", ""))


def pixels_of(path: Path, head: Any) -> Pixels:
    """How a file says its pixels are stored, checked against its length.

    Raises:
        DataError: The file is too short for them, or nobody stores pixels so.
    """
    sides = int(head.get("NumberOfFrames") or 1), int(head.Rows), int(head.Columns)
    allocated = int(head.get("BitsAllocated", 16))
    stored = int(head.get("BitsStored", allocated))
    high = int(head.get("HighBit", stored - 1))
    if min(sides) < 1 or max(sides) > MAX_SIDE or prod(sides) > MAX_VOXELS:
        raise DataError(f"{path}: says it has {shown(sides)} voxels; expected sides of 1..{MAX_SIDE}, "
                        f"{MAX_VOXELS / 1e9:.1f} billion voxels at most")  # fmt: skip
    if allocated not in (1, 8, 16, 32) or not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise DataError(
            f"{path}: stores {stored} bits in {allocated}, up to bit {high}; expected 8, 16 or 32, export it anew"
        )
    count, there = sides[0] * sides[1] * sides[2] * allocated // 8, path.stat().st_size
    syntax = str(getattr(head, "file_meta", {}).get("TransferSyntaxUID", ""))
    if not syntax:
        implicit, little = head.original_encoding
        syntax = NATIVE[0] if implicit else NATIVE[1] if little else BIG_END
    if count > (there if syntax in NATIVE else max(SMALL, there * MOST_PACKED)):
        raise DataError(
            f"{path}: says it has {shown(sides)} voxels of {allocated} bits, but the file has {there:,} bytes; it is "
            "cut short or damaged, copy it again"
        )
    padding = None
    if (pad := head.get("PixelPaddingValue")) is not None and allocated > 1:
        limit = head.get("PixelPaddingRangeLimit")
        padding = _whole(pad), _whole(pad if limit is None else limit)
    signed = int(head.get("PixelRepresentation", 0)) == 1
    return Pixels(*sides, allocated, stored, high, signed, syntax, padding)


def _whole(value: Any) -> int:
    """A tag that is US or SS; without its VR it comes as two bytes."""
    return int.from_bytes(value[:2], "little") if isinstance(value, bytes) else int(value)


def frames_of(path: Path, head: Any, pixels: Pixels, apart: Sequence[str] = ()) -> Iterator[Frame]:
    """The frames of a file, as its tags or its functional groups tell their places.

    Raises:
        DataError: A number is none, or an orientation is not that of a plane.
    """
    shared = (head.get(GROUPS[1]) or [{}])[0]
    groups = head.get(GROUPS[0]) or []
    if len(groups) != (pixels.frames if groups else 0) or (not groups and pixels.frames > 1):
        raise DataError(
            f"{path}: says it has {pixels.frames} frames, and tells the place of {len(groups)}; export it anew"
        )
    above = tuple(_told(head.get(tag, "")) for tag in apart)
    for number in range(pixels.frames):
        own = groups[number] if groups else {}

        def find(group: str, tag: str, own: Any = own) -> Any:
            for part in (own, shared):
                if part and part.get(group):
                    value = part[group][0].get(tag)
                    if value is not None:
                        return value
            return head.get(tag) if not groups else None

        place = numbers_of(path, "ImagePositionPatient", find("PlanePositionSequence", "ImagePositionPatient"), 3)
        way = numbers_of(
            path, "ImageOrientationPatient", find("PlaneOrientationSequence", "ImageOrientationPatient"), 6
        )
        spacing = numbers_of(path, "PixelSpacing", find("PixelMeasuresSequence", "PixelSpacing"), 2)
        thickness = 0.0
        for tag in ("SpacingBetweenSlices", "SliceThickness"):
            if not thickness and (value := find("PixelMeasuresSequence", tag)) not in (None, ""):
                thickness = abs(numbers_of(path, tag, [value], 1)[0])
        _check_plane(path, way, spacing)
        slope, intercept = (
            numbers_of(path, tag, [default if value in (None, "") else value], 1)[0]
            for tag, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
            for value in [find("PixelValueTransformationSequence", tag)]
        )
        keys = tuple(_told(find(group, tag)) for group, tag in FRAMES_APART) if groups and apart else ()
        first, apart_by = (place[0], place[1], place[2]), (*above, *keys)
        steps = spacing[0], spacing[1]
        yield Frame(path, number, first, way, steps, thickness, slope, intercept, apart_by, pixels)


def _told(value: Any) -> int:
    """A checksum in place of the text of a tag, which may be about a patient."""
    return zlib.crc32(str(value).encode("utf-8", "replace"))


def numbers_of(path: Path, tag: str, value: Any, count: int) -> tuple[float, ...]:
    """So many finite numbers below a million; DataError otherwise."""
    try:
        found = tuple(float(one) for one in value)
    except (TypeError, ValueError):
        found = ()
    if len(found) != count or not all(isfinite(one) and abs(one) < 1e6 for one in found):
        what = f"has a damaged {tag}" if value is not None else f"has no {tag}"
        raise DataError(f"{path}: {what}; expected {count} number{'s' * (count > 1)}, export the series anew")
    return found


def _check_plane(path: Path, way: tuple[float, ...], spacing: tuple[float, ...]) -> None:
    if min(spacing) <= 0:
        raise DataError(
            f"{path}: its pixels are {spacing[0]:g} x {spacing[1]:g} mm apart; expected more than 0, export it anew"
        )
    row, column = np.array(way[:3]), np.array(way[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > 1e-3 or abs(float(row @ column)) > 1e-3:
        raise DataError(
            f"{path}: its ImageOrientationPatient is no pair of directions at a right angle; export the series anew"
        )
