"""YOLO's text files: the arrangements of folders, the names of classes, and lines that do not fit."""

from pathlib import Path

import numpy as np
import pytest
from make_layouts import SIZE, image, save

from atrous.datasets import find_pairs, read_folder
from atrous.errors import DataError

H, W = SIZE
BOX = "0.25 0.2 0.75 0.2 0.75 0.8 0.25 0.8"
"""x 7..21, y 4..16 of 20 x 28 pixels."""


def make(root: Path, images: str, labels: str, names: list[str], text: str = f"1 {BOX}\n") -> None:
    for number, name in enumerate(names):
        save(image(number), root / images / f"{name}.png")
        (root / labels).mkdir(parents=True, exist_ok=True)
        (root / labels / f"{name}.txt").write_text(text)


def splits(root: Path) -> dict[str, list[str]]:
    return {split: [pair.image.stem for pair in pairs] for split, pairs in find_pairs(root).items()}


@pytest.mark.parametrize(
    "images, labels",
    [("images/{}", "labels/{}"), ("{}/images", "{}/labels"), ("{}", "{}"), ("IMG/{}", "labels/{}")],
)
def test_splits_by_folders(tmp_path: Path, images: str, labels: str) -> None:
    for split, names in (("train", ["a", "b"]), ("valid", ["c"])):
        make(tmp_path, images.format(split), labels.format(split), names)
    assert read_folder(tmp_path).layout == "yolo"
    assert splits(tmp_path) == {"train": ["a", "b"], "val": ["c"]}


def test_pixels_and_classes(tmp_path: Path) -> None:
    make(tmp_path, "images", "labels", ["a", "b"])
    (tmp_path / "labels" / "a.txt").write_text(f"1 0.4 0.4 0.6 0.4 0.6 0.6 0.4 0.6\r\n\r\n0 {BOX}\n")
    (tmp_path / "labels" / "b.txt").write_text("")
    (tmp_path / "data.yaml").write_text("nc: 2\nnames: ['cell', 'nucleus']\n")
    folder = read_folder(tmp_path)
    assert folder.labels is not None
    assert folder.labels.names == ("background", "cell", "nucleus")
    expected = np.zeros(SIZE, np.uint8)
    expected[4:16, 7:21] = 1
    found = {pair.image.stem: folder.read_mask(pair) for pair in folder.pairs}
    assert not found["b"].any()
    inner = found["a"] == 2  # the smaller object is on top, though it comes first
    assert inner.sum() == 4 * 6
    np.testing.assert_array_equal(np.where(inner, 1, found["a"]), expected)


@pytest.mark.parametrize(
    "file, text, names",
    [
        ("data.yaml", "names: [a, b]\n", ("background", "a", "b")),
        ("dataset.yml", "names:\n  0: a\n  1: b\n  5: c\n", ("background", "a", "b", "c")),
        ("cells.yaml", "names: {0: background, 1: b}\n", ("background", "b")),
        ("classes.txt", "a\nb\n", ("background", "a", "b")),
        ("labels/classes.txt", "a\nb\n", ("background", "a", "b")),
        ("notes.txt", "a\n", ("background", "class 0", "class 1")),
    ],
)
def test_names_of_classes(tmp_path: Path, file: str, text: str, names: tuple[str, ...]) -> None:
    make(tmp_path, "images", "labels", ["a"])
    (tmp_path / file).write_text(text)
    folder = read_folder(tmp_path)
    folder.refuse_incomplete()
    assert folder.labels is not None
    assert folder.labels.names == names
    assert folder.labels.names[folder.read_mask(folder.pairs[0]).max()] in ("b", "class 1")


@pytest.mark.parametrize(
    "text",
    [
        "train: images/one\nval: images/two\nnames: [a, b]\n",
        "path: ../datasets/cells\ntrain: ../images/one\nval: ../images/two\ntest: ../images/none\nnames: [a, b]\n",
        "train: [images/one]\nval: lists/two.txt\nnames: [a, b]\n",
        "path: .\ntrain: images/one\nval: two.txt\nnames: {0: a, 1: b}\n",
    ],
)
def test_the_table_names_the_splits(tmp_path: Path, text: str) -> None:
    make(tmp_path, "images/one", "labels/one", ["a", "b"])
    make(tmp_path, "images/two", "labels/two", ["c"])
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "two.txt").write_text("./images/two/c.png\n")
    (tmp_path / "two.txt").write_text("data/images/two/c.png\n")
    (tmp_path / "data.yaml").write_text(text)
    assert splits(tmp_path) == {"train": ["a", "b"], "val": ["c"]}


@pytest.mark.parametrize(
    "text, message",
    [
        ("names: [a, b\n", r"data.yaml: not a YAML file \("),
        ("names: 2\n", r"data.yaml: `names` is 2; expected a list of names"),
        ("names: [a, a]\n", r"data.yaml: two classes are called 'a', id 0 and id 1"),
        ("names: {x: a}\n", r"data.yaml: `names` is"),
        ("names: [a, b]\ntrain: images/lost\nval: images\n", r"data.yaml: names images/lost as train, which is not"),
        ("names: [a, b]\ntrain: images\nval: images\n", r"data.yaml: names 2 images of val twice; give each"),
        ("names: [a, b]\ntrain: t.txt\n", r"t.txt: names 1 images \(images/z.png, ...\) that are not here"),
    ],
)
def test_a_table_that_does_not_fit(tmp_path: Path, text: str, message: str) -> None:
    make(tmp_path, "images", "labels", ["a", "b"])
    (tmp_path / "t.txt").write_text("images/a.png\nimages/z.png\n")
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    "line, message",
    [
        ("0 0.1 0.1", r"line 2 has 2 numbers, expected x y of at least 3 points"),
        ("0 0.1 0.1 0.2 0.2 0.3", r"line 2 has 5 numbers"),
        ("0 0.5 0.5 0.2 0.2", r"line 2 is a box \(4 numbers\), expected an outline"),
        ("2 " + BOX, r"line 2 has the class 2, expected 0..1 \(cat, dog\)"),
        ("-1 " + BOX, r"line 2 has the class -1"),
        ("cat " + BOX, r"line 2 is 'cat 0.25 .*'; expected `class x y x y ...`"),
        ("0 10 10 40 10 40 40", r"line 2 has places beyond 0..1"),
        ("0 -0.5 0.1 0.5 0.1 0.5 0.5", r"line 2 has places beyond 0..1"),
        ("0 nan nan 0.5 0.5 0.1 0.2", r"line 2 has places beyond 0..1"),
        ('{"a": 1}', r"line 2 is '"),
    ],
)
def test_lines_that_do_not_fit(tmp_path: Path, line: str, message: str) -> None:
    make(tmp_path, "images", "labels", ["a", "b"])
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "labels" / "a.txt").write_text(f"0 {BOX}\n{line}\n")
    folder = read_folder(tmp_path)
    assert len(folder.faults) == 1
    with pytest.raises(DataError, match=rf"a.txt: {message}"):
        folder.refuse_incomplete()


def test_boxes_alone_files_alone_and_images_alone(tmp_path: Path) -> None:
    make(tmp_path, "images", "labels", ["a", "b"])
    (tmp_path / "images" / "a.png").unlink()
    save(image(5), tmp_path / "images" / "c.png")
    folder = read_folder(tmp_path)
    assert [path.name for path in folder.lone_masks] == ["a.txt"]
    assert "1 images have no text file" in folder.notes[0]
    for name in ("a", "b"):
        (tmp_path / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DataError, match=r"b.txt: boxes as for detection \(4 numbers in a line\); expected outlines"):
        read_folder(tmp_path)


def test_finished_masks_come_first(tmp_path: Path) -> None:
    make(tmp_path, "images", "labels", ["a"])
    save(np.ones(SIZE, np.uint8), tmp_path / "masks" / "a.png")
    assert read_folder(tmp_path).layout == "pairs"


@pytest.mark.parametrize(
    "image_file, label_file",
    [
        ("images/\u00e9.png", "labels/e\u0301.txt"), ("images/e\u0301 x/a.png", "labels/\u00e9 x/a.txt"),
        ("images/A.PNG", "labels/a.txt"), ("Images/a.png", "Labels/a.TXT"), ("images/a.png", "LABELS/A.txt"),
        ("e\u0301.png", "\u00e9.txt"),
    ],
)  # fmt: skip
def test_a_text_file_in_other_letters_is_found(tmp_path: Path, image_file: str, label_file: str) -> None:
    save(image(0), tmp_path / image_file)
    (tmp_path / label_file).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / label_file).write_text(f"0 {BOX}\n")
    folder = read_folder(tmp_path)
    folder.refuse_incomplete()
    assert [pair.mask for pair in folder.pairs] == [tmp_path / label_file]


def test_two_text_files_that_fit_are_asked_about(tmp_path: Path) -> None:
    make(tmp_path, "images", "labels", ["Cell"])
    (tmp_path / "labels" / "cell.txt").write_text(f"0 {BOX}\n")
    assert [pair.mask.name for pair in read_folder(tmp_path).pairs] == ["Cell.txt"]
    (tmp_path / "labels" / "Cell.txt").rename(tmp_path / "labels" / "CELL.txt")
    with pytest.raises(DataError, match=r"Cell.png: its labels may be CELL.txt or cell.txt; expected one, keep one"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "path: /home/me/cells\ntrain: images/my one\nval: images/two\n",
        "train: /home/me/cells/images/my one\nval: D:/cells/images/two\n",
        "train: C:\\cells\\images\\my one\nval: images\\two\n",
        "train: IMAGES/My%20One\nval: Images/two/\n",
        "path: images\ntrain: my one\nval: ./two\n",
        "path: C:\\me\\images\ntrain: my one\nval: two.txt\n",
    ],
)
def test_the_table_may_come_from_another_computer(tmp_path: Path, text: str) -> None:
    make(tmp_path, "images/my one", "labels/my one", ["a", "b"])
    make(tmp_path, "images/two", "labels/two", ["c"])
    (tmp_path / "two.txt").write_text("C:\\me\\images\\TWO\\c.png\n")
    (tmp_path / "data.yaml").write_text(text)
    assert splits(tmp_path) == {"train": ["a", "b"], "val": ["c"]}


@pytest.mark.parametrize("text", ["train: ../other/images\n", "path: ../other\ntrain: images\n", "train: {}/images\n"])
def test_the_table_does_not_lead_out_of_the_data_folder(tmp_path: Path, text: str) -> None:
    make(tmp_path / "other", "images", "labels", ["z"])
    make(tmp_path / "data", "pictures/images", "pictures/labels", ["a"])
    (tmp_path / "data" / "data.yaml").write_text(text.format(tmp_path / "other"))
    with pytest.raises(DataError, match=r"data.yaml: names .*images as train, which is not here; correct the path"):
        find_pairs(tmp_path / "data")


def test_the_data_folder_itself_may_be_named(tmp_path: Path) -> None:
    make(tmp_path, "", "", ["a"])
    (tmp_path / "data.yaml").write_text("train: .\n")
    assert splits(tmp_path) == {"train": ["a"]}
