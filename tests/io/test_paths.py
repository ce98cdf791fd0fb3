"""Which files the inputs name."""

from pathlib import Path

import pytest

from atrous.errors import DataError
from atrous.io import find_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "deep/c.tif", ".hidden.png", ".git/d.png", "Thumbs.db", "notes.txt"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_folders_files_and_patterns_each_once_in_order(folder: Path) -> None:
    photos = folder / "photos"
    names = [path.name for path in find_images([photos])]
    assert names == ["a.JPG", "b.png", "c.tif"]
    assert [path.name for path in find_images([photos / "b.png", photos])] == ["b.png", "a.JPG", "c.tif"]
    assert [path.name for path in find_images([str(photos / "*.png")])] == ["b.png"]
    assert [path.name for path in find_images([str(photos / "**" / "*.tif")])] == ["c.tif"]


@pytest.mark.parametrize(
    "name, message",
    [
        ("empty", r"empty: no pictures in this folder; expected files ending in .png"),
        ("photo", r"photo: no such file or folder; did you mean '.*photos'\?"),
        ("photos/*.bmp", r"\*.bmp: no picture matches this pattern"),
        ("zzz/deep/x.png", r"x.png: no such file or folder; .* holds empty, photos"),
        ("empty/x.png", r"x.png: no such file or folder; .*empty is empty"),
    ],
)
def test_errors_say_what_is_there(folder: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_images([folder / name])
