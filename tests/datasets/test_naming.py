"""Names of other systems: the file that is meant, or the question which."""

from pathlib import Path

import pytest

from atrous.datasets.naming import Named, Tree, listed_names

FILES = (
    "images/clip1/a.png", "images/clip1/my cat.png", "images/clip2/b.png", "images/cafe\u0301.jpg", "images/B2.JPG",
    "images/x/same.png", "images/y/same.png", "images/Case.png", "images/case.png", "pictures/deep/c.png", "d.png",
)  # fmt: skip


@pytest.fixture
def named(tmp_path: Path) -> Named:
    (tmp_path / "secret.png").touch()
    root = tmp_path / "data"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return Named(root, [root / "images"])


@pytest.mark.parametrize(
    "name, file",
    [
        ("clip1/a.png", "images/clip1/a.png"),
        (r"clip1\a.png", "images/clip1/a.png"),
        (r"C:\Users\me\set\images\clip1\a.png", "images/clip1/a.png"),
        (r"D:clip1\a.png", "images/clip1/a.png"),
        ("./clip1/a.png", "images/clip1/a.png"),
        ("/home/me/set/clip1/a.png", "images/clip1/a.png"),
        ("../images/clip1/a.png", "images/clip1/a.png"),
        ("old/../clip1/a.png", "images/clip1/a.png"),
        ("https://example.org/set/clip1/a.png", "images/clip1/a.png"),
        ("clip1/my%20cat.png", "images/clip1/my cat.png"),
        ("CLIP1/A.PNG", "images/clip1/a.png"),
        ("b2.jpg", "images/B2.JPG"),
        ("caf\u00e9.jpg", "images/cafe\u0301.jpg"),
        ("Case.png", "images/Case.png"),
        ("a.png", "images/clip1/a.png"),
        ("c.png", "pictures/deep/c.png"),
        ("y/same.png", "images/y/same.png"),
        (r"z\d.png", "d.png"),
    ],
)
def test_the_file_that_is_meant_is_found(named: Named, name: str, file: str) -> None:
    assert named.find(name) == [named.root / file]


@pytest.mark.parametrize("name, count", [("same.png", 2), ("CASE.png", 2), (r"C:\same.png", 2)])
def test_several_files_that_fit_alike_are_all_named(named: Named, name: str, count: int) -> None:
    assert len(named.find(name)) == count


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/", "clip2/a.png", "clip1/b.png", "e.png", "../secret.png", r"..\secret.png",
     "../../../../etc/passwd", "/etc/passwd", "a\0.png", "\ud800.png"],
)  # fmt: skip
def test_a_name_of_no_file_here_finds_none(named: Named, name: str) -> None:
    assert named.find(name) == []


def test_an_absolute_path_finds_a_file_in_the_data_folder_alone(named: Named) -> None:
    assert named.find(str(named.root / "d.png")) == [named.root / "d.png"]
    assert named.find(str(named.root.parent / "secret.png")) == []


def test_the_nearest_name_is_told(named: Named) -> None:
    assert named.nearest(r"clip2\bb.png") == "images/clip2/b.png"
    assert named.nearest("a-quite-different-name.jpeg") is None


def test_a_name_with_a_backslash_of_its_own_is_found(tmp_path: Path) -> None:
    (tmp_path / r"a\b%20c.png").touch()
    assert Named(tmp_path).find(r"a\b%20c.png") == [tmp_path / r"a\b%20c.png"]


@pytest.mark.parametrize(
    "line, name",
    [
        ("my pic 0", "my pic 0"), ("my pic 0  1", "my pic 0  1"), ("dog 1", "dog"), ("dog.v2", "dog.v2"),
        ("dog.jpg", "dog"), ("/JPEGImages/dog.jpg /SegmentationClass/dog.png", "dog"), (r"JPEGImages\dog.JPG", "dog"),
        ("sub/cow", "sub/cow"), ("./sub/cow.png", "sub/cow"), ("JPEGImages/sub/cow.png", "sub/cow"),
        ("cafe\u0301", "caf\u00e9"), ("fox", "fox"),
    ],
)  # fmt: skip
def test_a_line_is_a_name_first_as_a_whole(line: str, name: str) -> None:
    assert listed_names([line], {"my pic 0", "dog", "dog.v2", "sub/cow", "caf\u00e9"}) == [name]


@pytest.mark.parametrize(
    "name, found",
    [
        ("images/clip1", ["images/clip1"]), (r"C:\IMAGES\clip1/", ["images/clip1"]),
        ("images/X/SAME.png", ["images/x/same.png"]),
        ("images/Case.png", ["images/Case.png"]), ("images/CASE.png", ["images/Case.png", "images/case.png"]),
        ("images/caf\u00e9.jpg", ["images/cafe\u0301.jpg"]), ("images/clip1/my%20cat.png", ["images/clip1/my cat.png"]),
        ("clip1", []), ("../secret.png", []), ("images/a\0.png", []), (".", []), ("d.png/x", []),
    ],
)  # fmt: skip
def test_a_whole_path_is_found_in_other_letters(named: Named, name: str, found: list[str]) -> None:
    assert Tree(named.root).find_name(name) == [named.root / path for path in found]


def test_a_path_out_of_the_data_folder_finds_no_other_letters(named: Named) -> None:
    assert Tree(named.root).find(named.root.parent / "SECRET.png") == []
