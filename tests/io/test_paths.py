"""Which files the inputs name."""

import os
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


@pytest.fixture
def linked(folder: Path) -> Path:
    """Photos with a link to a folder elsewhere, two loops of links, and a link to nothing."""
    (folder / "store" / "more").mkdir(parents=True)
    (folder / "store" / "more" / "s.png").touch()
    (folder / "store" / "back").symlink_to(folder / "photos")
    (folder / "photos" / "clip").symlink_to(folder / "store")
    (folder / "photos" / "deep" / "up").symlink_to(folder / "photos")
    (folder / "photos" / "self.png").symlink_to("self.png")
    (folder / "photos" / "gone").symlink_to("nowhere")
    return folder


def test_links_to_folders_are_followed_and_loops_end(linked: Path) -> None:
    names = ["a.JPG", "b.png", "clip/more/s.png", "deep/c.tif"]
    photos = linked / "photos"
    assert [path.relative_to(photos).as_posix() for path in find_images([photos])] == names
    for patterns in ("**", "**/*"), ("**/*.png", "**/*.JPG", "**/*.tif"):
        found = find_images([str(photos / pattern) for pattern in patterns])
        assert sorted(path.relative_to(photos).as_posix() for path in found) == names
    assert [path.name for path in find_images([str(linked / "p*" / "**" / "m*" / "*.png")])] == ["s.png"]


def test_a_link_given_by_hand_is_followed(linked: Path) -> None:
    (linked / "view").symlink_to(linked / "photos" / "deep")
    assert [path.name for path in find_images([linked / "view"])] == ["c.tif"]


def test_a_folder_that_may_not_be_entered_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"photos/deep: this folder may not be entered; get the right to read it"):
        find_images([folder / "photos"])


def test_a_missing_path_in_a_closed_folder_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listing(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", listing)
    with pytest.raises(DataError, match=r": this folder may not be entered; get the right to read it"):
        find_images([tmp_path / "a.png"])
