"""RTSTRUCT: outlines filled as brute force fills them, on grids of any orientation; what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grids import GRIDS
from make_dicom import PERSONAL, ROOT, UPRIGHT, Contour, outlines, save, write_slices

from atrous.errors import DataError
from atrous.io.dicom import read_series
from atrous.io.geometry import Geometry
from atrous.io.rtstruct import read_rtstruct
from atrous.io.volumes import Volume

pydicom = pytest.importorskip("pydicom", reason="needs the [medical] extra")

SHAPE = (4, 20, 24)


def star(row: float, column: float, size: float, seed: int, corners: int = 11) -> list[tuple[float, float]]:
    """An outline with corners near and far, between voxel centres."""
    rng = np.random.default_rng(seed)
    angles, far = np.sort(rng.uniform(0, 2 * np.pi, corners)), rng.uniform(0.4, 1.0, corners) * size
    return [(row + r * np.sin(a), column + r * np.cos(a)) for a, r in zip(angles, far, strict=True)]


def box(top: float, left: float, bottom: float, right: float) -> list[tuple[float, float]]:
    return [(top, left), (top, right), (bottom, right), (bottom, left)]


def brute(contours: list[Contour], shape: tuple[int, int, int]) -> np.ndarray:
    """Even-odd, voxel by voxel and edge by edge."""
    mask = np.zeros(shape, bool)
    for at, corners in contours:
        for row, column in np.ndindex(*shape[1:]):
            for (r0, c0), (r1, c1) in zip(corners, [*corners[1:], corners[0]], strict=True):
                if (r0 > row) != (r1 > row) and column < c0 + (row - r0) * (c1 - c0) / (r1 - r0):
                    mask[at, row, column] ^= True
    return mask


@pytest.mark.parametrize("grid", [UPRIGHT, *GRIDS[:12], *GRIDS[-3:]], ids=range(16))
def test_outlines_are_filled_as_brute_force_fills_them(grid: Geometry, tmp_path: Path) -> None:
    regions: dict[str, list[Contour]] = {
        "star": [(0, star(9.3, 11.2, 9, 1)), (3, star(5, 6, 30, 2, 40))],  # the second goes over the border
        "with a hole": [(1, star(10, 12, 9, 3)), (1, star(10, 12, 3, 4)), (2, box(1.5, 2.5, 17.5, 20.5))],
        "two parts": [(1, box(1.5, 1.5, 4.5, 6.5)), (1, box(10.5, 1.5, 14.5, 6.5))],
    }
    file = save(outlines(regions, grid), tmp_path / "rt")
    found = read_rtstruct(file, Volume(np.zeros(SHAPE), grid))
    assert found.notes == ()
    assert list(found.masks) == list(regions)
    for name, contours in regions.items():
        assert found.masks[name].dtype == bool
        np.testing.assert_array_equal(found.masks[name], brute(contours, SHAPE))
        assert found.masks[name].any()


def test_corners_on_centres_and_regions_that_touch(tmp_path: Path) -> None:
    """By hand: a box from centre to centre has its left and upper sides; two that touch share no voxel and no gap."""
    regions = {
        "a": [(1, box(2, 3, 5, 7))],
        "b": [(1, box(2, 7, 5, 9))],
        "c": [(1, [(2.0, 12.0), (6, 8), (10, 12), (6, 16)])],
    }
    found = read_rtstruct(save(outlines(regions, UPRIGHT), tmp_path / "rt"), Volume(np.zeros(SHAPE), UPRIGHT)).masks
    expected = np.zeros(SHAPE, bool)
    expected[1, 2:5, 3:7] = True
    np.testing.assert_array_equal(found["a"], expected)
    expected[:] = False
    expected[1, 2:5, 7:9] = True
    np.testing.assert_array_equal(found["b"], expected)
    assert found["c"][1].sum(1).tolist() == [0, 0, 0, 2, 4, 6, 8, 6, 4, 2, *[0] * 10]


@pytest.mark.parametrize("grid", GRIDS[:12], ids=range(12))
def test_corners_on_centres_of_turned_grids(grid: Geometry, tmp_path: Path) -> None:
    """Places in mm that are not round; and a plane a twentieth of a step beside a slice is that slice's."""
    regions: dict[str, list[Contour]] = {"a": [(1, box(2, 3, 5, 7))], "b": [(1, box(2, 7, 5, 9))], "c": []}
    regions["c"] = [(1.95, box(1.5, 1.5, 3.5, 3.5)), (0.05, box(1.5, 1.5, 3.5, 3.5))]  # type: ignore[list-item]
    found = read_rtstruct(save(outlines(regions, grid), tmp_path / "rt"), Volume(np.zeros(SHAPE), grid)).masks
    for name, where in (("a", np.s_[1:2, 2:5, 3:7]), ("b", np.s_[1:2, 2:5, 7:9]), ("c", np.s_[:3:2, 2:4, 2:4])):
        expected = np.zeros(SHAPE, bool)
        expected[where] = True
        np.testing.assert_array_equal(found[name], expected)


def test_on_the_scan_that_it_was_drawn_on(tmp_path: Path) -> None:
    write_slices(tmp_path / "ct", np.zeros(SHAPE, np.int16), GRIDS[2])
    scan = read_series(tmp_path / "ct")
    contours = [(2, box(3.5, 4.5, 9.5, 12.5))]
    made = outlines({"a": contours, "a\u202e\n": [], "a ": contours}, scan.grid)
    found = read_rtstruct(save(made, tmp_path / "rt"), scan)
    assert list(found.masks) == ["a", "a (2)"]
    np.testing.assert_array_equal(found.masks["a"], brute(contours, SHAPE))
    assert found.notes == (f"{tmp_path / 'rt'}: region 2: left out, as it has no closed outline here",)
    made.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = f"{ROOT}.3"
    for described in made.StructureSetROISequence:
        described.ReferencedFrameOfReferenceUID = f"{ROOT}.3"
    with pytest.raises(DataError, match="another frame of reference") as raised:
        read_rtstruct(save(made, tmp_path / "rt"), scan)
    assert not [mark for mark in PERSONAL if mark in str(raised.value)]
    assert not list(tmp_path.rglob("atrous-*"))


def test_what_is_outside_or_open_is_noted(tmp_path: Path) -> None:
    regions = {"MARKERname": [(1, box(2.5, 3.5, 5.5, 7.5)), (9, box(2, 3, 5, 7)), (-1, box(2, 3, 5, 7))]}
    file = save(outlines(regions, UPRIGHT), tmp_path / "rt")
    found = read_rtstruct(file, Volume(np.zeros(SHAPE), UPRIGHT))
    assert found.notes == (f"{file}: region 1: 2 outlines left out, as they lie beyond the slices of the scan",)
    np.testing.assert_array_equal(found.masks["MARKERname"], brute(regions["MARKERname"][:1], SHAPE))
    file = save(outlines(regions, UPRIGHT, "POINT"), tmp_path / "rt")
    found = read_rtstruct(file, Volume(np.zeros(SHAPE), UPRIGHT))
    assert found.masks == {}
    assert found.notes[0] == f"{file}: region 1: 3 points or open lines left out, as they enclose nothing"


def half(made: Any) -> None:
    for at in range(2, 12, 3):
        data = made.ROIContourSequence[0].ContourSequence[0].ContourData
        data[at] = f"{float(data[at]) + 0.8:.6f}"


def across(made: Any) -> None:
    data = made.ROIContourSequence[0].ContourSequence[0].ContourData
    data[2] = f"{float(data[2]) + 0.8:.6f}"


def put(data: list[str]) -> Callable[[Any], None]:
    return lambda made: setattr(made.ROIContourSequence[0].ContourSequence[0], "ContourData", data)


REFUSED: dict[str, tuple[Callable[[Any], None], str]] = {
    "between": (half, "an outline of region 1 lies 0.80 mm beside the nearest slice"),
    "across": (across, "an outline of region 1 lies 0.80 mm beside the nearest slice"),
    "two numbers": (put(["1", "2"]), "has 2 numbers; expected 3 for each of 3 points or more"),
    "ten numbers": (put(["1"] * 10), "has 10 numbers"),
    "no number": (put(["1"] * 8 + ["1e30"]), "has a damaged ContourData"),
    "unknown": (lambda made: setattr(made.ROIContourSequence[0], "ReferencedROINumber", 9), "outlines of region 9"),
    "another kind": (lambda made: setattr(made, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"), "not an RTSTRUCT"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_lies_on_no_slice_is_refused(what: str, tmp_path: Path) -> None:
    change, said = REFUSED[what]
    made = outlines({"MARKERname": [(1, box(2, 3, 5, 7))]}, UPRIGHT)
    change(made)
    with pytest.raises(DataError, match=said) as raised:
        read_rtstruct(save(made, tmp_path / "rt"), Volume(np.zeros(SHAPE), UPRIGHT))
    assert "\n" not in str(raised.value)
    assert not [mark for mark in PERSONAL if mark in str(raised.value)]
