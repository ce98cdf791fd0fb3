"""Lists of names beside the pairs divide them."""

import json
import shutil
from pathlib import Path

import pytest
from make_layouts import MAKERS, image, scene
from make_layouts import save as save_picture
from make_pairs import make_pairs

from atrous.datasets import find_pairs, read_folder
from atrous.errors import DataError

NAMES = [f"p0{number}" for number in range(6)]
PARTS = {"train": NAMES[:3], "val": NAMES[3:5], "test": NAMES[5:]}


def write_lists(root: Path, line: str, place: str = "", ending: str = ".txt", **names: str) -> None:
    (root / place).mkdir(parents=True, exist_ok=True)
    for split, part in PARTS.items():
        text = "".join(line.format(name) + "\n" for name in part)
        (root / place / f"{names.get(split, split)}{ending}").write_text(text, encoding="utf-8")


def stems(root: Path) -> dict[str, list[str]]:
    return {split: [pair.image.stem for pair in pairs] for split, pairs in find_pairs(root).items()}


@pytest.mark.parametrize(
    "line",
    [
        "images/{0}.png masks/{0}.png",
        "images/{0}.png, masks/{0}.png",
        "images/{0}.png\tmasks/{0}.png",
        "{0}.png {0}.png",
        "{0}",
        "{0}.png",
        "{0}.jpg",
        "./images/{0}.png",
        "masks/{0}.png",
        "images\\{0}.png",
        "/home/ann/data/images/{0}.png",
        "C:\\data\\images\\{0}.png C:\\data\\masks\\{0}.png",
        "JPEGImages/{0}.jpg SegmentationClass/{0}.png",
        "{0} 1",
        '"images/{0}.png"',
    ],
)
def test_a_line_names_an_image_in_many_ways(tmp_path: Path, line: str) -> None:
    make_pairs(tmp_path, 6)
    write_lists(tmp_path, line)
    assert stems(tmp_path) == PARTS


@pytest.mark.parametrize("place", ["splits", "lists", "ImageSets", "ImageSets/Segmentation", "images"])
@pytest.mark.parametrize("ending", [".txt", ".csv", ".lst", ".TXT"])
def test_places_and_suffixes(tmp_path: Path, place: str, ending: str) -> None:
    make_pairs(tmp_path, 6)
    write_lists(tmp_path, "images/{0}.png,masks/{0}.png", place, ending, val="valid", train="training")
    assert stems(tmp_path) == PARTS


def test_names_of_lists(tmp_path: Path) -> None:
    make_pairs(tmp_path, 6)
    write_lists(tmp_path, "{0}", train="train_ids", val="list_val", test="test-files")
    (tmp_path / "train_notes.txt").write_text("learning rate 0.1\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    assert stems(tmp_path) == PARTS
    (tmp_path / "trainval.txt").write_text("p00\np04\n")
    assert stems(tmp_path) == PARTS
    for file in tmp_path.glob("*[_-]*.txt"):
        file.unlink()
    assert stems(tmp_path) == {"train": ["p00", "p04"]}


def test_a_heading_names_the_columns(tmp_path: Path) -> None:
    make_pairs(tmp_path, 6)
    for split, part in PARTS.items():
        lines = [f"{number};masks/{name}.png;images/{name}.png" for number, name in enumerate(part)]
        (tmp_path / f"{split}.csv").write_text("\ufeff" + "\n".join(["id;mask;image_path", *lines]), encoding="utf-8")
    assert stems(tmp_path) == PARTS


def test_names_with_spaces_and_folders(tmp_path: Path) -> None:
    for clip in ("a b", "c"):
        for number in range(2):
            save_picture(image(number), tmp_path / "images" / clip / f"my pic {number}.png")
            save_picture(scene(number, [0, 1]), tmp_path / "masks" / clip / f"my pic {number}.png")
    line = "images/a b/my pic {0}.png masks/a b/my pic {0}.png\n"
    (tmp_path / "train.txt").write_text("".join(line.format(number) for number in range(2)))
    (tmp_path / "val.txt").write_text("c/my pic 0\nc/my pic 1.png\n")
    found = find_pairs(tmp_path)
    assert {(split, pair.image.parent.name) for split, pairs in found.items() for pair in pairs} == {
        ("train", "a b"),
        ("val", "c"),
    }
    (tmp_path / "val.txt").write_text("my pic 0\n")
    with pytest.raises(DataError, match=r"val.txt: names 1 file \('my pic 0'\) whose name stands for several; write"):
        find_pairs(tmp_path)


def test_a_name_that_is_not_there_and_one_in_two_lists(tmp_path: Path) -> None:
    make_pairs(tmp_path, 6)
    write_lists(tmp_path, "images/{0}.png")
    (tmp_path / "val.txt").write_text("p03\np99\nother/p04.png\nimages/sub/p04.png\n")
    (tmp_path / "test.txt").write_text("p00\np05\np01\n")
    folder = read_folder(tmp_path)
    assert folder.faults == [
        (
            tmp_path / "val.txt",
            "names 3 files ('p99', 'other/p04.png', 'images/sub/p04.png') that are not here; "
            "correct the names, or add the files",
        )
    ]
    assert folder.clashes == [
        (tmp_path / "test.txt", "names 2 files ('p00', 'p01') that train.txt names too; keep each name in one list")
    ]
    assert folder.notes == ["no list names 1 of the pairs and lone files; they are left out"]
    with pytest.raises(DataError, match=r"val.txt: names 3 files"):
        find_pairs(tmp_path)


def test_a_list_may_pair_files_whose_names_differ(tmp_path: Path) -> None:
    make_pairs(tmp_path, 4)
    for number, path in enumerate(sorted((tmp_path / "masks").iterdir())):
        path.rename(path.with_stem(f"{'wxyz'[number]}1"))
    (tmp_path / "train.txt").write_text("p00.png masks/w1.png\np01.png masks/x1.png\n")
    (tmp_path / "val.txt").write_text("p02.png masks/y1.png\n")
    found = read_folder(tmp_path)
    found.refuse_incomplete()
    assert [pair.mask.stem for pair in found.pairs] == ["w1", "x1", "y1"]
    (tmp_path / "val.txt").write_text("p02.png masks/y2.png\n")
    with pytest.raises(DataError, match=r"val.txt: names 1 file \('masks/y2.png'\) that are not here"):
        find_pairs(tmp_path)


def test_a_list_that_contradicts_the_names(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2)
    (tmp_path / "train.txt").write_text("images/p00.png masks/p01.png\n")
    with pytest.raises(DataError, match=r"train.txt: names 1 file \('images/p00.png masks/p01.png'\) as a pair, but"):
        find_pairs(tmp_path)


def test_without_a_list_of_train_the_rest_is_trained_on(tmp_path: Path) -> None:
    make_pairs(tmp_path, 6)
    (tmp_path / "test.txt").write_text("p05\np04\n")
    assert stems(tmp_path) == {"train": NAMES[:4], "test": NAMES[4:]}
    assert read_folder(tmp_path).notes == ["no list of train: the 4 pairs that no list names are train"]
    (tmp_path / "test.txt").write_text("q05\nq04\n")
    with pytest.raises(DataError, match=r"test.txt: names 2 files \('q05', 'q04'\) that are not here"):
        find_pairs(tmp_path)
    (tmp_path / "train.txt").write_text("p05\np04\n")
    assert stems(tmp_path) == {"train": ["p04", "p05"]}


def test_two_lists_of_one_split_and_an_empty_one(tmp_path: Path) -> None:
    make_pairs(tmp_path, 6)
    write_lists(tmp_path, "{0}")
    write_lists(tmp_path, "images/{0}.png,cat", "splits", ".csv")
    assert stems(tmp_path) == PARTS
    (tmp_path / "splits" / "val.csv").write_text("p00\n")
    with pytest.raises(DataError, match=r"splits/val.csv: a second list of the split 'val', with other names than val"):
        read_folder(tmp_path)
    shutil.rmtree(tmp_path / "splits")
    (tmp_path / "val.txt").write_text("\n")
    with pytest.raises(DataError, match=r"val.txt: names nothing; write a name in each line"):
        find_pairs(tmp_path)


def test_folders_of_splits_come_before_lists(tmp_path: Path) -> None:
    make_pairs(tmp_path / "train", 2)
    make_pairs(tmp_path / "val", 1)
    (tmp_path / "train.txt").write_text("train/images/p00.png\n")
    folder = read_folder(tmp_path)
    assert {split: len(pairs) for split, pairs in folder.splits.items()} == {"train": 2, "val": 1}
    assert folder.notes == ["train.txt: not read, as the layout gives the splits"]


def test_other_layouts_without_splits_are_divided_too(tmp_path: Path) -> None:
    MAKERS["label studio"][1](tmp_path)
    folder = read_folder(tmp_path)
    first, second = sorted(pair.image.name for pair in folder.pairs)
    (tmp_path / "train.txt").write_text(first)
    (tmp_path / "val.txt").write_text(second)
    divided = read_folder(tmp_path)
    assert {split: [pair.image.name for pair in pairs] for split, pairs in divided.splits.items()} == {
        "train": [first],
        "val": [second],
    }
    assert divided.read_mask(divided.pairs[0]).any()


def test_a_list_that_is_not_text(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2)
    (tmp_path / "train.txt").write_bytes("\u72d7\n".encode("gbk"))
    with pytest.raises(DataError, match=r"train.txt: is not UTF-8; save it as UTF-8"):
        read_folder(tmp_path)


@pytest.mark.parametrize("place", ["", "splits"])
def test_one_file_for_all_splits(tmp_path: Path, place: str) -> None:
    make_pairs(tmp_path, 6)
    (tmp_path / place).mkdir(exist_ok=True)
    rows = [f"images/{name}.png,{split}" for split, part in PARTS.items() for name in part]
    file = tmp_path / place / "splits.csv"
    file.write_text("\n".join(["image,split", *rows]))
    assert stems(tmp_path) == PARTS
    file.write_text("\n".join(rows))
    assert stems(tmp_path) == PARTS
    file.write_text("\n".join([*rows, "p00,fifth"]))
    with pytest.raises(DataError, match=r"splits.csv: 'p00' is in the split 'fifth'; expected one of"):
        find_pairs(tmp_path)
    file.unlink()
    file.with_suffix(".json").write_text(json.dumps(PARTS))
    assert stems(tmp_path) == PARTS
    for text in ('{"train": 5}', "[]", '{"train": ["p00"'):
        file.with_suffix(".json").write_text(text)
        with pytest.raises(DataError, match=r"splits.json: not "):
            find_pairs(tmp_path)


def test_images_outside_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    save_picture(image(0), tmp_path / "photos" / "a0.jpg")
    (tmp_path / "data").mkdir()
    shapes = [{"label": "cat", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"}]
    content = {"shapes": shapes, "imagePath": "../photos/a0.jpg"}
    (tmp_path / "data" / "a0.json").write_text(json.dumps(content))
    (tmp_path / "data" / "train.txt").write_text("a0.jpg\n")
    sentence = r"a0.json: its image ../photos/a0.jpg lies outside of .*data; move the image into it, or give a folder"
    with pytest.raises(DataError, match=sentence):
        find_pairs(tmp_path / "data")
    assert [pair.image.stem for pair in read_folder(tmp_path).pairs] == ["a0"]


@pytest.mark.parametrize(
    "line, name",
    [("P00.PNG", "p00"), ("IMAGES/P00", "p00"), ("images/caf\u00e9", "cafe\u0301"), ("cafe\u0301.png", "caf\u00e9"),
     ("my%20pic.png", "my pic"), (r"D:\set\images\p00.png", "p00"), ("../images/p00.png", "p00")],
)  # fmt: skip
def test_a_list_may_write_names_in_another_form(tmp_path: Path, line: str, name: str) -> None:
    make_pairs(tmp_path, 2)
    for part in ("images", "masks"):
        (tmp_path / part / "p00.png").rename(tmp_path / part / f"{name}.png")
    (tmp_path / "train.txt").write_text("p01")
    (tmp_path / "val.txt").write_text(line, encoding="utf-8")
    assert stems(tmp_path) == {"train": ["p01"], "val": [name]}


def test_letter_case_counts_where_it_tells_two_images_apart(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "A", "b")):
        save_picture(image(number), tmp_path / "images" / f"{name}.png")
        save_picture(scene(number, [0, 1]), tmp_path / "masks" / f"{name}.png")
    (tmp_path / "train.txt").write_text("A\nb.PNG\n")
    (tmp_path / "val.txt").write_text("/home/me/images/a.png\n")
    assert stems(tmp_path) == {"train": ["A", "b"], "val": ["a"]}
