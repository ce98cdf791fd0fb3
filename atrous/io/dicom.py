"""DICOM series: a folder of slices, or a file of several frames, as a volume (D, H, W), by the [medical] extra.

Slices are put in order by where they are, never by name or number. What cannot be a grid is refused: missing
slices, two slices at one place, uneven steps, a tilted gantry. Headers (`atrous.io.dicom_headers`) are read and
checked before pixels (`atrous.io.dicom_pixels`) are decoded.

Sources: DICOM PS3.3 C.7.6.2 (planes), C.7.5.1 (padding), C.11.1 (rescaling).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import degrees
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from atrous.errors import DataError
from atrous.files import printable
from atrous.io.dicom_headers import (
    MARKED_AT,
    TAGS,
    Frame,
    Pixels,
    data_set,
    frames_of,
    looks_like_dicom,
    not_a_slice,
    pixels_of,
    quiet,
    uid_of,
)
from atrous.io.dicom_pixels import Decoded
from atrous.io.geometry import Geometry
from atrous.io.headers import MAX_SIDE, MAX_VOXELS
from atrous.io.paths import no_such_path
from atrous.io.volumes import Volume

__all__ = ["Frame", "Scan", "Series", "is_dicom", "lay", "list_series", "read_series"]

CHEAP = 20
"""Files of a folder that are looked at to tell whether it holds DICOM."""
MOST_STACKS = 100
"""Orientations that the slices of one series may have until the rest is not told apart any more."""
TILT = 0.1
"""Degrees between the way of the slices and the normal of each, at most."""
SAME_WAY, SAME_STEP = 1e-4, 0.01
"""How far the cosines of slices of one stack may differ; mm, or part of a step if that is more, by which steps may."""
KINDS = {
    "1.2.840.10008.1.3.10": "DICOMDIR", "1.2.840.10008.5.1.4.1.1.66.4": "SEG", "1.2.840.10008.5.1.4.1.1.66.7": "SEG",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.2": "RTDOSE",
    "1.2.840.10008.5.1.4.1.1.481.5": "RTPLAN", "1.2.840.10008.5.1.4.1.1.104.1": "PDF",
    "1.2.840.10008.5.1.4.1.1.66": "raw data", "1.2.840.10008.5.1.4.1.1.66.1": "registration",
    "1.2.840.10008.5.1.4.1.1.66.3": "registration", "1.2.840.10008.5.1.4.1.1.30": "parametric map",
}  # fmt: skip
"""SOP classes that are no scans."""
MODALITIES = {"CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "RG", "OT", "OP", "OPT", "XC", "ES", "GM",
              "SM", "PX", "IO", "IVUS", "IVOCT", "OCT", "OAM", "RTIMAGE", "BI", "LS", "TG"}  # fmt: skip
"""The terms of PS3.3 C.7.3.1.1.1 for what pictures are made with; another text in their place may be anything."""
APART = ("TemporalPositionIdentifier", "AcquisitionNumber", "EchoTime", "DiffusionBValue", "ImageType", "TriggerTime",
         "AcquisitionTime")  # fmt: skip
"""Tags that tell apart slices at one place, the surest first."""


@dataclass(frozen=True)
class Series:
    """Slices that belong together, in the order of their places. Nothing in it is the patient's.

    Attributes:
        place: the folder or file that was read.
        modality: such as CT or MR.
        number: the number of the series, if it has one.
        frames: the slices; empty where `fault` says why.
        notes: what was left out of the folder, one sentence each.
        fault: a sentence that says why it cannot be read as a volume; '' if its header is no obstacle.
        files: how many files it has.
    """

    place: Path
    modality: str
    number: int | None
    frames: tuple[Frame, ...]
    notes: tuple[str, ...] = ()
    fault: str = ""
    files: int = 1

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in the order of their slices; a file of several frames stands once."""
        return tuple(dict.fromkeys(frame.path for frame in self.frames))

    def __str__(self) -> str:
        count = len(self.frames) or self.files
        number = "" if self.number is None else f", series {self.number}"
        return f"{count} slice{'s' * (count != 1)}{number}, {self.modality}"


@dataclass(frozen=True)
class Scan(Volume):
    """A volume that came from a series.

    Attributes:
        series: its slices; slice k of the array is `series.frames[k]`.
        notes: what was left out, one sentence each.
    """

    series: Series | None = None
    notes: tuple[str, ...] = ()


class _File(NamedTuple):
    """What the header of one file says. fault: why it cannot be a part of a volume."""

    path: Path
    series: str
    instance: str
    modality: str
    number: int | None
    frames: tuple[Frame, ...]
    fault: str


# What is there.


def is_dicom(path: Path | str) -> bool:
    """Tell whether a file is DICOM, or whether a folder holds such files; only the first files are looked at.

    A file without the mark DICM at byte 128 counts if its first two elements are those of a data set.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("slice").write_bytes(bytes(128) + b"DICM")
        >>> is_dicom("slice"), is_dicom("missing")
        (True, False)
    """
    path = Path(path)
    try:
        if path.is_file():
            with path.open("rb") as stream:
                return looks_like_dicom(stream.read(MARKED_AT + 4))
        if not path.is_dir():
            return False
        return any(is_dicom(file) for file in islice(_files(path), CHEAP))
    except OSError:
        return False


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder, then those in its folders, sorted; hidden ones are left out."""
    folders = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_file():
            yield path
        elif path.is_dir():
            folders.append(path)
    for inner in folders:
        yield from sorted(path for path in inner.iterdir() if not path.name.startswith(".") and path.is_file())


def list_series(place: Path | str) -> list[Series]:
    """Read the headers of a folder, with the folders in it, or of a file, and tell its series apart.

    The slices of one series have the same size and orientation. A series that has several slices at each place, as
    a time series has, becomes several by its times, acquisitions, echoes or directions of diffusion. Files that are no
    scans (reports, segmentations, plans, other files) are left out, and `Series.notes` names them.

    Returns:
        The series in the order of their numbers; the slices of each in the order of their places.

    Raises:
        MissingExtra: pydicom is not installed.
        DataError: There is no DICOM file, or one is damaged.
    """
    place = Path(place)
    if not place.exists():
        raise no_such_path(place)
    alone = not place.is_dir()
    try:
        paths = [place] if alone else list(_files(place))
    except PermissionError as error:
        raise DataError(f"{error.filename}: may not be read; change its permissions") from error
    found, others = list[_File](), list[tuple[Path, str]]()
    for path in paths:
        kind = _read_file(path)
        if isinstance(kind, _File):
            found.append(kind)
        else:
            others.append((path, kind))
    if not found:
        raise _no_scan(place, others, alone)
    notes = _left_out(place, others)
    series = [one for files in _by(found, lambda file: file.series) for one in _stacks(place, files)]
    series.sort(key=lambda one: (one.number is None, one.number or 0, -len(one.frames)))
    return [replace(one, notes=notes) for one in series]


def _no_scan(place: Path, others: list[tuple[Path, str]], alone: bool) -> DataError:
    kinds = sorted({kind for _, kind in others if kind})
    if alone and not kinds:
        return DataError(f"{place}: not a DICOM file; expected a slice or a file of several frames, name such a one")
    what = f"holds {', '.join(kinds)} and no scan" if kinds else "holds no DICOM file"
    return DataError(f"{place}: {what}; expected the slices of a series, name the folder that has them")


def _left_out(place: Path, others: list[tuple[Path, str]]) -> tuple[str, ...]:
    notes = []
    for kind, count in sorted(Counter(kind for _, kind in others).items()):
        names = [printable(path.relative_to(place).as_posix()) for path, other in others if other == kind]
        what = f"{kind}, not a scan" if kind else "not DICOM"
        notes.append(f"{place}: {', '.join(names[:3])}{', ...' if count > 3 else ''}: left out, as {what}")
    return tuple(notes)


Thing = TypeVar("Thing")


def _by(things: Iterable[Thing], key: Callable[[Thing], object]) -> list[list[Thing]]:
    """Things that have the same key, together; in the order in which the keys come."""
    found = dict[object, list[Thing]]()
    for thing in things:
        found.setdefault(key(thing), []).append(thing)
    return list(found.values())


def _stacks(place: Path, files: list[_File]) -> Iterator[Series]:
    """The stacks of one series."""
    first = files[0]
    if lost := next((file.fault for file in files if _unplaced(file)), ""):
        yield Series(place, first.modality, first.number, (), fault=lost, files=len(files))
        return  # without this slice the others would be a series with a gap, or a shorter one
    for faulty in _by((file for file in files if file.fault), lambda file: file.fault.partition(": ")[2]):
        yield Series(place, first.modality, first.number, (), fault=faulty[0].fault, files=len(faulty))
    frames = [frame for file in files for frame in file.frames]
    copies = {frame: file.instance for file in files for frame in file.frames}
    for stack in _alike(frames):
        normal = stack[0].normal
        for part in _told_apart(stack, copies):
            part.sort(key=lambda frame: (float(np.dot(frame.place, normal)), frame.path, frame.number))
            yield Series(place, first.modality, first.number, tuple(part), files=len({frame.path for frame in part}))


def _unplaced(file: _File) -> bool:
    return file.fault.removeprefix(f"{file.path}: ").startswith(("has no ", "does not say "))


def _alike(frames: list[Frame]) -> list[list[Frame]]:
    """Frames of one size and orientation, together."""
    found = list[list[Frame]]()
    for frame in frames:
        for stack in found:
            if _fits(stack[0], frame):
                stack.append(frame)
                break
        else:
            if len(found) < MOST_STACKS:
                found.append([frame])
            else:
                found[-1].append(frame)  # reading it refuses it
    return found


def _fits(one: Frame, other: Frame) -> bool:
    return (
        one.pixels[1:3] == other.pixels[1:3]
        and max(abs(a - b) for a, b in zip(one.way, other.way, strict=True)) <= SAME_WAY
        and max(abs(a - b) for a, b in zip(one.spacing, other.spacing, strict=True)) <= SAME_WAY * one.spacing[0]
    )


def _told_apart(stack: list[Frame], instances: dict[Frame, str]) -> list[list[Frame]]:
    """Parts of a stack that have each place once, if a tag tells them apart; copies of one file stay together."""

    def once(frames: list[Frame]) -> bool:
        kept = {(instances[frame], frame.number): frame for frame in frames}.values()
        along = np.sort([np.dot(frame.place, stack[0].normal) for frame in kept])
        return len(along) < 2 or float(np.diff(along).min()) > _nil(stack[0])

    if once(stack):
        return [stack]
    count = min(len(frame.apart) for frame in stack)
    keys = [lambda frame, at=at: frame.apart[at] for at in range(count)]
    for key in [*keys, lambda frame: frame.apart]:
        parts = _by(stack, key)
        if len(parts) > 1 and all(map(once, parts)):
            return parts
    return [stack]


def _nil(frame: Frame) -> float:
    """mm between slices from which down they are at one place."""
    return 0.01 * min(frame.spacing)


def _read_file(path: Path) -> _File | str:
    """A file's header; a text that says what it is if it is no scan, '' for other files than DICOM."""
    with quiet(path):
        head = data_set(path, TAGS)
        if head is None:
            return ""
        kind, modality = uid_of(head, "SOPClassUID"), str(head.get("Modality", ""))
        if (what := KINDS.get(kind)) or kind.startswith("1.2.840.10008.5.1.4.1.1.88."):
            return what or "report"
        if head.get("Rows") is None or head.get("Columns") is None:
            return "an object without pixels"
        number = str(head.get("SeriesNumber", ""))
        about = (
            path, str(head.get("SeriesInstanceUID", "")), uid_of(head, "SOPInstanceUID") or str(path),
            modality if modality in MODALITIES else "unknown modality",
            int(number) if re.fullmatch(r"-?\d{1,9}", number) else None,
        )  # fmt: skip
        fault = not_a_slice(path, head)
        if fault:
            return _File(*about, (), fault)
        pixels = pixels_of(path, head)
        return _File(*about, tuple(frames_of(path, head, pixels, APART)), "")


# Slices become a volume.


def read_series(place: Path | str, series: Series | int | None = None) -> Scan:
    """Read a series as a volume; slices along the normal of their planes, values rescaled (Hounsfield units in CT).

    Values are int16 if slope, intercept and all values allow it, else float32. Voxels of padding (PixelPaddingValue
    and its range) get the lowest value of the rest. The numbers of MONOCHROME1 are kept as they are. Two copies of a
    slice count once, and a note says so.

    Args:
        place: A folder, with the folders in it, or a file.
        series: One of `list_series(place)`, or its number in that list from 1; needed if there are several.

    Raises:
        MissingExtra: pydicom or, for packed pixels, SimpleITK is not installed.
        DataError: There are several series and none is chosen; slices are missing, differ, lie unevenly or aslant (a
            tilted gantry), two of them lie at one place; a tag is missing; the pixels are in colour, damaged, or packed
            in an unknown way.
    """
    place = Path(place)
    chosen = series if isinstance(series, Series) else _choose(place, list_series(place), series)
    if chosen.fault:
        raise DataError(chosen.fault)
    geometry, kept = lay(chosen)
    count = len(kept) * kept[0][0].pixels.rows * kept[0][0].pixels.columns
    if count > MAX_VOXELS:
        raise DataError(
            f"{place}: {count / 1e9:.1f} billion voxels; expected {MAX_VOXELS / 1e9:.1f} billion at most, take some out"
        )
    array, notes = _fill(chosen, kept)
    chosen = replace(chosen, frames=tuple(frames[0] for frames in kept))
    return Scan(array, geometry, place, chosen, (*chosen.notes, *notes))


def _choose(place: Path, found: list[Series], number: int | None) -> Series:
    listed = "; ".join(f"{at}: {one}" for at, one in list(enumerate(found, 1))[:20]) + (
        "; ..." if len(found) > 20 else ""
    )
    if number is not None:
        if not 1 <= number <= len(found):
            raise DataError(f"{place}: has no series {number}; expected one of {listed}")
        return found[number - 1]
    sound = [one for one in found if not one.fault]
    if len(sound) == 1:
        faults = tuple(one.fault for one in found if one.fault)
        return replace(sound[0], notes=(*sound[0].notes, *(f"{fault} (left out)" for fault in faults)))
    if not sound:
        return found[0]
    raise DataError(
        f"{place}: holds {len(found)} series, of which one is read at a time; choose one by its number ({listed})"
    )


def lay(series: Series) -> tuple[Geometry, list[list[Frame]]]:
    """The grid of a series' slices, and the slices at each place of it: more than one are copies, or a fault.

    Raises:
        DataError: Slices are missing, or lie unevenly or aslant.
    """
    frames, place = series.frames, series.place
    first = frames[0]
    if odd := next((frame for frame in frames if not _fits(first, frame)), None):
        raise DataError(
            f"{odd.path}: has another size or orientation than {first.path}; expected one stack, take it out"
        )
    row, normal = np.array(first.way[:3]), first.normal
    row /= np.linalg.norm(row)
    ways = np.stack([normal, np.cross(normal, row), row], axis=1)
    along = np.array([np.dot(frame.place, normal) for frame in frames])
    starts = [0, *(np.flatnonzero(np.diff(along) > _nil(first)) + 1).tolist()]
    kept = [list(frames[a:b]) for a, b in zip(starts, [*starts[1:], len(frames)], strict=True)]
    depth = len(kept)
    if depth > MAX_SIDE:
        raise DataError(f"{place}: {depth} slices; expected {MAX_SIDE} at most, take out slices")
    step = first.thickness or 1.0
    if depth > 1:
        places = np.array([group[0].place for group in kept])
        _check_line(place, places, normal)
        _check_steps(place, kept, along[starts])
        step = float(along[starts][-1] - along[starts][0]) / (depth - 1)
    return Geometry((step, *first.spacing), first.place, tuple(map(tuple, ways.tolist()))), kept


def _check_line(place: Path, places: np.ndarray, normal: np.ndarray) -> None:
    """Refuse slices that do not lie behind one another."""
    whole = places[-1] - places[0]
    tilt = degrees(float(np.arccos(np.clip(whole @ normal / np.linalg.norm(whole), -1, 1))))
    if tilt > TILT:
        raise DataError(
            f"{place}: the slices lie {tilt:.1f} degrees aslant (a tilted gantry); expected them along the normal of "
            "their planes, resample the series first"
        )
    ahead = (places - places[0]) @ normal
    aside = places - places[0] - np.outer(ahead / ahead[-1], whole)
    worst = float(np.linalg.norm(aside, axis=1).max())
    if worst > max(SAME_STEP, SAME_STEP * float(np.diff(ahead).min())):
        raise DataError(
            f"{place}: a slice lies {worst:.2f} mm beside the line of the others; expected a straight stack, resample "
            "the series first"
        )


def _check_steps(place: Path, kept: list[list[Frame]], along: np.ndarray) -> None:
    """Refuse missing slices and uneven steps."""
    steps = np.diff(along)
    step = float(np.sort(steps)[(len(steps) - 1) // 2])
    near = max(SAME_STEP * step, min(SAME_STEP, 0.1 * step))
    times = np.maximum(np.round(steps / step), 1)
    if (uneven := np.flatnonzero(np.abs(steps - times * step) > near * times)).size:
        at = int(uneven[0])
        raise DataError(
            f"{place}: the slices are {steps.min():.4g} to {steps.max():.4g} mm apart, first after "
            f"{kept[at][0].path.name}; expected even steps, resample the series first"
        )
    if (gaps := np.flatnonzero(times > 1)).size:
        missing = int(times.sum()) - len(times)
        where = ", ".join(
            f"{int(times[at]) - 1} between {kept[at][0].path.name} and {kept[at + 1][0].path.name}" for at in gaps[:3]
        )
        more = ", ..." if len(gaps) > 3 else ""
        raise DataError(
            f"{place}: {missing} slice{'s are' if missing > 1 else ' is'} missing ({where}{more}); expected one every "
            f"{step:.4g} mm, copy the series again"
        )


def _fill(series: Series, kept: list[list[Frame]]) -> tuple[np.ndarray, list[str]]:
    """The values of the slices, and notes about copies."""
    first = kept[0][0]
    array = np.zeros((len(kept), first.pixels.rows, first.pixels.columns), np.int16)
    pads, files, notes = dict[int, np.ndarray](), Decoded(), list[str]()
    for at, frames in enumerate(kept):
        values, pad = _values(files.frame(frames[0]), frames[0])
        for copy in frames[1:]:
            again = _values(files.frame(copy), copy)
            if copy.place != frames[0].place or not (
                np.array_equal(values, again[0]) and np.array_equal(pad, again[1])
            ):
                raise DataError(
                    f"{copy.path}: lies at the place of {frames[0].path} and differs; expected one slice at each "
                    "place, take one of them out"
                )
            notes.append(f"{copy.path}: left out, as it is a copy of {frames[0].path.name}")
        if array.dtype == np.int16 and not _fits_int16(values):
            array = array.astype(np.float32)
        array[at] = values
        if pad.any():
            pads[at] = pad
    if pads:
        _fill_padding(array, pads)
    return array, notes


def _fits_int16(values: np.ndarray) -> bool:
    whole = values.dtype.kind in "iu" or bool((values == np.rint(values)).all())
    return whole and float(values.min()) >= -(2**15) and float(values.max()) < 2**15


def _values(stored: np.ndarray, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """The values of a frame, and where it is padded, from its stored numbers."""
    pad = np.zeros(stored.shape, bool)
    if frame.pixels.padding is not None:
        # The tags may have been read with the wrong sign: compare them in the way of the stored numbers.
        ends = sorted(_in_range(value, frame.pixels) for value in frame.pixels.padding)
        pad = (stored >= ends[0]) & (stored <= ends[1])
    if (frame.slope, frame.intercept) == (1.0, 0.0):
        return stored, pad
    return stored * frame.slope + frame.intercept, pad


def _in_range(value: int, pixels: Pixels) -> int:
    if pixels.signed:
        half = 1 << (pixels.allocated - 1)
        return (value + half) % (2 * half) - half
    return value % (1 << pixels.allocated)


def _fill_padding(array: np.ndarray, pads: dict[int, np.ndarray]) -> None:
    """Give voxels of padding the lowest value of the rest; without a rest they stay."""
    lowest = [array[at][~pads[at]] if at in pads else array[at] for at in range(len(array))]
    rest = [values.min() for values in lowest if values.size]
    if rest:
        for at, pad in pads.items():
            array[at][pad] = min(rest)
