from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.errors import DataError
from atrous.labels import ADE150, CAMVID11, CITYSCAPES19, VOC21, LabelSet, voc_palette


def test_the_literals() -> None:
    assert [len(labels) for labels in (VOC21, CITYSCAPES19, ADE150, CAMVID11)] == [21, 19, 150, 11]
    assert voc_palette()[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert voc_palette()[255] == (224, 224, 192)
    assert CAMVID11.ignore == (11,)
    for labels in (VOC21, CITYSCAPES19, ADE150, CAMVID11):
        assert len(set(labels.colours)) == len(set(labels.names)) == len(labels)


def test_values_and_indices_are_inverse() -> None:
    labels = LabelSet(("membrane", "cell"), values=(0, 255), ignore=(7,))
    mask = np.array([[0, 255], [7, 0]], np.uint8)
    indices = labels.to_indices(mask)
    np.testing.assert_array_equal(indices, [[0, 1], [255, 0]])
    np.testing.assert_array_equal(labels.to_values(indices), mask)
    assert labels.to_values(indices).dtype == np.uint8


def test_a_stray_value_is_named_with_its_count() -> None:
    mask = np.array([[0, 1], [9, 9]], np.uint8)
    with pytest.raises(DataError, match=r"a\.png: value 9 is out of range \(2 pixels.*--ignore 9"):
        LabelSet(("a", "b")).to_indices(mask, "a.png")


def test_more_than_255_classes_are_16_bit() -> None:
    labels = LabelSet(tuple(f"c{k}" for k in range(300)), ignore=(65535,))
    mask = np.array([[299, 65535]], np.uint16)
    np.testing.assert_array_equal(labels.to_indices(mask), mask)
    np.testing.assert_array_equal(labels.to_values(labels.to_indices(mask)), mask)


@pytest.mark.parametrize("count, ignored", [(2, 255), (255, 255), (256, 65535), (300, 65535)])
def test_numbered_classes_ignore_a_value_that_is_none_of_theirs(count: int, ignored: int) -> None:
    labels = LabelSet.numbered(f"c{k}" for k in range(count))
    assert labels.values == tuple(range(count))
    assert labels.ignore == (labels.ignore_index,) == (ignored,)


@pytest.mark.parametrize("count", [254, 255, 256])
def test_many_classes_and_strays(count: int) -> None:
    """254 classes leave room for "ignored" and "stray" in a byte, 255 for one of them, 256 for neither."""
    labels = LabelSet(tuple(f"c{k}" for k in range(count)), values=tuple(range(1, count + 1)), ignore=(0,))
    mask = np.array([[0, 1, count]], np.uint8 if count < 256 else np.uint16)
    for read in (labels.to_indices, labels.to_classes):
        np.testing.assert_array_equal(read(mask), [[labels.ignore_index, 0, count - 1]])
        assert read(mask).dtype == labels.dtype
    with pytest.raises(DataError, match="value 300"):
        labels.to_indices(np.array([[300, 1]], np.uint16))


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (16, 24), (33, 31)])
def test_translation_pixel_by_pixel(size: tuple[int, int]) -> None:
    """Words of eight pixels: alike, mixed, and a rest; a mask that is not in one piece."""
    rng = np.random.default_rng(0)
    labels = LabelSet(("a", "b", "c"), values=(9, 200, 0), ignore=(7,))
    index = {9: 0, 200: 1, 0: 2, 7: 255}
    mask = rng.choice([9, 200, 0, 7], size).astype(np.uint8)
    mask[1 : size[0] // 2] = 200
    for one in (mask, mask.T, mask[:, ::-1]):
        expected = np.vectorize(index.get, otypes=[np.uint8])(one)
        np.testing.assert_array_equal(labels.to_indices(one), expected)


def test_a_predicted_value_that_is_no_class_is_not_refused() -> None:
    labels = LabelSet(("a", "b"), values=(3, 700), ignore=(9,))
    for dtype in (np.uint8, np.uint16):
        np.testing.assert_array_equal(labels.to_classes(np.array([[3, 9, 77, 0]], dtype)), [[0, 255, 255, 255]])
    np.testing.assert_array_equal(labels.to_classes(np.array([[700, 444]], np.uint16)), [[1, 255]])
    assert labels.to_classes(np.zeros((0, 4), np.uint8)).shape == (0, 4)


def test_toml_round_trip_and_dict(tmp_path: Path) -> None:
    path = tmp_path / "classes.toml"
    path.write_text(
        'ignore = [11]\n[[class]]\nname = "Sky"\nvalue = 3\ncolor = [1, 2, 3]\n[[class]]\nname = "Road"\nvalue = 0\n'
    )
    labels = LabelSet.from_toml(path)
    assert labels.names == ("Sky", "Road")
    assert labels.values == (3, 0)
    assert labels.colours[0] == (1, 2, 3)
    assert labels.ignore == (11,)
    assert LabelSet.from_dict(labels.to_dict()) == labels


@pytest.mark.parametrize(
    "text",
    [
        "",
        "class = 3",
        "[[class]]\nvalue = 1",
        "x = ",
        'colour = 1\n[[class]]\nname="a"',
        '[[class]]\nname="a"\ncolor=[1]',
    ],
)
def test_a_bad_classes_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "classes.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"classes\.toml: (not a classes file|cannot be read as TOML|a color is \[1\])"):
        LabelSet.from_toml(path)


def test_a_classes_file_of_another_encoding(tmp_path: Path) -> None:
    path, text = tmp_path / "classes.toml", '[[class]]\r\nname = "\u72d7"\r\n[[class]]\r\nname = "b"\r\n'
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_bytes(text.encode(encoding))
        assert LabelSet.from_toml(path).names == ("\u72d7", "b")
    path.write_bytes(text.encode("gbk"))
    with pytest.raises(DataError, match=r"classes\.toml: is not UTF-8; save it as UTF-8$"):
        LabelSet.from_toml(path)


def test_a_classes_file_that_contradicts_itself_is_named(tmp_path: Path) -> None:
    path = tmp_path / "classes.toml"
    path.write_text('[[class]]\nname = "a"\nvalue = 1\n[[class]]\nname = "b"\nvalue = 1\n')
    with pytest.raises(DataError, match=r"classes\.toml: two classes share one mask value"):
        LabelSet.from_toml(path)


def test_a_classes_file_with_one_name_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "classes.toml"
    path.write_text('[[class]]\nname = "a"\n[[class]]\nname = "a"\n')
    with pytest.raises(DataError, match=r"classes\.toml: two classes are called 'a'"):
        LabelSet.from_toml(path)


def test_contradictions_are_refused() -> None:
    with pytest.raises(DataError, match="share one mask value"):
        LabelSet(("a", "b"), values=(1, 1))
    with pytest.raises(DataError, match="two classes are called 'a', values 0 and 2; give each class its own name"):
        LabelSet(("a", "b", "a"))
    with pytest.raises(DataError, match="both a class and ignored"):
        LabelSet(("a", "b"), ignore=(1,))
    with pytest.raises(DataError, match="as many colours"):
        LabelSet(("a", "b"), values=(1,))


@pytest.mark.parametrize(
    "labels",
    [
        LabelSet(("a b", 'say "x"', "back\\slash", "tab\tline\nend", "été 道路 🚗", "")),
        LabelSet(("a", "b"), ((1, 2, 3), (4, 5, 6)), (7, 300), (0, 65535), "multilabel"),
        LabelSet(("a", "b"), ignore=()),
    ],
)
def test_a_classes_file_gives_the_labels_back(labels: LabelSet, tmp_path: Path) -> None:
    (tmp_path / "classes.toml").write_text(labels.to_toml(), encoding="utf-8")
    assert LabelSet.from_toml(tmp_path / "classes.toml") == labels


@given(names=st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=3, unique=True))
def test_any_name_is_written_so_that_it_is_read_back(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("classes") / "classes.toml"
    labels = LabelSet(tuple(names))
    path.write_text(labels.to_toml(), encoding="utf-8")
    assert LabelSet.from_toml(path) == labels


def test_a_classes_file_is_short() -> None:
    labels = LabelSet(("road", "sky"), ((1, 2, 3), (4, 5, 6)), ignore=(11, 255))
    assert labels.to_toml() == (
        'ignore = [11, 255]\n\n[[class]]\nname = "road"\nvalue = 0\ncolor = [1, 2, 3]\n\n'
        '[[class]]\nname = "sky"\nvalue = 1\ncolor = [4, 5, 6]\n'
    )
