"""DICOM SEG: what is written is where the scan is, as highdicom, SimpleITK and a reader by hand see it; and back."""

import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grids import GRIDS
from make_dicom import PERSONAL, UPRIGHT, enhanced, save, write_slices

import atrous
from atrous.errors import DataError
from atrous.io.dicom import Scan, list_series, read_series
from atrous.io.dicom_seg import read_seg, write_seg
from atrous.io.geometry import Geometry, from_itk
from atrous.io.volumes import Volume

pydicom = pytest.importorskip("pydicom", reason="needs the [medical] extra")
high = pytest.importorskip("highdicom", reason="needs the [medical] extra")
simple = pytest.importorskip("SimpleITK", reason="needs the [medical] extra")

NAMES = ["background", "liver", "spleen", "nothing", "left kidney"]
COLOURS = [(0, 0, 0), (200, 30, 30), (30, 200, 30), (1, 2, 3), (30, 30, 200)]
Places = dict[int, set[tuple[int, ...]]]


def scanned(folder: Path, grid: Geometry = UPRIGHT, depth: int = 6, height: int = 9) -> Scan:
    rng = np.random.default_rng(3)
    write_slices(folder, rng.integers(-1000, 1000, (depth, height, 10)).astype(np.int16), grid)
    return read_series(folder)


def labelled(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Labels 1, 2 and 4; the first and the last slice and one inside have none."""
    labels = np.random.default_rng(seed).choice([0, 0, 0, 1, 2, 4], shape).astype(np.uint8)
    labels[[0, -1, 2]] = 0
    return labels


def places(labels: np.ndarray, affine: np.ndarray) -> Places:
    """Of each label the places of its voxels, in hundredths of a mm."""
    found: Places = {}
    for value in np.unique(labels[labels > 0]):
        voxels = np.argwhere(labels == value)
        at = (affine @ np.c_[voxels, np.ones(len(voxels))].T)[:3].T
        found[int(value)] = {tuple(np.round(place * 100).astype(int)) for place in at}
    return found


def near(one: Places, other: Places) -> bool:
    """Whether two sets of places are the same, up to 0.02 mm."""
    if one.keys() != other.keys():
        return False
    for value in one:
        mine, theirs = np.array(sorted(one[value])), np.array(sorted(other[value]))
        if len(mine) != len(theirs):
            return False
        apart = np.abs(mine[:, None] - theirs[None]).max(-1)
        if not ((apart <= 2).sum(0) == 1).all() or not ((apart <= 2).sum(1) == 1).all():
            return False
    return True


def by_hand(path: Path) -> Places:
    """The set voxels of each segment's frames, by the tags of each frame alone (PS3.3 C.7.6.2.1.1)."""
    head = pydicom.dcmread(path)
    bits = np.unpackbits(np.frombuffer(head.PixelData, np.uint8), bitorder="little")
    frames = bits[: head.NumberOfFrames * head.Rows * head.Columns].reshape(-1, head.Rows, head.Columns)
    shared, found = head.SharedFunctionalGroupsSequence[0], Places()
    way = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    down, right = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    for frame, group in zip(frames, head.PerFrameFunctionalGroupsSequence, strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        first = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(frame):
            at = first + way[:3] * right * column + way[3:] * down * row
            found.setdefault(number, set()).add(tuple(np.round(at * 100).astype(int)))
    return found


def by_highdicom(path: Path) -> Places:
    seg = high.seg.segread(path)
    volume = seg.get_volume(combine_segments=True)
    return places(np.asarray(volume.array), volume.affine)


@pytest.mark.parametrize("grid", GRIDS, ids=range(len(GRIDS)))
def test_all_readers_see_the_labels_where_the_scan_is(grid: Geometry, tmp_path: Path) -> None:
    scan, path = scanned(tmp_path / "ct", grid), tmp_path / "labels.dcm"
    labels = labelled(scan.shape)
    notes = write_seg(path, labels, scan, NAMES, COLOURS)
    assert notes == (f"{path}: nothing: left out, as no voxel has this class",)
    numbered = np.array([0, 1, 2, 0, 3], np.uint8)[labels]
    expected = places(numbered, scan.grid.affine)
    assert near(by_hand(path), expected)
    assert near(by_highdicom(path), expected)
    volume, names = read_seg(path)
    assert near(places(volume.array, volume.grid.affine), expected)
    assert names == {1: "liver", 2: "spleen", 3: "left kidney"}
    assert volume.array.dtype == np.uint8
    assert volume.shape == (4, 9, 10)  # the grid is that of the scan, from the first to the last slice with labels
    np.testing.assert_array_equal(volume.array, numbered[1:-1])
    np.testing.assert_allclose(volume.grid.place((0, 0, 0)), scan.grid.place((1, 0, 0)), atol=2e-6)
    assert volume.grid.differs(Geometry(scan.grid.spacing, volume.grid.origin, scan.grid.direction), (4, 9, 10)) < 1e-4


def test_the_sets_of_places_are_compared_for_what_they_are() -> None:
    labels = labelled((4, 5, 6))
    one = places(labels, UPRIGHT.affine)
    moved = Geometry(UPRIGHT.spacing, (-10.0, -19.9, 30.0), UPRIGHT.direction)
    assert near(one, one)
    assert not near(one, places(labels, moved.affine))
    labels[1, 0, 0] = 5
    assert not near(one, places(labels, UPRIGHT.affine))


@pytest.mark.parametrize("grid", GRIDS[:14], ids=range(14))
def test_simpleitk_reads_it_where_the_scan_is(grid: Geometry, tmp_path: Path) -> None:
    """SimpleITK 2.5 reads the frames of one segment as a volume, if its bits fill whole bytes."""
    scan, path = scanned(tmp_path / "ct", grid, height=8), tmp_path / "labels.dcm"
    labels = np.ones(scan.shape, np.uint8)
    labels[:, 2:4, 3] = 0
    write_seg(path, labels, scan, NAMES)
    try:
        picture = simple.ReadImage(str(path))
    except RuntimeError:
        pytest.skip("this SimpleITK does not read a SEG")
    array = simple.GetArrayFromImage(picture)
    if array.shape != labels.shape:
        pytest.skip("this SimpleITK does not read single bits")
    assert near(places((array != 0).astype(np.uint8), from_itk(picture).affine), places(labels, scan.grid.affine))


def test_what_it_refers_to_and_who_made_it(tmp_path: Path) -> None:
    scan, path = scanned(tmp_path / "ct"), tmp_path / "labels.dcm"
    labels = labelled(scan.shape)
    write_seg(path, labels, scan, NAMES, COLOURS)
    made, source = pydicom.dcmread(path), pydicom.dcmread(scan.series.paths[0])  # type: ignore[union-attr]
    for tag in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert made[tag].value == source[tag].value
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    assert (made.Modality, made.SegmentationType, made.SOPClassUID.name) == ("SEG", "BINARY", "Segmentation Storage")
    uids = {pydicom.dcmread(file).SOPInstanceUID: at for at, file in enumerate(scan.series.paths)}  # type: ignore[union-attr]
    order = []
    for frame in made.PerFrameFunctionalGroupsSequence:
        referred = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        at, number = uids[referred], frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(place, scan.grid.place((at, 0, 0)), atol=1e-5)
        order.append((tuple(frame.FrameContentSequence[0].DimensionIndexValues), number, at))
    assert [pointer.DimensionIndexPointer for pointer in made.DimensionIndexSequence] == [0x0062000B, 0x00200032]
    organisation = made.DimensionOrganizationSequence[0].DimensionOrganizationUID
    assert {pointer.DimensionOrganizationUID for pointer in made.DimensionIndexSequence} == {organisation}
    for values, number, _ in order:
        assert values[0] == number
    for one, other in pairwise(order):  # of one segment, slices in order have indices in order
        assert one[1] != other[1] or (one[0][1] < other[0][1]) == (one[2] > other[2])
    assert len({values for values, *_ in order}) == len(order) == 3 * 3
    for segment in made.SegmentSequence:
        assert segment.SegmentAlgorithmName == "atrous"
        by = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert (by.AlgorithmName, by.AlgorithmVersion) == ("atrous", atrous.__version__)
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "85756007"
        shade = high.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue)
        assert np.abs(np.array(shade.to_rgb()) - COLOURS[NAMES.index(segment.SegmentLabel)]).max() <= 1


def test_of_a_file_of_several_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 999, (5, 6, 7)).astype(np.int16)
    scan = read_series(save(enhanced(array, GRIDS[3], [3, 0, 4, 2, 1]), tmp_path / "frames"))
    labels, path = labelled(scan.shape), tmp_path / "labels.dcm"
    write_seg(path, labels, scan, NAMES)
    expected = places(np.array([0, 1, 2, 0, 3], np.uint8)[labels], scan.grid.affine)
    assert near(by_hand(path), expected)
    assert near(by_highdicom(path), expected)
    volume, _ = read_seg(path)
    assert near(places(volume.array, volume.grid.affine), expected)


def test_other_backgrounds_and_numbers(tmp_path: Path) -> None:
    scan, path = scanned(tmp_path / "ct"), tmp_path / "labels.dcm"
    (series,) = list_series(tmp_path / "ct")
    labels = np.full(scan.shape, 300, np.uint16)
    labels[1:3, 2, 3] = 7
    assert write_seg(path, labels, series, {7: "tumour", 300: "outside", 5: "bone"}, background=300) == (
        f"{path}: bone: left out, as no voxel has this class",
    )
    volume, names = read_seg(path)
    assert names == {1: "tumour"}
    np.testing.assert_array_equal(volume.array, labels[1:3] == 7)
    write_seg(path, labels, series, {7: "tumour", 300: "outside\\\u202e" + "x" * 99}, background=None)
    volume, names = read_seg(path)
    np.testing.assert_array_equal(volume.array, np.where(labels == 7, 1, 2))
    assert names[2] == ("outside/\\u202e".replace("\\", "/") + "x" * 99)[:64]
    with pytest.raises(DataError, match="the label 300 has no name"):
        write_seg(path, labels, series, {7: "tumour"})
    with pytest.raises(DataError, match=r"labels from -1 to 1; expected 0\.\.65535"):
        write_seg(path, np.where(labels == 7, -1, 1), series, ["a", "b"])
    with pytest.raises(DataError, match="no voxel has another class than the background"):
        write_seg(path, labels * 0, series, NAMES)
    with pytest.raises(DataError, match=r"labels of shape \(2, 2, 2\), uint8; expected \(6, 9, 10\)"):
        write_seg(path, np.zeros((2, 2, 2), np.uint8), series, NAMES)


def changed(path: Path, change: Any) -> Path:
    made = pydicom.dcmread(path)
    change(made)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(path.with_name("changed.dcm"))
    return path.with_name("changed.dcm")


def both(made: Any) -> None:
    """The frames of the second segment become copies of those of the first."""
    length = made.Rows * made.Columns
    bits = np.unpackbits(np.frombuffer(made.PixelData, np.uint8), bitorder="little")[: made.NumberOfFrames * length]
    bits[:] = 1
    data = np.packbits(bits, bitorder="little").tobytes()
    made.PixelData = data + bytes(len(data) % 2)


def uneven(made: Any) -> None:
    place = made.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0]
    place.ImagePositionPatient = [*place.ImagePositionPatient[:2], float(place.ImagePositionPatient[2]) + 0.7]


def unknown(made: Any) -> None:
    made.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 77


REFUSED = {
    "overlap": (both, "segments 1 and 2 overlap"),
    "uneven": (uneven, "mm apart; expected even steps"),
    "fractions": (lambda made: setattr(made, "SegmentationType", "FRACTIONAL"), "no plain ones but fractions"),
    "unknown": (unknown, "a frame is of the segment 77"),
    "another kind": (lambda made: setattr(made, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"), "not a DICOM SEG"),
    "few frames": (lambda made: setattr(made, "NumberOfFrames", 3), "says it has 3 frames, and tells the place of 9"),
    "cut": (lambda made: setattr(made, "PixelData", made.PixelData[:-10]), "bytes of pixels, expected"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_label_map_is_refused(what: str, tmp_path: Path) -> None:
    scan, path = scanned(tmp_path / "ct"), tmp_path / "labels.dcm"
    write_seg(path, labelled(scan.shape), scan, NAMES)
    change, said = REFUSED[what]
    with pytest.raises(DataError, match=said) as raised:
        read_seg(changed(path, change))
    assert "\n" not in str(raised.value)
    assert not [mark for mark in PERSONAL if mark in str(raised.value)]


def test_slices_without_labels_are_not_lost_between_others(tmp_path: Path) -> None:
    """Frames of slices 1, 4 and 6: their steps are three and two, and the header says one."""
    scan, path = scanned(tmp_path / "ct", depth=8), tmp_path / "labels.dcm"
    labels = np.zeros(scan.shape, np.uint8)
    labels[[1, 4, 6], 2:4] = 1
    write_seg(path, labels, scan, NAMES)
    made = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(made.SpacingBetweenSlices) == pytest.approx(2.0)
    np.testing.assert_array_equal(read_seg(path)[0].array, labels[1:7])


def test_a_label_map_of_another_program(tmp_path: Path) -> None:
    """The kind LABELMAP, and slices of which every second one has labels, without SpacingBetweenSlices."""
    scan, path = scanned(tmp_path / "ct", depth=7), tmp_path / "labels.dcm"
    labels = labelled(scan.shape)
    write_seg(path, labels, scan, NAMES)
    sources = [pydicom.dcmread(file) for file in scan.series.paths]  # type: ignore[union-attr]
    described = list(high.seg.segread(path).SegmentSequence)
    uid = pydicom.uid.generate_uid
    numbered = np.array([0, 1, 2, 0, 3], np.uint8)[labels]
    for source in sources:
        source.PatientName = "A^B"  # highdicom warns of other names
    made = high.seg.Segmentation(
        sources, numbered, "LABELMAP", described, uid(), 5, uid(), 1, "m", "m", "1", "1",
        transfer_syntax_uid=pydicom.uid.RLELossless,
    )  # fmt: skip
    made.save_as(path)
    volume, names = read_seg(path)
    assert near(places(volume.array, volume.grid.affine), places(numbered, scan.grid.affine))
    assert set(names.values()) >= {"liver", "spleen", "left kidney"}


def test_the_source_must_have_what_a_seg_needs(tmp_path: Path) -> None:
    for path in write_slices(tmp_path, np.zeros((3, 4, 5), np.int16)):
        made = pydicom.dcmread(path)
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = ""
        made.save_as(path, enforce_file_format=False)
    scan = read_series(tmp_path)
    with pytest.raises(DataError, match="has no SOPInstanceUID; a SEG refers to it"):
        write_seg(tmp_path / "a.dcm", np.ones(scan.shape, np.uint8), scan, NAMES)
    alone = Scan(scan.array, scan.grid, scan.path)
    with pytest.raises(DataError, match="a volume without its series"):
        write_seg(tmp_path / "a.dcm", np.ones(scan.shape, np.uint8), alone, NAMES)
    assert isinstance(scan, Volume)
    assert not (tmp_path / "a.dcm").exists()


def test_a_scan_that_has_lost_its_names(tmp_path: Path) -> None:
    """Who blanks patients often blanks all UIDs but those of the file's first part: the SEG gets its own."""
    gone = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "PatientID", "PatientName")
    paths = write_slices(tmp_path / "ct", np.zeros((3, 4, 5), np.int16))
    for path in paths:
        made = pydicom.dcmread(path)
        for tag in gone:
            setattr(made, tag, "")
        if path != paths[0]:
            made.FrameOfReferenceUID = ""
        made.save_as(path)
    scan, path = read_series(tmp_path / "ct"), tmp_path / "a.dcm"
    notes = write_seg(path, np.ones(scan.shape, np.uint8), scan, NAMES[:2])
    assert [note.partition(", as")[0] for note in notes] == [
        f"{path}: has a new {tag}" for tag in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    ]
    made = pydicom.dcmread(path)
    referred = made.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {one.ReferencedSOPInstanceUID for one in referred} == {
        pydicom.dcmread(path).file_meta.MediaStorageSOPInstanceUID for path in paths
    }
    np.testing.assert_array_equal(read_seg(path)[0].array, 1)


def test_odd_tags_of_a_patient_do_not_stop_it_and_are_not_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def odd(_: int, made: Any) -> None:
        made.PatientSex = "X"
        made.add_new("PatientBirthDate", "LO", "MARKER born")
        made.add_new("StudyTime", "LO", "MARKER time")
        made.PatientName = "MARKER^^^^^^^^a=b=c=d"
        for tag in ("StudyID", "AccessionNumber", "ReferringPhysicianName"):
            delattr(made, tag)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_slices(tmp_path, np.zeros((3, 4, 5), np.int16), change=odd)
    scan = read_series(tmp_path)
    write_seg(tmp_path / "a.dcm", np.ones(scan.shape, np.uint8), scan, NAMES)
    assert read_seg(tmp_path / "a.dcm")[1] == {1: "liver"}
    assert not [mark for mark in PERSONAL for text in capfd.readouterr() if mark in text]
