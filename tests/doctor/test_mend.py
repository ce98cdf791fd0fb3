"""A mended copy has no error left, every mask says what it meant, the original is unchanged."""

import json
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from faults import FAULTS, Fault, all_masks, no_mask, sound_set, stray_nineteen
from PIL import Image

from atrous.datasets import open_dataset
from atrous.doctor import Examination, examine_dataset, mend
from atrous.doctor.mend import Mended
from atrous.errors import DataError
from atrous.io import read_mask

BEFORE = {fault.name: fault for fault in FAULTS if fault.severity == "error"}


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Stem -> mask of the set without a fault."""
    return {path.stem: read_mask(path) for path in all_masks(sound_set(tmp_path_factory.mktemp("sound") / "data"))}


def state(root: Path) -> dict[str, str]:
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in sorted(root.rglob("*")) if path.is_file()}


class Case(NamedTuple):
    """A set with one fault: its files before it was mended, what was found, where the copy is and what it holds."""

    root: Path
    before: dict[str, str]
    found: Examination
    out: Path
    mended: Mended | None


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """The case of a fault's name, made once."""

    @cache
    def made(name: str) -> Case:
        folder = tmp_path_factory.mktemp(name)
        root, out = sound_set(folder / "data"), folder / "out"
        BEFORE[name].plant(root)
        before, found = state(root), examine_dataset(root)
        return Case(root, before, found, out, None if name in BEYOND else mend(found, out))

    return made


BEYOND = ("jpeg_of_indices", "one_class_too_few")
"""Where no mask can be trusted."""


@pytest.mark.parametrize("fault", BEFORE.values(), ids=lambda fault: fault.name)
def test_the_copy_has_no_error_and_the_original_is_untouched(case: Callable[[str], Case], fault: Fault) -> None:
    root, before, found, out, mended = case(fault.name)
    if mended is None:
        with pytest.raises(DataError, match=r"no pair can be mended|classes cannot be told"):
            mend(found, out)
        return
    assert state(root) == before
    errors = examine_dataset(out).errors
    assert [one.summary() for one in errors if one.kind != "no_training"] == []  # no copy has more pairs
    assert (len(mended.left_out) == 0) == fault.mended
    open_dataset(out).verify()


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS if fault.mended and fault.kind != "size_mismatch"])
def test_the_masks_say_what_they_meant(case: Callable[[str], Case], truth: dict[str, np.ndarray], name: str) -> None:
    fault, (_, _, _, out, mended) = BEFORE[name], case(name)
    assert mended is not None
    assert mended.pairs == len(truth)
    for path in all_masks(out):
        meant, got = truth[path.stem], read_mask(path)
        if fault.kind == "binary_0_255" or name == "one_white":
            meant = (meant > 0).astype(np.uint8)
        if name == "painted_as_camvid":
            meant = np.array([0, 3, 5, 8], np.uint8)[meant]
        if name in ("painted", "painted_jpeg", "painted_with_alpha"):
            meant = np.array([0, 2, 1, 3], np.uint8)[meant]  # numbered by their colours
        wrong = float((got != meant)[got != 255].mean())
        assert wrong <= (0.02 if "jpeg" in name else 0), (path.name, wrong)
        assert (got == 255).sum() <= (
            512 if name in ("stray_nineteen", "stray_pixels", "void_that_is_not_ignored") else 0
        )


@pytest.mark.parametrize("name", ["turned_by_exif", "upside_down_by_exif"])
def test_a_mask_drawn_on_the_stored_picture_is_turned_with_it(tmp_path: Path, name: str) -> None:
    root = sound_set(tmp_path / "data")
    fault = next(fault for fault in FAULTS if fault.name == name)
    (path,) = fault.plant(root)
    stored = read_mask(path)
    mend(examine_dataset(root), tmp_path / "out")
    turned = np.rot90(stored, 3) if name == "turned_by_exif" else stored[::-1, ::-1]
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "train" / "masks" / path.name), turned)


def test_a_scaled_mask_takes_the_nearest_value(tmp_path: Path) -> None:
    root = sound_set(tmp_path / "data")
    path = next(fault for fault in FAULTS if fault.name == "half_size").plant(root)[0]
    small = read_mask(path)
    mend(examine_dataset(root), tmp_path / "out")
    whole = read_mask(tmp_path / "out" / "train" / "masks" / path.name)
    np.testing.assert_array_equal(whole, small.repeat(2, 0).repeat(2, 1))


def test_what_cannot_be_mended_is_named(tmp_path: Path) -> None:
    root = sound_set(tmp_path / "data")
    (lone,) = no_mask(root)
    stray_nineteen(root)
    mended = mend(examine_dataset(root), tmp_path / "out")
    assert [file for file, _ in mended.left_out] == [lone]
    assert (mended.pairs, mended.mended) == (25, 1)
    with pytest.raises(DataError, match="exists already"):
        mend(examine_dataset(root), tmp_path / "out")


def test_the_table_of_colours_is_in_the_document(case: Callable[[str], Case]) -> None:
    for name in ("painted", "painted_jpeg"):
        table = case(name).found.summary()["colours"]
        near = [(0, 0, 0), (0, 130, 180), (220, 20, 60), (250, 170, 30)]
        assert [entry["value"] for entry in table] == [0, 1, 2, 3]
        assert np.abs(np.array([entry["color"] for entry in table]) - near).max() <= (0 if name == "painted" else 8)


def test_one_stem_twice_and_an_absolute_path_stay_below_the_copy(tmp_path: Path) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    images = [
        {"id": k, "file_name": name, "height": 8, "width": 9} for k, name in enumerate(("a.png", "a.jpg", "b.png"))
    ]
    for entry in images:
        Image.fromarray(np.full((8, 9, 3), 9 * entry["id"], np.uint8)).save(
            tmp_path / "data/images" / entry["file_name"]
        )
    objects = [
        {"id": k, "image_id": k, "category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]], "bbox": [0, 0, 4, 4],
         "area": 16, "iscrowd": 0}
        for k in range(3)
    ]  # fmt: skip
    (tmp_path / "data" / "annotations").mkdir()
    document = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "data" / "annotations" / "instances_default.json").write_text(json.dumps(document))
    mend(examine_dataset((tmp_path / "data").absolute()), tmp_path / "out")
    for part, names in (
        ("images", {"a_png.png", "a_jpg.jpg", "b.png"}),
        ("masks", {"a_png.png", "a_jpg.png", "b.png"}),
    ):
        assert {path.name for path in (tmp_path / "out" / part).iterdir()} == names
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}


def test_a_copy_in_the_data_folder_is_refused(tmp_path: Path) -> None:
    root = sound_set(tmp_path / "data")
    with pytest.raises(DataError, match=r"lies in the data folder .* give a folder beside it"):
        mend(examine_dataset(root), root / "train" / "mended")
    assert not (root / "train" / "mended").exists()
