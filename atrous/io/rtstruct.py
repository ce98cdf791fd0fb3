"""Outlines of radiotherapy (RTSTRUCT) as masks on the grid of the scan that they were drawn on (the [medical] extra).

Source: DICOM PS3.3 A.19, C.8.8.5 (structure sets) and C.8.8.6 (contours).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atrous.errors import DataError
from atrous.files import printable
from atrous.io.dicom import Scan
from atrous.io.dicom_headers import data_set, numbers_of, quiet, uid_of
from atrous.io.volumes import Volume

__all__ = ["Outlines", "read_rtstruct"]

KIND = "1.2.840.10008.5.1.4.1.1.481.3"
TAGS = ["SOPClassUID", "StructureSetROISequence", "ROIContourSequence", "ReferencedFrameOfReferenceSequence"]
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
OFF = 0.1
"""Part of a step that an outline may lie beside its slice."""
LONG = 64
MOST, AT_ONCE = 2**28, 2**20
"""Crossings of outlines and rows of voxels in a file, at most; and in one piece of work."""


class Outlines(NamedTuple):
    """What a structure set holds.

    Attributes:
        masks: the name of each region -> bool (D, H, W).
        notes: what was left out, one sentence each. They name regions by their numbers.
    """

    masks: dict[str, np.ndarray]
    notes: tuple[str, ...]


def read_rtstruct(path: Path | str, scan: Volume) -> Outlines:
    """Read the closed outlines of each region, filled: a voxel is in it if its centre is.

    Outlines in one slice count even-odd: one inside another is a hole. A centre on an outline counts on its left and
    upper side only, so that regions that touch share no voxel.

    Args:
        path: The file.
        scan: What they were drawn on; its grid says where the slices are. If it came from `read_series`, its frame of
            reference must be that of the outlines.

    Raises:
        MissingExtra: pydicom is not installed.
        DataError: It is no RTSTRUCT, damaged, or of another scan; an outline lies between slices or across them.
    """
    path = Path(path)
    with quiet(path):
        head = data_set(path, TAGS)
        if head is None or uid_of(head, "SOPClassUID") != KIND:
            raise DataError(f"{path}: not an RTSTRUCT; expected a set of outlines, name such a file")
        _same_patient(path, head, scan)
        names, masks, notes, work = _names(head), dict[str, np.ndarray](), list[str](), 0
        for region in head.get("ROIContourSequence") or []:
            number = int(region.ReferencedROINumber)
            if number not in names:
                raise DataError(f"{path}: has outlines of region {number}, which it does not describe; export it anew")
            mask, told, count = _fill(path, number, region, scan, MOST - work)
            work += count
            notes += told
            if mask is not None:
                _put(masks, names.pop(number), mask)
        notes += [f"{path}: region {number}: left out, as it has no closed outline here" for number in sorted(names)]
    return Outlines(masks, tuple(notes))


def _names(head: Any) -> dict[int, str]:
    return {
        int(one.ROINumber): printable(str(one.get("ROIName", "") or ""))[:LONG].strip()
        or f"region {int(one.ROINumber)}"
        for one in head.get("StructureSetROISequence") or []
    }


def _put(masks: dict[str, np.ndarray], name: str, mask: np.ndarray) -> None:
    free, count = name, 1
    while free in masks:
        count += 1
        free = f"{name} ({count})"
    masks[free] = mask


def _same_patient(path: Path, head: Any, scan: Volume) -> None:
    """Refuse outlines of another frame of reference: their millimetres are not those of the scan."""
    theirs = {str(one.get("FrameOfReferenceUID", "")) for one in head.get("ReferencedFrameOfReferenceSequence") or []}
    theirs |= {str(one.get("ReferencedFrameOfReferenceUID", "")) for one in head.get("StructureSetROISequence") or []}
    theirs.discard("")
    if not isinstance(scan, Scan) or scan.series is None or not theirs:
        return
    ours = str(data_set(scan.series.paths[0], ["FrameOfReferenceUID"]).get("FrameOfReferenceUID", ""))
    if ours and ours not in theirs:
        raise DataError(
            f"{path}: its outlines have another frame of reference than {scan.path}; expected those of this scan, "
            "name them"
        )


def _fill(path: Path, number: int, region: Any, scan: Volume, budget: int) -> tuple[np.ndarray | None, list[str], int]:
    """The mask of a region, None without an outline; notes; how many crossings that took."""
    depth, height, width = scan.shape
    toggles, outside, others, work = dict[int, np.ndarray](), 0, 0, 0
    for at, points in _outlines(path, number, region, scan):
        if points is None:
            others += 1
        elif not 0 <= at < depth:
            outside += 1
        else:
            flips = toggles.setdefault(at, np.zeros((height, width + 1), bool))
            for rows, columns in _crossings(points, height, width):
                work += len(rows)
                if work > budget:
                    raise DataError(
                        f"{path}: its outlines cross {MOST:,} rows of voxels and more; expected fewer points"
                    )
                np.logical_xor.at(flips, (rows, columns), True)
    notes = []
    if others:
        notes.append(f"{path}: region {number}: {others} points or open lines left out, as they enclose nothing")
    if outside:
        notes.append(f"{path}: region {number}: {outside} outlines left out, as they lie beyond the slices of the scan")
    if not toggles:
        return None, notes, work
    mask = np.zeros((depth, height, width), bool)
    for at, flips in toggles.items():
        mask[at] = np.logical_xor.accumulate(flips, axis=1)[:, :width]
    return mask, notes, work


def _outlines(path: Path, number: int, region: Any, scan: Volume) -> Iterator[tuple[int, np.ndarray | None]]:
    """The slice of each contour, and its points (n, 2) in rows and columns; None for what is not closed."""
    inverse = np.linalg.inv(scan.grid.affine)
    for contour in region.get("ContourSequence") or []:
        if str(contour.get("ContourGeometricType", "")) not in CLOSED:
            yield 0, None
            continue
        values = contour.get("ContourData")
        values = values if isinstance(values, (list, tuple)) or hasattr(values, "__len__") else []
        if len(values) % 3 or len(values) < 9:
            raise DataError(
                f"{path}: an outline of region {number} has {len(values)} numbers; expected 3 for each of 3 points or "
                "more, export it anew"
            )
        points = np.array(numbers_of(path, "ContourData", values, len(values))).reshape(-1, 3)
        voxels = np.round(points @ inverse[:3, :3].T + inverse[:3, 3], 6)  # a corner on a centre is on it
        at = int(np.round(np.median(voxels[:, 0])))
        if (off := float(np.abs(voxels[:, 0] - at).max())) > OFF:
            raise DataError(
                f"{path}: an outline of region {number} lies {off * scan.grid.spacing[0]:.2f} mm beside the nearest "
                "slice; expected outlines on the slices of the scan, name the scan that they were drawn on"
            )
        yield at, voxels[:, 1:]


def _crossings(points: np.ndarray, height: int, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Where an outline crosses the rows of voxel centres: the row, and the first column behind (0..width)."""
    one, other = points, np.roll(points, -1, axis=0)
    # An end that is on a row counts for the line below it only: so a corner is crossed once or twice, as it is met.
    first = np.clip(np.ceil(np.minimum(one[:, 0], other[:, 0])), 0, height).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(one[:, 0], other[:, 0])), 0, height).astype(np.int64)
    counts = last - first
    pieces = np.searchsorted(np.cumsum(counts), np.arange(AT_ONCE, int(counts.sum()), AT_ONCE))
    for edges in np.split(np.arange(len(points)), np.unique(pieces)):
        edges = edges[counts[edges] > 0]
        if not len(edges):
            continue
        edge = np.repeat(edges, counts[edges])
        starts = np.repeat(np.cumsum(counts[edges]) - counts[edges], counts[edges])
        rows = first[edge] + np.arange(len(edge)) - starts
        share = (rows - one[edge, 0]) / (other[edge, 0] - one[edge, 0])
        columns = np.ceil(one[edge, 1] + share * (other[edge, 1] - one[edge, 1]))
        yield rows, np.clip(columns, 0, width).astype(np.int64)
