"""A mask for each class: where the classes may stand, and what cannot be told."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from make_layouts import MAKERS, SIZE, image, save

from atrous.datasets import find_pairs, open_dataset, read_folder
from atrous.errors import DataError


def part(left: int, value: int = 255) -> np.ndarray:
    """A column of four pixels at x = left."""
    mask = np.zeros(SIZE, np.uint8)
    mask[:, left : left + 4] = value
    return mask


def make(root: Path, masks: dict[str, int], stems: tuple[str, ...] = ("a", "b")) -> None:
    for number, stem in enumerate(stems):
        save(image(number), root / "images" / f"{stem}.jpg")
        for name, left in masks.items():
            save(part(left), root / "masks" / f"{name.format(stem)}.png")


@pytest.mark.parametrize(
    "tree, road",
    [
        ("tree/{}", "road/{}"),
        ("tree/{}_mask", "road/{}_mask"),
        ("tree/{}_T", "road/{}_R"),
        ("{}_tree", "{}_road"),
        ("{}-tree", "{}-road"),
        ("{}.tree", "{}.road"),
        ("tree_{}", "road_{}"),
    ],
)
@pytest.mark.parametrize("stems", [("a", "b"), ("img_1", "img_1_2")])
def test_places_of_classes(tmp_path: Path, tree: str, road: str, stems: tuple[str, ...]) -> None:
    make(tmp_path, {tree: 3, road: 9}, stems)
    folder = read_folder(tmp_path)
    folder.refuse_incomplete()
    assert (folder.layout, len(folder.pairs)) == ("class_masks", 2)
    assert folder.labels is not None
    assert folder.labels.names == ("background", "road", "tree")
    for pair in folder.pairs:
        np.testing.assert_array_equal(folder.read_mask(pair), part(3, 2) + part(9, 1))


def test_a_background_of_its_own_and_a_class_alone(tmp_path: Path) -> None:
    make(tmp_path, {"tree/{}": 3})
    folder = read_folder(tmp_path)
    assert folder.labels is not None
    assert folder.labels.names == ("background", "tree")
    for stem in ("a", "b"):
        save((part(3) == 0) * np.uint8(255), tmp_path / "masks" / "Background" / f"{stem}.png")
    folder = read_folder(tmp_path)
    assert folder.labels is not None
    assert folder.labels.names == ("background", "tree")
    np.testing.assert_array_equal(folder.read_mask(folder.pairs[0]), part(3, 1))


@pytest.mark.parametrize(
    "mask, message",
    [
        (part(5), r"masks/tree/a.png: 40 pixels are of this class and of road/a.png; expected one class for each"),
        (part(9, 3) + part(15, 7), r"masks/tree/a.png: 3 values \(3, 7 ...\) in the mask of one class"),
        (part(9)[:-1], r"masks/tree/a.png: \(19, 28\) pixels, a.png \(20, 28\); expected equal sizes"),
        (np.dstack([part(9), part(3), part(3)]), r"masks/tree/a.png: .*colours"),
    ],
)
def test_masks_that_do_not_fit(tmp_path: Path, mask: np.ndarray, message: str) -> None:
    make(tmp_path, {"tree/{}": 9, "road/{}": 3})
    save(mask, tmp_path / "masks" / "tree" / "a.png")
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path).verify()


def test_files_without_a_partner(tmp_path: Path) -> None:
    make(tmp_path, {"tree/{}": 9, "road/{}": 3})
    save(image(4), tmp_path / "images" / "c.jpg")
    save(part(9), tmp_path / "masks" / "tree" / "d.png")
    folder = read_folder(tmp_path)
    assert [path.name for path in folder.lone_images] == ["c.jpg"]
    assert [path.name for path in folder.lone_masks] == ["d.png"]


@pytest.mark.parametrize("name", ["{}_{}", "{}/{}", "{}/cell{}"])
def test_masks_of_objects_are_named(tmp_path: Path, name: str) -> None:
    make(tmp_path, {})
    for stem in ("a", "b"):
        for number in range(3):
            save(part(9 * number), tmp_path / "masks" / f"{name.format(stem, number)}.png")
    with pytest.raises(DataError, match=r"masks: a mask for each object \(such as .*\), a form that is not read; exp"):
        read_folder(tmp_path)


def test_plain_pairs_stay_plain_pairs(tmp_path: Path) -> None:
    made = tmp_path / "made"
    make(made, {"{}": 3})
    for clip in ("x", "y"):
        shutil.copytree(made / "images", tmp_path / "clips" / "images" / clip)
        shutil.copytree(made / "masks", tmp_path / "clips" / "masks" / clip)
    make(tmp_path / "endings", {"{}_mask": 3}, ("a_1", "a_2"))
    make(tmp_path / "kinds", {"{}_labelIds": 3, "{}_color": 4})
    for name in ("made", "clips", "endings", "kinds"):
        assert read_folder(tmp_path / name).layout == "pairs", name
    MAKERS["class folders"][1](tmp_path / "split")
    (tmp_path / "split" / "train.txt").write_text("k0\n")
    (tmp_path / "split" / "val.txt").write_text("images/k1.png\n")
    (tmp_path / "split" / "test.txt").write_text("k2\n")
    assert list(find_pairs(tmp_path / "split")) == ["train", "val", "test"]


@pytest.mark.parametrize("form", ["masks/{}/a.png", "masks/a_{}.png"])
def test_a_class_in_two_forms_of_unicode_is_one(tmp_path: Path, form: str) -> None:
    for split, name in (("train", "arbre\u0301"), ("val", "arbr\u00e9"), ("train", "road"), ("val", "road")):
        save(image(0), tmp_path / split / "images" / "a.png")
        save(part(9 if name == "road" else 3), tmp_path / split / form.format(name))
    folder = read_folder(tmp_path)
    folder.refuse_incomplete()
    assert folder.layout == "class_masks"
    assert folder.labels is not None
    assert folder.labels.names == ("background", "arbr\u00e9", "road")
