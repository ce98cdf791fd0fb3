"""DICOM series as volumes: places, values, what is refused, and that nothing about a patient is repeated."""

import logging
import time
import warnings
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grids import GRIDS
from make_dicom import (
    ENHANCED_MR,
    PACKS,
    PERSONAL,
    ROOT,
    UPRIGHT,
    enhanced,
    header,
    put_pixels,
    save,
    shuffled,
    write_slices,
)

from atrous.errors import DataError
from atrous.io import dicom_pixels
from atrous.io.dicom import Series, is_dicom, list_series, read_series
from atrous.io.geometry import Geometry

pydicom = pytest.importorskip("pydicom", reason="needs the [medical] extra")
simple = pytest.importorskip("SimpleITK", reason="needs the [medical] extra")

PLANES = {
    "axial": ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
    "coronal": ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
    "sagittal": ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)),
    "prone": ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0)),
}  # fmt: skip
"""Directions whose rows are x, y, z and whose columns are D, H, W."""
WAYS = [Geometry((3.0, 0.5, 0.75), (-7.0, 8.0, 9.5), rows) for rows in PLANES.values()] + GRIDS[:14] + GRIDS[-3:]


def numbers(depth: int = 5, seed: int = 0, low: int = -1000, high: int = 3000) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (depth, 6, 7)).astype(np.int16)


def upright(array: np.ndarray, grid: Geometry) -> tuple[np.ndarray, Geometry]:
    """The slices in the order of their normal, and the grid that they have then."""
    ways = np.array(grid.direction)
    if np.cross(ways[:, 2], ways[:, 1]) @ ways[:, 0] > 0:
        return array, grid
    ways[:, 0] *= -1
    place = grid.place((len(array) - 1, 0, 0))
    return array[::-1], Geometry(grid.spacing, tuple(place), tuple(map(tuple, ways)))  # type: ignore[arg-type]


def by_itk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine as SimpleITK reads a series."""
    from atrous.io.geometry import from_itk

    names = simple.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    reader = simple.ImageSeriesReader()
    reader.SetFileNames(names)
    picture = reader.Execute()
    return simple.GetArrayFromImage(picture), from_itk(picture).affine


@pytest.mark.parametrize("grid", WAYS, ids=range(len(WAYS)))
def test_slices_lie_where_they_are_not_where_names_say(grid: Geometry, tmp_path: Path) -> None:
    array = numbers()
    write_slices(tmp_path, array, grid)
    scan = read_series(tmp_path)
    expected, place = upright(array, grid)
    np.testing.assert_array_equal(scan.array, expected)
    np.testing.assert_allclose(scan.grid.affine, place.affine, rtol=0, atol=2e-6)
    theirs, affine = by_itk(tmp_path)
    if not np.allclose(affine[:3, 3], scan.grid.origin, atol=1e-3):  # SimpleITK goes the other way
        pytest.fail("SimpleITK orders these slices the other way round")
    np.testing.assert_array_equal(scan.array, theirs)
    np.testing.assert_allclose(scan.grid.affine, affine, rtol=0, atol=1e-6)
    assert scan.array.dtype == np.int16
    assert scan.notes == ()


@pytest.mark.parametrize("reverse", [False, True])
def test_rows_and_columns_are_not_mixed_up(reverse: bool, tmp_path: Path) -> None:
    """By hand: an axial stack of rows 0.5 mm, columns 2 mm, slices 3 mm apart."""
    array = numbers(3)
    for at in range(3):
        made = header()
        made.SOPInstanceUID = f"{ROOT}.4.{at}"
        made.ImagePositionPatient = ["10", "20", str(30 + 3 * (2 - at if reverse else at))]
        made.ImageOrientationPatient, made.PixelSpacing = ["1", "0", "0", "0", "1", "0"], ["0.5", "2"]
        put_pixels(made, array[at])
        save(made, tmp_path / "deeper" / f"{at}.dcm")
    scan = read_series(tmp_path)
    np.testing.assert_array_equal(scan.array, array[::-1] if reverse else array)
    assert scan.grid.spacing == (3.0, 0.5, 2.0)
    np.testing.assert_allclose(scan.grid.place((1, 2, 3)), [16, 21, 33])


STORED = [
    (np.int16, 16, -32768, 32767), (np.int16, 12, -2048, 2047), (np.uint16, 12, 0, 4095), (np.uint8, 8, 0, 255),
    (np.uint16, 16, 0, 32767), (np.int8, 8, -128, 127), (np.int8, 5, -16, 15),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "bits", "low", "high"), STORED)
def test_stored_numbers_of_any_bits(dtype: type, bits: int, low: int, high: int, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(low, high + 1, (3, 5, 7)).astype(dtype)
    array[0, 0, :2] = low, high

    def soil(_: int, made: Any) -> None:
        """Bits that are not used may hold anything."""
        if bits < made.BitsAllocated:
            data = np.frombuffer(made.PixelData, f"<u{array.itemsize}")
            made.PixelData = (data | (1 << (made.BitsAllocated - 1))).astype(data.dtype).tobytes()

    write_slices(tmp_path, array, change=soil, bits=bits)
    scan = read_series(tmp_path)
    np.testing.assert_array_equal(scan.array, array)
    assert scan.array.dtype == np.int16


def test_values_are_rescaled_slice_by_slice(tmp_path: Path) -> None:
    array = numbers(4, low=0, high=4000)

    def change(at: int, made: Any) -> None:
        made.RescaleSlope, made.RescaleIntercept = str(at + 1), "-1024"

    write_slices(tmp_path / "whole", array, change=change)
    scan = read_series(tmp_path / "whole")
    expected = array.astype(int) * np.arange(1, 5)[:, None, None] - 1024
    np.testing.assert_array_equal(scan.array, expected)
    assert scan.array.dtype == np.int16

    def fractions(at: int, made: Any) -> None:
        made.RescaleSlope, made.RescaleIntercept = ("1.25" if at == 2 else "1"), "-1024"

    write_slices(tmp_path / "part", array, change=fractions)
    scan = read_series(tmp_path / "part")
    expected = array * np.array([1, 1, 1.25, 1])[:, None, None] - 1024
    np.testing.assert_array_equal(scan.array, expected.astype(np.float32))
    assert scan.array.dtype == np.float32
    write_slices(tmp_path / "large", array.astype(np.uint16) + np.uint16(40_000))
    scan = read_series(tmp_path / "large")
    np.testing.assert_array_equal(scan.array, array.astype(np.float32) + 40_000)


@pytest.mark.parametrize("limit", [None, -1990])
def test_padding_gets_the_lowest_value_of_the_rest(limit: int | None, tmp_path: Path) -> None:
    array = numbers(3)
    array[1, 0] = -2000
    array[2, 0] = -1995

    def change(_: int, made: Any) -> None:
        made.add_new("PixelPaddingValue", "SS", -2000)
        if limit is not None:
            made.add_new("PixelPaddingRangeLimit", "SS", limit)
        made.RescaleIntercept = "-10"

    write_slices(tmp_path, array, change=change)
    scan = read_series(tmp_path)
    expected = array.copy()
    expected[expected == -2000] = -1995 if limit is None else array[array > -1990].min()
    if limit is not None:
        expected[expected == -1995] = array[array > -1990].min()
    np.testing.assert_array_equal(scan.array, expected - 10)


def test_numbers_of_white_zero_are_kept(tmp_path: Path) -> None:
    array = numbers(3)
    write_slices(tmp_path, array, change=lambda _, made: setattr(made, "PhotometricInterpretation", "MONOCHROME1"))
    np.testing.assert_array_equal(read_series(tmp_path).array, array)


def as_implicit(made: Any) -> None:
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"


def as_big_end(made: Any) -> None:
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.2"
    made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()


PACKED = {"implicit": as_implicit, "big end": as_big_end, **PACKS}


@pytest.mark.parametrize("way", PACKED)
def test_transfer_syntaxes(way: str, tmp_path: Path) -> None:
    array = numbers(3, low=0)
    write_slices(tmp_path, array, change=lambda _, made: PACKED[way](made))
    np.testing.assert_array_equal(read_series(tmp_path).array, array)


def test_files_without_preamble(tmp_path: Path) -> None:
    array = numbers(3)
    for at, path in enumerate(write_slices(tmp_path, array)):
        made = pydicom.dcmread(path)
        del made.file_meta
        made.preamble = None
        with path.open("wb") as file:
            pydicom.dcmwrite(file, made, implicit_vr=at != 1, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"
        assert is_dicom(path)
    np.testing.assert_array_equal(read_series(tmp_path).array, array)


@pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.2.1", ENHANCED_MR])
@pytest.mark.parametrize("grid", [WAYS[0], WAYS[1], *GRIDS[1:4]], ids=range(5))
def test_frames_of_one_file(grid: Geometry, kind: str, tmp_path: Path) -> None:
    array = numbers(5)
    file = save(enhanced(array, grid, [3, 0, 4, 2, 1], kind), tmp_path / "frames")
    scan = read_series(file)
    values = array * 2 - 100 * np.arange(5)[:, None, None]
    expected, place = upright(values, grid)
    np.testing.assert_array_equal(scan.array, expected)
    np.testing.assert_allclose(scan.grid.affine, place.affine, rtol=0, atol=2e-6)
    assert scan.series is not None
    assert scan.series.paths == (file,)
    np.testing.assert_array_equal(read_series(tmp_path).array, expected)


def test_a_single_slice_has_the_spacing_of_its_header(tmp_path: Path) -> None:
    (path,) = write_slices(tmp_path / "a", numbers(1))
    assert read_series(path).grid.spacing == pytest.approx((2.0, 0.7, 0.8))
    assert read_series(path).shape == (1, 6, 7)
    write_slices(tmp_path / "b", numbers(1), change=lambda _, made: delattr(made, "SliceThickness"))
    assert read_series(tmp_path / "b").grid.spacing[0] == 1.0


# Several series.


def test_series_are_told_apart_and_one_is_chosen(tmp_path: Path) -> None:
    first, second = numbers(4), numbers(3, seed=1)
    write_slices(tmp_path, first, series=7)
    write_slices(tmp_path / "inner", second, series=2)
    found = list_series(tmp_path)
    assert list(map(str, found)) == ["3 slices, series 2, CT", "4 slices, series 7, CT"]
    with pytest.raises(DataError, match=r"holds 2 series.*1: 3 slices, series 2, CT; 2: 4 slices, series 7, CT"):
        read_series(tmp_path)
    with pytest.raises(DataError, match="has no series 3; expected one of 1: 3 slices"):
        read_series(tmp_path, 3)
    np.testing.assert_array_equal(read_series(tmp_path, 1).array, second)
    np.testing.assert_array_equal(read_series(tmp_path, found[1]).array, first)


@pytest.mark.parametrize("tag", ["TemporalPositionIdentifier", "AcquisitionNumber", "EchoTime", "AcquisitionTime"])
def test_a_time_series_becomes_several(tag: str, tmp_path: Path) -> None:
    parts = [numbers(3, seed=seed) for seed in range(2)]
    for at, part in enumerate(parts):
        write_slices(tmp_path / str(at), part, change=lambda _, made, at=at: setattr(made, tag, f"{at + 1:06}"))
        for number, path in enumerate(sorted((tmp_path / str(at)).iterdir())):
            made = pydicom.dcmread(path)
            made.SOPInstanceUID = f"{ROOT}.6.{at}.{number}"
            save(made, path)
    found = list_series(tmp_path)
    assert [len(one.frames) for one in found] == [3, 3]
    for part, one in zip(parts, found, strict=True):
        np.testing.assert_array_equal(read_series(tmp_path, one).array, part)


def test_numbers_of_acquisitions_alone_do_not_split(tmp_path: Path) -> None:
    array = numbers(4)
    write_slices(tmp_path, array, change=lambda at, made: setattr(made, "AcquisitionNumber", at))
    np.testing.assert_array_equal(read_series(tmp_path).array, array)


def test_a_localiser_and_a_screenshot_are_apart(tmp_path: Path) -> None:
    array = numbers(4)
    write_slices(tmp_path, array)
    paths = write_slices(tmp_path / "x", numbers(1), WAYS[1])
    with pytest.raises(DataError, match="holds 2 series"):
        read_series(tmp_path)
    made = pydicom.dcmread(paths[0])
    made.SeriesInstanceUID, made.SamplesPerPixel, made.PhotometricInterpretation = f"{ROOT}.9", 3, "RGB"
    save(made, paths[0])
    scan = read_series(tmp_path)
    np.testing.assert_array_equal(scan.array, array)
    assert "colour" in scan.notes[0]
    with pytest.raises(DataError, match="colour"):
        read_series(paths[0])


def test_other_files_are_left_out_and_named(tmp_path: Path) -> None:
    array = numbers(3)
    write_slices(tmp_path, array)
    (tmp_path / "read me.txt").write_text("hello")
    (tmp_path / "empty").touch()
    kinds = {"1.2.840.10008.5.1.4.1.1.66.4": "SEG", "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
             "1.2.840.10008.5.1.4.1.1.88.11": "report", "1.2.840.10008.5.1.4.1.1.104.1": "PDF",
             "1.2.840.10008.1.3.10": "DICOMDIR"}  # fmt: skip
    for kind, name in kinds.items():
        made = header(kind, modality="OT")
        made.SOPInstanceUID = f"{ROOT}.7"
        save(made, tmp_path / f"other-{name}")
    scan = read_series(tmp_path)
    np.testing.assert_array_equal(scan.array, array)
    told = " ".join(scan.notes)
    assert "empty, read me.txt: left out, as not DICOM" in told
    for name in kinds.values():
        assert f"other-{name}: left out, as {name}, not a scan" in told
    with pytest.raises(DataError, match="other-SEG: holds SEG and no scan"):
        read_series(tmp_path / "other-SEG")


START = b"\x08\0\x05\0CS\x0a\0ISO_IR 100"
"""A first element as DICOM has it."""


def test_what_is_dicom(tmp_path: Path) -> None:
    path, *_ = write_slices(tmp_path / "a" / "b", numbers(2))
    assert is_dicom(path)
    assert is_dicom(path.parent)
    assert is_dicom(tmp_path / "a")
    (tmp_path / "c").mkdir()
    for at, data in enumerate(
        [b"", b"hello" * 99, bytes(500), b"\x08\0" * 99, b"\x08\0\x05\0" * 50, b"DICM" * 3, START + b"x" * 200]
    ):
        (tmp_path / "c" / str(at)).write_bytes(data)
        assert not is_dicom(tmp_path / "c" / str(at))
    assert not is_dicom(tmp_path / "c")
    assert not is_dicom(tmp_path / "missing")
    with pytest.raises(DataError, match="holds no DICOM file"):
        read_series(tmp_path / "c")
    with pytest.raises(DataError, match="not a DICOM file"):
        read_series(tmp_path / "c" / "1")
    with pytest.raises(DataError, match="no such file or folder"):
        read_series(tmp_path / "missing")


# What is refused.


def moved(at: int, by: tuple[float, float, float]) -> Callable[[int, Any], None]:
    def change(number: int, made: Any) -> None:
        if number == at:
            place = [float(value) + step for value, step in zip(made.ImagePositionPatient, by, strict=True)]
            made.ImagePositionPatient = [f"{value:.6f}" for value in place]

    return change


def aslant(at: int, made: Any) -> None:
    made.ImagePositionPatient = [made.ImagePositionPatient[0], f"{-20 + at * 2 * np.tan(np.radians(15)):.6f}",
                                 made.ImagePositionPatient[2]]  # fmt: skip


def only(at: int, change: Callable[[Any], object]) -> Callable[[int, Any], None]:
    return lambda number, made: change(made) if number == at else None


def colour(made: Any) -> None:
    made.SamplesPerPixel, made.PhotometricInterpretation = 3, "RGB"


def lost(tag: str) -> Callable[[int, Any], None]:
    return only(2, lambda made: delattr(made, tag))


def put(tag: str, value: Any) -> Callable[[int, Any], None]:
    return only(2, lambda made: setattr(made, tag, value))


def with_syntax(uid: str) -> Callable[[int, Any], None]:
    def change(_: int, made: Any) -> None:
        made.PixelData = pydicom.encaps.encapsulate([bytes(100)])
        made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
        made.file_meta.TransferSyntaxUID = uid

    return change


def mosaic(_: int, made: Any) -> None:
    made.ImageType = ["ORIGINAL", "PRIMARY", "MOSAIC"]


def looked_up(_: int, made: Any) -> None:
    made.ModalityLUTSequence = [pydicom.Dataset()]


def turned(made: Any) -> None:
    made.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]


def halved(made: Any) -> None:
    put_pixels(made, np.zeros((3, 7), np.int16))


REFUSED: dict[str, tuple[Callable[[int, Any], object], str]] = {
    "uneven": (moved(3, (0, 0, 0.5)), r"the slices are 1.5 to 2.5 mm apart, first after 1-\d+; .*resample"),
    "just uneven": (moved(3, (0, 0, 0.045)), "the slices are 1.955 to 2.045 mm apart"),
    "tilted": (aslant, r"aslant \(a tilted gantry\); .* resample the series first"),
    "aside": (moved(3, (0, 0.5, 0)), "a slice lies 0.50 mm beside the line"),
    "orientation": (only(3, turned), "holds 2 series, .* 5 slices, series 1, CT; 2: 1 slice, series 1, CT"),
    "size": (only(3, halved), "holds 2 series"),
    "same place": (moved(5, (0, 0, -2)), "lies at the place of .* and differs"),
    "no position": (lost("ImagePositionPatient"), "has no ImagePositionPatient, so its place is not known"),
    "no orientation": (lost("ImageOrientationPatient"), "has no ImageOrientationPatient"),
    "no spacing": (lost("PixelSpacing"), "has no PixelSpacing"),
    "colour": (lambda _, made: colour(made), "a colour picture"),
    "palette": (lambda _, made: setattr(made, "PhotometricInterpretation", "PALETTE COLOR"), "a colour picture"),
    "mosaic": (mosaic, "a mosaic of slices"),
    "table": (looked_up, "stand in a table"),
    "spacing of 0": (put("PixelSpacing", ["0", "1"]), "its pixels are 0 x 1 mm apart"),
    "three numbers": (
        put("ImagePositionPatient", ["0", "1"]),
        "has a damaged ImagePositionPatient; expected 3 numbers",
    ),
    "skewed": (put("ImageOrientationPatient", ["1", "0", "0", "0.6", "0.8", "0"]), "no pair of directions"),
    "bits": (put("BitsStored", 20), "stores 20 bits in 16"),
    "movie": (
        with_syntax("1.2.840.10008.1.2.4.102"),
        r"its transfer syntax 1.2.840.10008.1.2.4.102 is not read; save it",
    ),
    "large": (put("Rows", 60000), r"says it has 1 x 60000 x 7 voxels of 16 bits, but the file has"),
    "frames": (put("NumberOfFrames", 3), "does not say where its 3 frames are"),
    "cut": (only(2, lambda made: setattr(made, "PixelData", made.PixelData[:-10])), "bytes of pixels, expected 84"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_grid_is_refused_in_one_sentence(what: str, tmp_path: Path) -> None:
    change, said = REFUSED[what]
    write_slices(tmp_path, numbers(6), change=change)
    with pytest.raises(DataError, match=said) as raised:
        read_series(tmp_path)
    check_sentence(str(raised.value), tmp_path)


def check_sentence(text: str, folder: Path) -> None:
    assert "\n" not in text
    assert str(folder) in text
    assert ". " not in text.replace(str(folder), "")
    for mark in PERSONAL:
        assert mark not in text.replace(str(folder), "")


def test_missing_slices_are_counted_and_placed(tmp_path: Path) -> None:
    names = shuffled(9)
    for path in (paths := write_slices(tmp_path, numbers(9))):
        if path in (paths[2], paths[3], paths[6]):
            path.unlink()
    with pytest.raises(DataError) as raised:
        read_series(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}: 3 slices are missing (2 between 1-{names[1]} and 1-{names[4]}, 1 between 1-{names[5]} and "
        f"1-{names[7]}); expected one every 2 mm, copy the series again"
    )
    check_sentence(str(raised.value), tmp_path)


def test_steps_may_differ_a_little(tmp_path: Path) -> None:
    write_slices(tmp_path, numbers(6), change=moved(3, (0, 0, 0.019)))
    assert read_series(tmp_path).shape == (6, 6, 7)


def test_a_copy_of_a_slice_counts_once(tmp_path: Path) -> None:
    array = numbers(4)
    paths = write_slices(tmp_path, array)
    (tmp_path / "copy").write_bytes(paths[2].read_bytes())
    scan = read_series(tmp_path)
    np.testing.assert_array_equal(scan.array, array)
    assert scan.notes == (f"{tmp_path / 'copy'}: left out, as it is a copy of {paths[2].name}",)
    assert scan.series is not None
    assert len(scan.series.frames) == 4


def test_a_deflated_bomb_is_refused_at_once(tmp_path: Path) -> None:
    (path,) = write_slices(tmp_path, np.zeros((1, 3000, 3000), np.int16))
    made = pydicom.dcmread(path)
    made.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    save(made, path)
    assert path.stat().st_size < 100_000
    began = time.process_time()
    with pytest.raises(DataError, match=r"1.2.840.10008.1.2.1.99 \(deflated\) is not read"):
        read_series(path)
    assert time.process_time() - began < 0.05


@pytest.mark.parametrize("way", ["jpeg 2000", "rle"])
def test_packed_bombs_are_refused_by_their_header(way: str, tmp_path: Path) -> None:
    def change(_: int, made: Any) -> None:
        PACKED[way](made)
        made.Rows = made.Columns = 40_000

    write_slices(tmp_path, numbers(1, low=0), change=change)
    with pytest.raises(DataError, match=r"says it has 1 x 40000 x 40000 voxels of 16 bits, but the file has"):
        read_series(tmp_path)


@pytest.mark.parametrize("way", ["jpeg-ls", "lossless jpeg", "jpeg 2000"])
def test_packed_pixels_of_another_size_do_not_reach_their_decoder(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(_: int, made: Any) -> None:
        PACKED[way](made)
        made.Rows, made.Columns = made.Columns, made.Rows

    reached = list[int]()
    write_slices(tmp_path, numbers(1, low=0), change=change)
    for decoder in ("_by_pydicom", "_by_gdcm"):
        monkeypatch.setattr(dicom_pixels, decoder, lambda *_: reached.append(1))
    with pytest.raises(DataError, match="damaged DICOM file"):
        read_series(tmp_path)
    assert not reached


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.5, 0.8, 0.99])
def test_a_cut_file_is_one_sentence(share: float, tmp_path: Path) -> None:
    (path,) = write_slices(tmp_path, np.random.default_rng(0).integers(0, 999, (1, 40, 40)).astype(np.int16))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError) as raised:
        read_series(path)
    check_sentence(str(raised.value), tmp_path)


# Patients.


STANDIN = "12345678"
"""A number that is replaced by a mark in the file, so that the tag is of the right type."""


def test_nothing_about_a_patient_is_repeated(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither in sentences and notes nor in what is printed, logged, or kept in a series."""
    told, log = list[str](), logging.StreamHandler(StringIO())
    logging.getLogger("pydicom").addHandler(log)
    texts = ("ImageType", "AcquisitionTime", "BitsStored", "Rows", "Modality", "PhotometricInterpretation")
    typed = ("RescaleSlope", "PixelSpacing", "ImagePositionPatient", "SeriesNumber", "NumberOfFrames", "EchoTime")
    cases = [(None, ""), *((tag, text) for tag in (*texts, *typed) for text in ("MARKER", "MARKER\\MARKER"))]
    cases += [(tag, STANDIN) for tag in typed]
    for at, (tag, text) in enumerate(cases):
        folder = tmp_path / str(at)

        def change(_: int, made: Any, tag: str | None = tag, text: str = text) -> None:
            made.add_new("PixelPaddingValue", "SS", -5)
            if tag and text == STANDIN:
                made[tag].value = text
            elif tag:  # pydicom's own warnings and errors repeat it
                made.add_new(tag, "LO", text)

        for path in write_slices(folder, numbers(3), change=lambda at, made: (setattr(made, "EchoTime", "1"),
                                                                             setattr(made, "NumberOfFrames", "1"),
                                                                             change(at, made))):  # fmt: skip
            path.write_bytes(path.read_bytes().replace(STANDIN.encode(), b"MARKER  "))
        write_slices(folder, numbers(2), series=3)
        (folder / "copy").write_bytes((folder / "3-00001").read_bytes())
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            for number in (None, 1, 2, 9):
                try:
                    scan = read_series(folder, number)
                    told += [repr(scan.series), *scan.notes, str(scan.series), repr(scan.grid)]
                except DataError as error:
                    told += [str(error), repr(error.__cause__)]
        told += map(str, warned)
    logging.getLogger("pydicom").removeHandler(log)
    told += [*capfd.readouterr(), log.stream.getvalue()]
    assert len(told) > 40
    for mark in PERSONAL:
        assert not [text for text in told if mark in text]


def test_a_series_keeps_its_paths_in_order(tmp_path: Path) -> None:
    paths = write_slices(tmp_path, numbers(5))
    (found,) = list_series(tmp_path)
    assert isinstance(found, Series)
    assert found.paths == tuple(paths)
    assert (found.modality, found.number) == ("CT", 1)
    assert UPRIGHT.spacing[0] == found.frames[0].thickness
