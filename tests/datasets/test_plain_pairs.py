"""Which mask belongs to which image in plain pairs; and the errors for other folders."""

import shutil
from pathlib import Path

import pytest
from make_pairs import make_pairs

from atrous.datasets import find_pairs, read_folder
from atrous.errors import DataError


def stems(root: Path) -> dict[str, list[str]]:
    return {split: [pair.image.stem for pair in pairs] for split, pairs in find_pairs(root).items()}


def test_no_splits(tmp_path: Path) -> None:
    make_pairs(tmp_path, 3)
    (tmp_path / "images" / "Thumbs.db").touch()
    (tmp_path / "masks" / ".hidden.png").touch()
    assert stems(tmp_path) == {"all": ["p00", "p01", "p02"]}
    pair = find_pairs(tmp_path)["all"][1]
    assert (pair.image, pair.mask) == (tmp_path / "images" / "p01.png", tmp_path / "masks" / "p01.png")


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "validation", "testing"), ("Train", "valid", "test")]
)
def test_splits_above(tmp_path: Path, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        make_pairs(tmp_path / name, number + 1)
    assert stems(tmp_path) == {"train": ["p00"], "val": ["p00", "p01"], "test": ["p00", "p01", "p02"]}
    assert stems(tmp_path / names[1]) == {"val": ["p00", "p01"]}


def test_splits_below(tmp_path: Path) -> None:
    made = make_pairs(tmp_path / "made", 2)
    for split in ("training", "validation"):
        shutil.copytree(made / "images", tmp_path / "images" / split)
        shutil.copytree(made / "masks", tmp_path / "annotations" / split)
    assert stems(tmp_path) == {"train": ["p00", "p01"], "val": ["p00", "p01"]}
    shutil.rmtree(tmp_path / "annotations" / "validation")
    with pytest.raises(DataError, match=r"annotations: no folder 'val', but .*images has one"):
        find_pairs(tmp_path)


@pytest.mark.parametrize("images", ["imgs", "image", "img", "JPEGImages", "Images"])
@pytest.mark.parametrize(
    "masks", ["mask", "labels", "label", "annotations", "gt", "SegmentationClass", "Ground Truth", "1st_manual", "seg"]
)
def test_other_folder_names(tmp_path: Path, images: str, masks: str) -> None:
    make_pairs(tmp_path, 1)
    (tmp_path / "images").rename(tmp_path / "moved").rename(tmp_path / images)
    (tmp_path / "masks").rename(tmp_path / masks)
    assert stems(tmp_path) == {"all": ["p00"]}


@pytest.mark.parametrize(
    "ending",
    [
        "_mask",
        "-mask",
        "_masks",
        "_label",
        "_labels",
        "_seg",
        "_gt",
        "_L",
        "_labelIds",
        "_labelTrainIds",
        "_segmentation",
    ],
)
def test_masks_may_carry_an_ending(tmp_path: Path, ending: str) -> None:
    make_pairs(tmp_path, 2)
    mask = tmp_path / "masks" / "p01.png"
    mask.rename(mask.with_stem(f"p01{ending}"))
    assert find_pairs(tmp_path)["all"][1].mask.stem == f"p01{ending}"
    shutil.copy(tmp_path / "masks" / "p00.png", mask)
    with pytest.raises(DataError, match=r"one of two masks for one image, the other is p01"):
        find_pairs(tmp_path)


def test_subfolders_are_kept_apart(tmp_path: Path) -> None:
    made = make_pairs(tmp_path / "made", 1)
    for city in ("bonn", "ulm"):
        shutil.copytree(made / "images", tmp_path / "data" / "images" / city)
        shutil.copytree(made / "masks", tmp_path / "data" / "masks" / city)
    pairs = find_pairs(tmp_path / "data")["all"]
    assert [(pair.image.parent.name, pair.mask.parent.name) for pair in pairs] == [("bonn", "bonn"), ("ulm", "ulm")]


def test_incomplete_folders_are_counted_and_named(tmp_path: Path) -> None:
    make_pairs(tmp_path, 5)
    for number in range(1, 5):
        (tmp_path / "masks" / f"p0{number}.png").unlink()
    with pytest.raises(DataError, match=r"4 images \(p01.png, p02.png, p03.png ...\) without a mask"):
        find_pairs(tmp_path)
    for number in range(1, 5):
        (tmp_path / "images" / f"p0{number}.png").unlink()
    make_pairs(tmp_path / "other", 2)
    shutil.copy(tmp_path / "other" / "masks" / "p01.png", tmp_path / "masks" / "p01.png")
    with pytest.raises(DataError, match=r"1 mask \(p01.png\) without an image"):
        find_pairs(tmp_path)
    shutil.copy(tmp_path / "images" / "p00.png", tmp_path / "images" / "p00.jpg")
    with pytest.raises(DataError, match=r"one of two images of one name, the other is p00.jpg"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    "emptied, message", [("images", "no images in this folder"), ("masks", "no masks in this folder")]
)
def test_one_half_is_missing(tmp_path: Path, emptied: str, message: str) -> None:
    make_pairs(tmp_path, 1)
    (tmp_path / emptied / "p00.png").unlink()
    with pytest.raises(DataError, match=rf"{emptied}: {message}; expected images/ and masks/"):
        find_pairs(tmp_path)


def test_folders_that_are_no_data_set(tmp_path: Path) -> None:
    data = make_pairs(tmp_path / "streets", 1)
    with pytest.raises(DataError, match=r"street: no such file or folder; did you mean '.*streets'\?"):
        find_pairs(tmp_path / "street")
    with pytest.raises(DataError, match="a file; expected a folder"):
        find_pairs(data / "images" / "p00.png")
    with pytest.raises(
        DataError, match=r"masks: only half of a data set; give the folder that holds images and masks, .*streets$"
    ):
        find_pairs(data / "masks")
    with pytest.raises(DataError, match=r"no images and masks here \(it holds streets\); expected images/"):
        find_pairs(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: an empty folder; expected images/"):
        find_pairs(tmp_path / "empty")


def test_two_folders_for_one_split(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        make_pairs(tmp_path / name, 1)
    with pytest.raises(DataError, match="a second folder for the split 'val' beside val"):
        find_pairs(tmp_path)
    shutil.rmtree(tmp_path / "valid")
    shutil.rmtree(tmp_path / "val" / "masks")
    with pytest.raises(DataError, match="val: no images/ and masks/ in this folder"):
        find_pairs(tmp_path)


@pytest.mark.parametrize("second", ["1st_manual", "labels", "GT", "ground-truth", "Masks"])
@pytest.mark.parametrize("place", ["", "training", "val"])
def test_two_folders_that_could_be_the_masks_are_asked_for(tmp_path: Path, second: str, place: str) -> None:
    data = make_pairs(tmp_path / place, 2)
    shutil.copytree(data / "masks", data / second)
    with pytest.raises(DataError) as caught:
        find_pairs(tmp_path)
    for word in (f"{data}: ", "masks/", f"{second}/", "move the others away"):
        assert word in str(caught.value)
    shutil.rmtree(data / "masks")
    assert [pair.mask.parent.name for pairs in find_pairs(tmp_path).values() for pair in pairs] == [second] * 2


def test_a_second_folder_without_pictures_is_no_question(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "notes.txt").touch()
    (tmp_path / "imgs").mkdir()
    assert stems(tmp_path) == {"all": ["p00", "p01"]}
    shutil.copytree(tmp_path / "images", tmp_path / "img")
    with pytest.raises(DataError, match=r"images/ and img/ could each hold the images;"):
        find_pairs(tmp_path)


def test_words_that_differ_are_told(tmp_path: Path) -> None:
    make_pairs(tmp_path, 3)
    for path in [*(tmp_path / "images").iterdir(), *(tmp_path / "masks").iterdir()]:
        path.rename(path.with_stem({"images": "IMG-", "masks": "GT-"}[path.parent.name] + path.stem[1:]))
    folder = read_folder(tmp_path)
    assert [(pair.image.stem, pair.mask.stem) for pair in folder.pairs] == [
        (f"IMG-0{number}", f"GT-0{number}") for number in range(3)
    ]
    assert folder.notes == [
        "'IMG' in the names of images/ is 'GT' in those of masks/: the masks are found by the rest of the names"
    ]
    (tmp_path / "masks" / "GT-02.png").unlink()
    assert [path.name for path in read_folder(tmp_path).lone_images] == ["IMG-02.png"]


def test_names_without_a_rule_give_one_sentence(tmp_path: Path) -> None:
    make_pairs(tmp_path, 3)
    for path in (tmp_path / "masks").iterdir():
        path.rename(path.with_stem(path.stem.replace("p0", "other")))
    message = r"masks: none of its 3 masks has the name of one of 3 images: they are called like other0.png and p00.png"
    folder = read_folder(tmp_path)
    assert (len(folder.faults), folder.lone_images, folder.lone_masks) == (1, [], [])
    with pytest.raises(DataError, match=message):
        find_pairs(tmp_path)
    shutil.rmtree(tmp_path / "masks")
    make_pairs(tmp_path / "made", 3)
    (tmp_path / "images" / "a").mkdir()
    for path in list((tmp_path / "images").glob("*.png")):
        path.rename(path.parent / "a" / path.name)
    shutil.copytree(tmp_path / "made" / "masks", tmp_path / "masks")
    with pytest.raises(DataError, match=r"masks/p00.png has the name of images/a/p00.png, but another folder around"):
        find_pairs(tmp_path)


def test_several_kinds_of_masks_for_each_image(tmp_path: Path) -> None:
    make_pairs(tmp_path, 3)
    for path in list((tmp_path / "masks").iterdir()):
        for kind in ("color", "labelIds"):
            shutil.copy(path, path.with_stem(f"{path.stem}_gtFine_{kind}"))
        path.unlink()
    with pytest.raises(
        DataError, match=r"masks: 6 masks for 3 images, called like p00_gtFine_color.png and p00.png; ex"
    ):
        find_pairs(tmp_path)


def test_another_folder_of_as_many_pictures_is_named(tmp_path: Path) -> None:
    make_pairs(tmp_path / "train", 3)
    shutil.copytree(tmp_path / "train" / "masks", tmp_path / "train" / "vessels")
    assert read_folder(tmp_path).notes == [
        "vessels/ has as many pictures as images/ and is not read: the labels are those of masks/"
    ]


def test_what_a_folder_lacks_to_be_plain_pairs(tmp_path: Path) -> None:
    made = make_pairs(tmp_path / "made", 3)
    shutil.copytree(made / "images", tmp_path / "one" / "images")
    for name in ("tree", "road"):
        shutil.copytree(made / "masks", tmp_path / "one" / name)
    with pytest.raises(DataError, match=r"one: images/ has no masks/ beside it, but there is road/, tree/; call the"):
        find_pairs(tmp_path / "one")
    for number in range(2):
        make_pairs(tmp_path / "each" / f"cell{number}", 1)
    with pytest.raises(DataError, match=r"each: a folder for each image, such as cell0/, a form that is not read"):
        find_pairs(tmp_path / "each")
