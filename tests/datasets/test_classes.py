"""The classes of a folder, found in its masks or read from its classes file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from make_pairs import make_pairs
from PIL import Image

from atrous.datasets import open_dataset, read_folder
from atrous.datasets.classes import count_values
from atrous.errors import DataError
from atrous.labels import LabelSet

TOML = """
ignore = [9]
[[class]]
name = "sea"
value = 0
color = [1, 2, 3]
[[class]]
name = "land"
value = 1
color = [4, 5, 6]
[[class]]
name = "ice"
value = 2
color = [7, 8, 9]
"""


def data_set(root: Path, masks: Sequence[Sequence[int]]) -> Path:
    """Write a folder whose masks, one row each, hold these values."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number, values in enumerate(masks):
        row = np.array([values], np.uint16 if max(values) > 255 else np.uint8)
        Image.fromarray(row).save(root / "masks" / f"p{number:02}.png")
        Image.fromarray(np.zeros((1, len(values), 3), np.uint8)).save(root / "images" / f"p{number:02}.png")
    return root


def labels_of(root: Path, **options: object) -> LabelSet:
    return open_dataset(root, **options).labels


@pytest.mark.parametrize(
    "masks, values, ignore",
    [
        ([[0, 1, 2], [0, 2, 2]], (0, 1, 2), (255,)),
        ([[0, 1, 255], [0, 1, 1]], (0, 1), (255,)),
        ([[0, 255, 255], [0, 0, 0]], (0, 255), ()),
        ([[0, 1, 65535], [0, 1, 1]], (0, 1), (65535,)),
        # 2 is in one mask only, but lies below 3, which recurs
        ([[0, 1]] * 9 + [[1, 2, 3], [0, 3]], (0, 1, 2, 3), (255,)),
        ([list(range(64))] * 2, tuple(range(64)), (255,)),
    ],
)
def test_gap_free_values_are_the_classes(tmp_path: Path, masks: list, values: tuple, ignore: tuple) -> None:
    labels = labels_of(data_set(tmp_path, masks))
    assert labels.values == values
    assert labels.ignore == ignore


@pytest.mark.parametrize(
    "masks, message",
    [
        (
            [[0, 1, 1], [0, 7, 7], [7, 7, 1]],
            r"p01.png: value 7 in 2 pixels \(also in 1 more mask\) is out of range.*0\.\.1.*7",
        ),
        ([[0, 1]] * 9 + [[0, 2, 2, 2]], r"p09.png: value 2 in 3 pixels is out of range.*--ignore 2"),
        ([[1, 2], [1, 2]], r"p00.png: value 1 in 1 pixels .* expected 0, 1, ..., but no mask holds 0"),
        ([[0, 0], [0, 255, 255]][:1] * 2, r"1 class; expected at least 2.*classes.toml"),
        ([list(range(65))] * 2, r"65 values from 0 to 64: numbers of objects, .* list them in a classes.toml"),
    ],
)
def test_stray_values_and_single_classes_are_refused(tmp_path: Path, masks: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(data_set(tmp_path, masks))


def test_ignored_values_stop_being_classes(tmp_path: Path) -> None:
    root = data_set(tmp_path, [[0, 1, 2, 7], [0, 1, 2, 2]])
    labels = labels_of(root, ignore=[7, 0])
    assert (labels.values, labels.ignore) == ((1, 2), (255, 7, 0))
    assert labels.names == ("class 1", "class 2")
    with pytest.raises(DataError, match="0 classes; expected at least 2"):
        open_dataset(root, ignore=[0, 1, 2, 7])


def test_palette_masks_bring_their_colours(tmp_path: Path) -> None:
    root = data_set(tmp_path, [[0, 1, 2], [0, 1, 2]])
    for path in (root / "masks").iterdir():
        picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
        picture.putpalette([9, 9, 9, 250, 0, 0, 0, 250, 0])
        picture.save(path)
    data = open_dataset(root)
    assert data.labels.colours == ((9, 9, 9), (250, 0, 0), (0, 250, 0))
    assert data.notes[0] == "3 classes found in the masks: values 0, 1, 2, colours from the palette"


@pytest.mark.parametrize("place", ["root", "parent", "given"])
def test_a_classes_file_is_found(tmp_path: Path, place: str) -> None:
    root = data_set(tmp_path / "data", [[0, 1, 9]])
    file = {"root": root / "classes.toml", "parent": tmp_path / "classes.toml", "given": tmp_path / "mine.toml"}[place]
    file.write_text(TOML)
    labels = labels_of(root, classes=file if place == "given" else None, ignore=[1])
    assert labels.names == ("sea", "ice")
    assert labels.colours == ((1, 2, 3), (7, 8, 9))
    assert labels.ignore == (9, 1)


def test_a_given_classes_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.toml: cannot be read"):
        open_dataset(data_set(tmp_path, [[0, 1]]), classes=tmp_path / "none.toml")


def test_colour_and_jpeg_masks_are_told_from_index_masks(tmp_path: Path) -> None:
    root = make_pairs(tmp_path / "a", 2)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)).save(root / "masks" / "p01.png")
    with pytest.raises(DataError, match=r"p01.png: a colour mask with \d+ colours"):
        open_dataset(root)
    root = make_pairs(tmp_path / "b", 1)
    mask = Image.open(root / "masks" / "p00.png").point(lambda value: value * 80)
    mask.save(root / "masks" / "p00.jpg")
    (root / "masks" / "p00.png").unlink()
    with pytest.raises(DataError, match=r"p00.jpg: value \d+ in \d+ pixels of a JPEG mask; .*save the masks as PNG"):
        open_dataset(root)


def test_counts_and_progress(tmp_path: Path) -> None:
    root = data_set(tmp_path, [[0, 1, 1], [0, 0, 300]])
    seen = []
    folder = read_folder(root)
    counts = count_values(folder.pairs, folder.read_mask, lambda done, total: seen.append((done, total)))
    assert [found for found, _ in counts] == [{0: 1, 1: 2}, {0: 2, 300: 1}]
    assert seen == [(1, 2), (2, 2)]
