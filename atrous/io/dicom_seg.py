"""Label maps as DICOM Segmentations (SEG), written by highdicom, read frame by frame (the [medical] extra).

A segment for each class that has voxels; it refers to the slices that it was made from, and belongs to their patient
and study. Classes are any that a user trains, so each segment has the general code Tissue (SNOMED CT 85756007) as its
category and as its type, and the name of the class as its label.

Source: DICOM PS3.3 A.51 and C.8.20.2.
"""

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from atrous import __version__
from atrous.errors import DataError
from atrous.files import printable
from atrous.io.dicom import Scan, Series, lay
from atrous.io.dicom_headers import GROUPS, TAGS, Frame, data_set, frames_of, numbers_of, pixels_of, quiet, uid_of
from atrous.io.dicom_pixels import Decoded
from atrous.io.extras import need
from atrous.io.geometry import Geometry
from atrous.io.headers import MAX_SIDE, MAX_VOXELS, shown
from atrous.io.paths import save_bytes
from atrous.io.volumes import Volume

__all__ = ["read_seg", "write_seg"]

SEG = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentations of one bit a voxel and segment, and label maps."""
NEEDED, MADE = ("SOPInstanceUID", "SOPClassUID"), ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
"""What a SEG must refer to; and what it may have of its own, where a scan has lost it with the patient's name."""
DATE, TIME, ANY = r"\d{8}", r"\d{6}(\.\d{1,6})?", r"[^\0]*"
EMPTY = {
    "PatientID": ANY, "PatientName": ANY, "PatientBirthDate": DATE, "PatientSex": "[MFO]", "StudyID": ANY,
    "StudyDate": DATE, "StudyTime": TIME, "AccessionNumber": ANY, "ReferringPhysicianName": ANY,
}  # fmt: skip
"""Tags that a SEG takes over, and that may be empty (PS3.3 C.7.1, C.7.2): they are where they are not of this form."""
LONG = 64
"""Letters of a label (LO in PS3.5 6.2)."""
NUMBER = 9000
"""The series number of what is written: after those of a scanner."""
FURTHER = ["SegmentSequence", "SegmentationType"]


def write_seg(
    path: Path | str,
    labels: np.ndarray,
    source: Scan | Series,
    names: Sequence[str] | Mapping[int, str],
    colours: Sequence[tuple[int, int, int]] | Mapping[int, tuple[int, int, int]] | None = None,
    *,
    background: int | None = 0,
) -> tuple[str, ...]:
    """Write a label map as a DICOM SEG, whole or not at all.

    Args:
        path: The file; it is replaced.
        labels: (D, H, W) whole numbers, on the grid of the source.
        source: What was labelled: slice k of the labels lies on `series.frames[k]`.
        names: The name of each number.
        colours: (red, green, blue) in 0..255 of each number; None: the viewer chooses.
        background: The number that is no segment; None: each one is a segment.

    Returns:
        Notes: which classes have no voxels, so no segment; which tags the source has lost, so that viewers may not find
        the scan of the segments.

    Raises:
        MissingExtra: highdicom is not installed.
        DataError: The labels have another shape than the source, a number without a name, or no voxel beside the
            background; the source lacks tags that a SEG needs; the file cannot be written.
    """
    path = Path(path)
    if isinstance(source, Scan):
        if source.series is None:
            raise DataError(f"{source.path}: a volume without its series; expected what read_series gives")
        source = source.series
    high = need("highdicom", "medical", path)
    frames, known = _frames(source), dict(names if isinstance(names, Mapping) else enumerate(names))
    shape = len(frames), frames[0].pixels.rows, frames[0].pixels.columns
    if labels.shape != shape or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: labels of shape {labels.shape}, {labels.dtype}; expected {shape} whole numbers, "
            f"as {source.place} has"
        )
    if labels.min() < 0 or labels.max() >= 2**16:
        raise DataError(f"{path}: labels from {labels.min()} to {labels.max()}; expected 0..65535, correct the labels")
    there = [int(value) for value in np.unique(labels) if value != background]
    if nameless := [value for value in there if value not in known]:
        raise DataError(f"{path}: the label {nameless[0]} has no name; expected one for each label, give it")
    if not there:
        raise DataError(f"{path}: no voxel has another class than the background; a SEG holds one segment at least")
    table = np.zeros(int(labels.max()) + 1, np.uint16)
    table[there] = np.arange(1, len(there) + 1)
    segments = table[labels]
    shades = dict(colours if isinstance(colours, Mapping) else enumerate(colours or ()))
    with quiet(source.place) as pydicom:
        described = [
            _described(high, pydicom, at, known[value], shades.get(value)) for at, value in enumerate(there, 1)
        ]
        data, lost = _written(high, pydicom, segments, frames, described)
    save_bytes(path, data)
    notes = [f"{path}: has a new {tag}, as {source.place} has none, so viewers may not find its scan" for tag in lost]
    left = [printable(name) for value, name in known.items() if value != background and value not in there]
    notes += [f"{path}: {', '.join(left)}: left out, as no voxel has this class"] * bool(left)
    return tuple(notes)


def _frames(series: Series) -> list[Frame]:
    if series.fault:
        raise DataError(series.fault)
    return [copies[0] for copies in lay(series)[1]]


def _described(high: Any, pydicom: Any, number: int, name: str, shade: tuple[int, int, int] | None) -> Any:
    """A segment: its label, its code, who made it."""
    codes = pydicom.sr.codedict.codes
    made_by = high.AlgorithmIdentificationSequence("atrous", codes.DCM.ArtificialIntelligence, __version__)
    colour = None if shade is None else high.color.CIELabColor.from_rgb(*shade)
    return high.seg.SegmentDescription(
        number,
        printable(name).replace("\\", "/")[:LONG] or f"class {number}",
        codes.SCT.Tissue,
        codes.SCT.Tissue,
        high.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        made_by,
        tracking_uid=pydicom.uid.generate_uid(),
        tracking_id=f"atrous {__version__}, segment {number}",
        display_color=colour,
    )


def _written(
    high: Any, pydicom: Any, segments: np.ndarray, frames: list[Frame], described: list[Any]
) -> tuple[bytes, list[str]]:
    """The bytes of a SEG, and the tags that its sources have lost."""
    paths = list(dict.fromkeys(frame.path for frame in frames))
    sources = [_source(path) for path in paths]
    lost = [tag for tag in MADE if not all(source.get(tag) for source in sources)]
    for tag in lost:
        uid = pydicom.uid.generate_uid()
        for source in sources:
            setattr(source, tag, uid)
    if frames[0].pixels.frames > 1:  # of a file of several frames, the labels of each, in the file's order
        if len(paths) > 1:
            raise DataError(f"{paths[1]}: a second file of several frames; expected one, give a series of one file")
        whole = np.zeros((frames[0].pixels.frames, *segments.shape[1:]), segments.dtype)
        for at, frame in enumerate(frames):
            whole[frame.number] = segments[at]
        segments = whole
    step = frames[0].thickness or 1.0
    if len(frames) > 1:
        along = np.array(frames[-1].place) - np.array(frames[0].place)
        step = float(along @ frames[0].normal) / (len(frames) - 1)
    made = high.seg.Segmentation(
        source_images=sources,
        pixel_array=segments,
        segmentation_type=high.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=pydicom.uid.generate_uid(),
        series_number=NUMBER,
        sop_instance_uid=pydicom.uid.generate_uid(),
        instance_number=1,
        manufacturer="atrous",
        manufacturer_model_name="atrous",
        software_versions=__version__,
        device_serial_number="0",
        content_description="Segmentation",
        pixel_measures=high.PixelMeasuresSequence(frames[0].spacing, frames[0].thickness or step, step),
    )
    made.SeriesDescription = "Segmentation by atrous"
    stream = BytesIO()
    made.save_as(stream)
    return stream.getvalue(), lost


def _source(path: Path) -> Any:
    """The whole header of a slice, which a SEG copies the patient and the study from."""
    head = data_set(path, None)
    for tag in NEEDED:
        if not (uid := uid_of(head, tag)):
            raise DataError(f"{path}: has no {tag}; a SEG refers to it, export the series anew")
        setattr(head, tag, uid)
    for tag, right in EMPTY.items():
        value = str(head.get(tag, ""))
        if not re.fullmatch(right, value):
            value = ""
        setattr(head, tag, value)
    return head


def read_seg(path: Path | str) -> tuple[Volume, dict[int, str]]:
    """Read a DICOM SEG, of bits or a label map, as a label map on its own grid.

    Slices without a segment are often not in the file: the grid goes from the first to the last one that is.

    Returns:
        (D, H, W) uint8 or uint16 numbers of segments, 0 where there is none; and the label of each segment.

    Raises:
        MissingExtra: pydicom is not installed.
        DataError: It is no SEG, or damaged; segments overlap, or hold fractions; slices lie unevenly.
    """
    path = Path(path)
    with quiet(path):
        head = data_set(path, [*TAGS, *FURTHER])
        if head is None or uid_of(head, "SOPClassUID") not in SEG:
            raise DataError(f"{path}: not a DICOM SEG; expected a segmentation, name such a file")
        kind = str(head.get("SegmentationType", ""))
        if kind not in ("BINARY", "LABELMAP"):
            raise DataError(f"{path}: its segments are no plain ones but fractions; expected BINARY or LABELMAP")
        names = {
            int(one.SegmentNumber): printable(str(one.get("SegmentLabel", "")))[:LONG] for one in head.SegmentSequence
        }
        if not names or min(names) < 0 or max(names) >= 2**16 or (kind == "BINARY" and min(names) < 1):
            raise DataError(f"{path}: its segments have numbers outside of 1..65535; export it anew")
        pixels = pixels_of(path, head)
        frames = list(frames_of(path, head, pixels))
        grid, places = _own_grid(path, head, frames)
        of_frames: Sequence[int | None] = (
            _segments(path, head, frames, names) if kind == "BINARY" else [None] * len(frames)
        )
    return Volume(_labels(path, grid, places, frames, of_frames, names), grid, path), names


def _segments(path: Path, head: Any, frames: list[Frame], names: dict[int, str]) -> list[int]:
    """The segment that each frame is of."""
    shared, found = (head.get(GROUPS[1]) or [{}])[0], list[int]()
    for group in head.get(GROUPS[0]) or [{}] * len(frames):
        own = group.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
        number = int(own[0].ReferencedSegmentNumber) if own else 0
        if number not in names:
            raise DataError(f"{path}: a frame is of the segment {number}, which it does not describe; export it anew")
        found.append(number)
    return found


def _own_grid(path: Path, head: Any, frames: list[Frame]) -> tuple[Geometry, list[int]]:
    """The grid from the first to the last slice that has a frame, and the slice of each frame."""
    first = frames[0]
    if any(frame.way != first.way or frame.spacing != first.spacing for frame in frames):
        raise DataError(f"{path}: its frames have different orientations or spacings; expected one stack")
    normal = first.normal
    along = np.array([float(np.dot(frame.place, normal)) for frame in frames])
    start, near = int(along.argmin()), 0.01 * min(first.spacing)
    steps = np.diff(np.sort(along))
    steps = steps[steps > near]
    measures = [part.get("PixelMeasuresSequence") for part in (head.get(GROUPS[1]) or [])[:1]]
    said = measures[0][0].get("SpacingBetweenSlices") if measures and measures[0] else None
    tried = [] if said in (None, "") else [abs(numbers_of(path, "SpacingBetweenSlices", [said], 1)[0])]
    tried += [float(steps.min())] if len(steps) else [first.thickness or 1.0]
    for step in tried:
        if step <= near:
            continue
        at = (along - along[start]) / step
        if np.abs(at - np.round(at)).max() * step <= max(0.01, 0.01 * step):
            break
    else:
        raise DataError(f"{path}: its slices are {steps.min():.4g} to {steps.max():.4g} mm apart; expected even steps")
    at = np.round(at).astype(int)
    aside = np.array([frame.place for frame in frames]) - np.outer(at * step, normal) - first.place
    aside -= aside[start]
    if float(np.linalg.norm(aside, axis=1).max()) > max(0.01, 0.01 * step) * max(1, len(steps)):
        raise DataError(f"{path}: its slices do not lie behind one another; expected a straight stack")
    row = np.array(first.way[:3]) / np.linalg.norm(first.way[:3])
    ways = np.stack([normal, np.cross(normal, row), row], axis=1)
    rows: Any = tuple(map(tuple, ways.tolist()))
    return Geometry((step, *first.spacing), frames[start].place, rows), at.tolist()


def _labels(
    path: Path,
    grid: Geometry,
    places: list[int],
    frames: list[Frame],
    segments: Sequence[int | None],
    names: dict[int, str],
) -> np.ndarray:
    shape = max(places) + 1, frames[0].pixels.rows, frames[0].pixels.columns
    if shape[0] > MAX_SIDE or int(np.prod(shape, dtype=object)) > MAX_VOXELS:
        raise DataError(f"{path}: its grid has {shown(shape)} voxels; expected {MAX_VOXELS / 1e9:.1f} billion at most")
    found = np.zeros(shape, np.uint8 if max(names) < 256 else np.uint16)
    files = Decoded()
    for place, frame, segment in zip(places, frames, segments, strict=True):
        stored, slice_ = files.frame(frame), found[place]
        inside = stored != 0
        if (inside & (slice_ != 0)).any():
            both = inside & (slice_ != 0)
            one, other = int(slice_[both][0]), segment or int(stored[both][0])
            raise DataError(
                f"{path}: segments {one} and {other} overlap; expected one segment for a voxel, export them one by one"
            )
        if segment is None and not np.isin(stored[inside], list(names)).all():
            raise DataError(f"{path}: has labels that it does not describe; export it anew")
        slice_[inside] = stored[inside] if segment is None else segment
    return found
