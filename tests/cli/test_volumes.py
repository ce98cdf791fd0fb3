"""Volumes from the command line: train, predict, eval; what is in the way is one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from bodies import GRID, SMALL, body, make_bodies

import atrous
from atrous.cli import main
from atrous.io.volumes import read_labels, write_volume

pytest.importorskip("SimpleITK", reason="needs the [medical] extra")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("volumes")
    make_bodies(base / "data")
    atrous.Segmenter(**SMALL, steps=3).fit(base / "data", base / "run")  # type: ignore[arg-type]
    return base


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0)


def test_volumes_in_a_folder(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = tmp_path / "scans"
    for name in ("a", "b"):
        write_volume(scans / f"{name}.nii.gz", body(3)[0], GRID)
    write_volume(scans / "c.nrrd", body(4)[0], GRID)
    (scans / "d.nii.gz").write_bytes(b"damaged")
    assert run("predict", scans, "--model", base / "run", "-o", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "3 of 4 label maps in" in said.out
    assert "failed: " in said.err
    assert "d.nii.gz: not a volume of its kind" in said.err
    labels = {path.name: read_labels(path) for path in (tmp_path / "out").glob("*.nii.gz")}
    assert sorted(labels) == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    np.testing.assert_array_equal(labels["a.nii.gz"].array, labels["b.nii.gz"].array)
    assert labels["a.nii.gz"].grid.differs(GRID, (14, 24, 28)) < 1e-4
    assert sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir()) == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.parametrize("name", ["seg.nii.gz", "seg.nrrd", "seg.mha", "deeper/seg.nii"])
def test_one_file(name: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, out = tmp_path / "scan.nii.gz", tmp_path / name
    write_volume(scan, body(3)[0], GRID)
    for _ in range(2):  # its own result is replaced
        assert run("predict", scan, "--model", base / "run", "-o", out) == 0
    assert read_labels(out).array.shape == (14, 24, 28)
    write_volume(out, np.zeros((2, 2, 2), np.uint8), GRID)
    out.write_bytes(out.read_bytes().replace(b"made by atrous", b"made by hand  ") if out.suffix != ".gz" else b"mine")
    kept = out.read_bytes()
    assert run("predict", scan, "--model", base / "run", "-o", out) == 2
    assert "is there already, and is not from this program" in capsys.readouterr().err
    assert out.read_bytes() == kept
    assert run("predict", scan, "--model", base / "run", "-o", out, "--overwrite") == 0


def test_what_does_not_go_together(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, other, photo = tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", tmp_path / "photo.png"
    for path in (scan, other):
        write_volume(path, body(3)[0], GRID)
    photo.touch()
    for words, said in (
        ((scan, photo), f"{photo}: not a volume, as a.nii.gz is"),
        ((scan, other, "-o", tmp_path / "one.nii.gz"), "one file for 2 volumes; give -o a folder"),
        ((scan, "--refine", "crf"), "refine='crf': a network of volumes has no such option"),
        ((scan, "-o", scan), "would overwrite it"),
        ((scan, "--model", "camvid-unet-lite0"), "was trained on pictures"),
    ):
        given = words if "--model" in words else (*words, "--model", base / "run")
        given = given if "-o" in words else (*given, "-o", tmp_path / "out")
        assert run("predict", *given) == 2, said
        assert said in capsys.readouterr().err


def test_eval_and_plan(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval", base / "run", base / "data", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["split"] == "test"
    assert set(found["per_class"]) == {"background", "ball", "bar"}
    organs = found["volumes"]["per_class"]
    assert set(organs) == {"ball", "bar"}
    assert organs["ball"]["cases"] == 1
    assert run("eval", base / "run", base / "data") == 0
    said = capsys.readouterr().out
    assert "HD95 mm" in said
    assert "cases: 1, patients: 1" in said
    assert run("plan", base / "data", "--no-measure", "--json") == 0
    recipe = json.loads(capsys.readouterr().out)["recipe"]
    assert recipe["model"] == "nnunet3d"
    assert len(recipe["crop"]) == 3


def test_the_command_trains_and_resumes(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", base / "data", "-o", tmp_path / "run", "--steps", 2, "--crop", "8x16x16", "--model", "nnunet3d"]
    for name, value in SMALL.items():
        if name not in ("model", "crop", "options"):
            words += ["--set", f"{name}={json.dumps(value)}"]
    words += ["--option", "features=[8,16]", "--option", "kernels=[[3,3,3],[3,3,3]]"]
    words += ["--option", "strides=[[1,1,1],[2,2,2]]", "--option", "aux=false"]
    assert run(*words) == 0
    assert "2 steps of 2 x 8x16x16" in capsys.readouterr().out
    assert run(*words) == 0
    assert "is finished" in capsys.readouterr().out


def test_a_dicom_series_to_nifti_and_to_seg(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The labels of the same voxels, as of the NIfTI file of the same scan; nothing of the patient's is told."""
    pytest.importorskip("highdicom", reason="needs the [medical] extra")
    from make_dicom import write_slices

    from atrous.io.dicom_seg import read_seg

    numbers = body(5)[0]
    write_slices(tmp_path / "scan", numbers, GRID)
    write_volume(tmp_path / "scan.nii.gz", numbers, GRID)
    model = ("--model", base / "run")
    for given, out in (("scan", "a.nii.gz"), ("scan", "a.dcm"), ("scan.nii.gz", "b.nii.gz"), ("scan", "folder")):
        for _ in range(2):  # its own result is replaced
            assert run("predict", tmp_path / given, *model, "-o", tmp_path / out) == 0, given
    said = capsys.readouterr()
    plain = read_labels(tmp_path / "b.nii.gz")
    for path in (tmp_path / "a.nii.gz", tmp_path / "folder" / "scan.nii.gz"):
        found = read_labels(path)
        np.testing.assert_array_equal(found.array, plain.array)
        assert found.grid.differs(GRID, numbers.shape) < 1e-4
    segments, names = read_seg(tmp_path / "a.dcm")
    assert set(names.values()) <= {"ball", "bar"}
    for value, name in names.items():
        mask = plain.array == ("background", "ball", "bar").index(name)
        assert (segments.array == value).sum() == mask.sum()
    assert "MARKER" not in said.out + said.err
    assert run("predict", tmp_path / "scan.nii.gz", *model, "-o", tmp_path / "c.dcm") == 2
    assert "a DICOM SEG refers to DICOM slices, and the input is none" in capsys.readouterr().err
