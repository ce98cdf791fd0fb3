"""Volumes and their grids: what is written is where its source was, as nibabel and SimpleITK read it; bombs; decoys."""

import gzip
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from grids import GRIDS, TURNS

from atrous.errors import DataError
from atrous.io.geometry import Geometry, standard
from atrous.io.volumes import Volume, read_labels, read_volume, volume_geometry, volume_size, write_volume

simple = pytest.importorskip("SimpleITK", reason="needs the [medical] extra")
nibabel = pytest.importorskip("nibabel", reason="the independent reader, in [dev]")
RAS = np.diag([-1.0, -1, 1, 1])


def affine_of(path: Path) -> np.ndarray:
    """Voxel (d, h, w, 1) -> LPS in mm, as nibabel reads it."""
    return RAS @ nibabel.load(path).affine @ np.eye(4)[[2, 1, 0, 3]]


def scan(path: Path, grid: Geometry, array: np.ndarray) -> None:
    """A NIfTI file that nibabel writes."""
    affine = RAS @ grid.affine @ np.eye(4)[[2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(array, (0, 1, 2), (2, 1, 0)), affine), path)


@pytest.mark.parametrize("grid", GRIDS, ids=range(len(GRIDS)))
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_labels_lie_where_the_scan_lies(grid: Geometry, ending: str, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(-1000, 1000, (3, 4, 5)).astype(np.int16)
    for number, turn in enumerate(TURNS[:: 1 if ending == ".nii.gz" else 7]):
        source, made = tmp_path / f"{number}.nii", tmp_path / f"labels{number}{ending}"
        scan(source, turn.geometry(grid, array.shape), turn.array(array))
        volume = read_volume(source)
        np.testing.assert_array_equal(volume.array, turn.array(array))
        labels = (volume.array > 0).astype(np.uint8)
        upright = standard(volume.grid)
        write_volume(made, upright.back(upright.array(labels)), volume.grid)
        again = read_labels(made)
        np.testing.assert_array_equal(again.array, labels)
        assert again.array.dtype == np.uint8
        np.testing.assert_allclose(again.grid.affine, volume.grid.affine, rtol=0, atol=1e-6)
        if ending.startswith(".nii"):
            np.testing.assert_allclose(affine_of(made), affine_of(source), rtol=0, atol=1e-6)
            first, second = (simple.ReadImage(str(path)) for path in (source, made))
            for key in ("GetSpacing", "GetOrigin", "GetDirection"):
                found = getattr(first, key)(), getattr(second, key)()
                np.testing.assert_allclose(*found, rtol=0, atol=1e-6)


def nifti(sizes: tuple[int, ...], kind: int = 16, width: int = 32) -> bytes:
    """A header of NIfTI-1 and no voxels."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into(f"<{1 + len(sizes)}h", head, 40, len(sizes), *sizes)
    struct.pack_into("<hh", head, 70, kind, width)
    struct.pack_into("<8f", head, 76, *[1.0] * 8)
    struct.pack_into("<f", head, 108, 352)
    head[344:348] = b"n+1\0"
    return bytes(head)


META = "ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = {}\nDimSize = {}\nElementType = {}\n"
NRRD = "NRRD0004\ntype: {}\ndimension: 3\nsizes: {}\nencoding: {}\nendian: little\n"
BOMBS: dict[str, Callable[[], bytes]] = {
    "a.nii": lambda: nifti((3000, 3000, 3000)),
    "a.nii.gz": lambda: gzip.compress(nifti((3000, 3000, 3000)) + bytes(1000)),
    "b.nii.gz": lambda: gzip.compress(nifti((1200, 1200, 1200)) + bytes(1000)),
    "c.nii.gz": lambda: gzip.compress(nifti((500, 500, 500)) + bytes(1000)),
    "a.mha": lambda: (META.format("True", "3000 3000 3000", "MET_SHORT") + "ElementDataFile = LOCAL\nx").encode(),
    "b.mha": lambda: (META.format("False", "300 300 300", "MET_SHORT") + "ElementDataFile = LOCAL\nx").encode(),
    "a.nrrd": lambda: NRRD.format("short", "3000 3000 3000", "gzip").encode() + b"\n" + gzip.compress(bytes(999)),
    "b.nrrd": lambda: NRRD.format("double", "300 300 300", "raw").encode() + b"\nx",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_by_their_header(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(BOMBS[name]())
    assert (tmp_path / name).stat().st_size < 1024
    for read in (read_volume, volume_size, volume_geometry):
        began = time.process_time()
        with pytest.raises(
            DataError, match=r"says it has (3000 x 3000 x 3000|\d+ x \d+ x \d+ voxels of \d bytes, but)"
        ):
            read(tmp_path / name)
        assert time.process_time() - began < 0.05


ELSEWHERE = ["/etc/passwd", "../secret.raw", "LIST", "slice%03d.raw 1 3 1", "folder/secret.raw", "link.raw", ".."]


@pytest.mark.parametrize("other", ELSEWHERE)
@pytest.mark.parametrize("kind", ["mhd", "mha", "nhdr", "nrrd"])
def test_voxels_are_in_the_file_or_beside_it(kind: str, other: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for place in (tmp_path / "secret.raw", folder / "secret.raw"):
        place.write_bytes(bytes(range(24)))
    (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    meta = META.format("False", "2 3 4", "MET_UCHAR") + "ElementDataFile = {}\n"
    text = meta if kind.startswith("m") else NRRD.format("uchar", "2 3 4", "raw") + "data file: {}\n"
    (folder / f"a.{kind}").write_text(text.format(other))
    with pytest.raises(DataError, match="its voxels are in"):
        read_volume(folder / f"a.{kind}")
    (folder / f"b.{kind}").write_text(text.format("secret.raw"))
    np.testing.assert_array_equal(read_volume(folder / f"b.{kind}").array.reshape(-1), np.arange(24))


@pytest.mark.parametrize("field", range(256, 328, 4))
def test_a_place_is_made_of_finite_numbers(field: int, tmp_path: Path) -> None:
    """SimpleITK never ends on an infinite srow, and takes others as they are."""
    head = bytearray(nifti((2, 2, 2)))
    struct.pack_into("<hh", head, 252, 1, 1)
    for value in (np.inf, -np.inf, np.nan, 1e30):
        struct.pack_into("<f", head, field, value)
        (tmp_path / "a.nii").write_bytes(head + bytes(100))
        with pytest.raises(DataError, match="its place in space is no finite number"):
            read_volume(tmp_path / "a.nii")
    for value in ("1e300", "-1e7"):
        meta = META.format("False", "2 2 2", "MET_SHORT") + f"Offset = 0 {value} 0\nElementDataFile = LOCAL\n"
        (tmp_path / "a.mha").write_bytes(meta.encode() + bytes(16))
        with pytest.raises(DataError, match="its voxels lie at no place of finite numbers"):
            read_volume(tmp_path / "a.mha")


@pytest.mark.parametrize("line", ["space {} directions: 1", "labels: {}", "content: {}", "space directions: ({},0,0)"])
def test_long_lines_of_nrrd_do_not_reach_its_reader(line: str, tmp_path: Path) -> None:
    """Its reader in SimpleITK 2.5 ends the process on some."""
    head = NRRD.format("uchar", "2 2 2", "raw")
    (tmp_path / "a.nrrd").write_bytes(f"{head}{line.format('1' * 3000)}\n\n".encode() + bytes(8))
    with pytest.raises(DataError, match="a line of its header has 30"):
        read_volume(tmp_path / "a.nrrd")
    (tmp_path / "a.nrrd").write_bytes(f"{head}key:={'1' * 3000}\n# {'x' * 3000}\n\n".encode() + bytes(8))
    assert read_volume(tmp_path / "a.nrrd").shape == (2, 2, 2)
    (tmp_path / "a.nrrd").write_bytes(f"{head}data file: {'a' * 300}\n\n".encode() + bytes(8))
    with pytest.raises(DataError, match="which is no name of a file"):
        read_volume(tmp_path / "a.nrrd")


@pytest.mark.parametrize(
    ("kind", "width", "said"),
    [(128, 24, "RGB colours, not numbers"), (32, 64, "complex, not numbers"), (77, 8, "unknown type 77")],
)
def test_other_things_than_numbers_are_refused(kind: int, width: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti((2, 2, 2), kind, width) + bytes(100))
    with pytest.raises(DataError, match=said):
        read_volume(tmp_path / "a.nii")


def test_single_slices_and_channels(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 4 * 2, dtype=np.float32).reshape(2, 3, 4, 2)
    picture = nibabel.Nifti1Image(np.moveaxis(array, (0, 1, 2), (2, 1, 0)), np.diag([-2.0, -3, 4, 1]))
    nibabel.save(picture, tmp_path / "channels.nii.gz")
    volume = read_volume(tmp_path / "channels.nii.gz")
    np.testing.assert_array_equal(volume.array, array)
    assert volume_size(tmp_path / "channels.nii.gz") == (2, 3, 4, 2)
    assert volume.grid.spacing == (4.0, 3.0, 2.0)
    assert volume.shape == (2, 3, 4)
    nibabel.save(nibabel.Nifti1Image(array[0, :, :, 0].T, np.eye(4)), tmp_path / "slice.nii")
    assert read_volume(tmp_path / "slice.nii").shape == (1, 3, 4)
    assert volume_size(tmp_path / "slice.nii") == (1, 3, 4, 1)
    both = simple.GetImageFromArray(array, isVector=True)
    simple.WriteImage(both, str(tmp_path / "vector.mha"))
    np.testing.assert_array_equal(read_volume(tmp_path / "vector.mha").array, array)
    assert volume_size(tmp_path / "vector.mha") == (2, 3, 4, 2)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_a_cut_file_is_one_sentence(ending: str, tmp_path: Path) -> None:
    whole = tmp_path / f"whole{ending}"
    write_volume(whole, np.random.default_rng(0).integers(0, 255, (9, 8, 7)).astype(np.uint8), Geometry())
    data = whole.read_bytes()
    for share in (0.0, 0.02, 0.3, 0.6, 0.99):
        (tmp_path / f"cut{ending}").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DataError, match=r"cut\.[\w.]+: ") as raised:
            read_volume(tmp_path / f"cut{ending}")
        assert "\n" not in str(raised.value)


def test_names_of_written_volumes_have_known_endings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a volume is written as .nii.gz, .nii, .nrrd, .mha; give a name that ends so"):
        write_volume(tmp_path / "a.png", np.zeros((2, 2, 2), np.uint8), Geometry())
    assert Volume(np.zeros((1, 2, 3, 4)), Geometry()).shape == (1, 2, 3)
    assert list(tmp_path.iterdir()) == []
