"""Files find their images by name and by folders; what is not clear is refused with the names."""

from pathlib import Path
from unicodedata import normalize

import pytest

from atrous.errors import DataError
from atrous.io.partners import partners, results_below

MAPS = Path("maps")


def of(files: list[str], images: list[str]) -> dict[str, str]:
    found = partners([MAPS / name for name in files], MAPS, [Path("data") / name for name in images])
    return {str(file.relative_to(MAPS)): str(image.relative_to("data")) for file, image in found.items()}


def test_one_stem_in_several_folders() -> None:
    images = ["images/bear/0.jpg", "images/boat/0.jpg", "images/1.jpg"]
    assert of(["bear/0.png", "boat/0.png", "1.png"], images) == dict(
        zip(["bear/0.png", "boat/0.png", "1.png"], images, strict=True)
    )
    with pytest.raises(DataError, match=r"maps/0\.png: may belong to any of 2 images .*bear/0\.jpg, .*boat/0\.jpg"):
        of(["0.png"], images)
    assert of(["0.png"], images[:1]) == {"0.png": "images/bear/0.jpg"}, "flat maps of nested images are clear"
    assert of(["0.png", "boat/0.png"], images[:2]) == {"0.png": images[0], "boat/0.png": images[1]}
    with pytest.raises(DataError, match="of 4 images that share this name"):
        of(["x.png"], [f"images/{clip}/x.png" for clip in "abcd"])


def test_folders_count_in_their_order() -> None:
    images = ["val/images/bear/0.png", "train/images/bear/0.png"]
    assert of(["val/bear/0.png"], images) == {"val/bear/0.png": images[0]}
    assert of(["bear/val/0.png", "cat/0.png"], images[:1]) == {}


def test_two_files_of_one_image() -> None:
    with pytest.raises(DataError, match=r"maps/p\.npy and p\.png both belong to data/images/p\.jpg; keep one"):
        of(["p.npy", "p.png"], ["images/p.jpg"])
    with pytest.raises(DataError, match="share this name"):
        of(["a.png"], ["images/a.png", "images/a.jpg"])


def test_letters_with_accents_in_either_form() -> None:
    composed, parts = normalize("NFC", "café.png"), normalize("NFD", "café.png")
    assert of([composed], [f"images/{parts}"]) == {composed: f"images/{parts}"}


def test_what_predict_writes_besides_is_no_result(tmp_path: Path) -> None:
    for name in ("a.png", "bear/b.PNG", "uncertain/a.png", "overlays/a.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert results_below(tmp_path, (".png",)) == [tmp_path / "a.png", tmp_path / "bear/b.PNG"]
