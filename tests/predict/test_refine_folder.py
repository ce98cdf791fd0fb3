"""Folders of probabilities and label maps, sharpened: values, palettes and failures."""

from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image
from worlds import picture

from atrous import refine
from atrous.errors import AtrousError, DataError
from atrous.predict.refine_folder import refine_folder
from atrous.refine.named import Refinement


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    for name in ("images", "found"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(3)
    for stem in ("a", "b", "c"):
        Image.fromarray(picture(rng, 24, 32)[0]).save(tmp_path / "images" / f"{stem}.png")
    return tmp_path / "found", tmp_path / "images", tmp_path / "out"


def photo(images: Path, stem: str) -> np.ndarray:
    return np.asarray(Image.open(images / f"{stem}.png"))


def noisy(stem: int) -> np.ndarray:
    return np.random.default_rng(stem).dirichlet(np.ones(3), (24, 32)).transpose(2, 0, 1).astype(np.float32)


def test_probabilities_become_labels(folders: tuple[Path, Path, Path]) -> None:
    source, images, out = folders
    np.save(source / "a.npy", noisy(1))
    np.savez(source / "b.npz", scores=noisy(2))
    assert refine_folder(source, images, out, "deeplab_v1", {"iterations": 2}) == (2, [])
    for stem, seed in (("a", 1), ("b", 2)):
        expected = refine.dense_crf(noisy(seed), photo(images, stem), preset="deeplab_v1", iterations=2).argmax(0)
        assert np.array_equal(np.asarray(Image.open(out / f"{stem}.png")), expected)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_label_maps_keep_values_type_and_palette(folders: tuple[Path, Path, Path], kind: type) -> None:
    source, images, out = folders
    values = np.array([3, 7, 200 if kind is np.uint8 else 4000], kind)
    labels = values[noisy(1).argmax(0)]
    labels[5:9, 5:9] = 255
    palette = [5, 6, 7] * 256
    written = Image.fromarray(labels)
    if kind is np.uint8:
        written.putpalette(palette)
    written.save(source / "a.png")
    weak = {"gaussian": (1, 0.2), "bilateral": (4, 20, 1), "iterations": 2}
    assert refine_folder(source, images, out, "crf", weak, ignore=[255]) == (1, [])
    result = Image.open(out / "a.png")
    assert result.mode == ("P" if kind is np.uint8 else "I;16")
    assert result.getpalette() == (palette if kind is np.uint8 else None)
    found = np.asarray(result)
    assert set(np.unique(found)) == set(values)
    assert (found != labels).any()
    share = np.where(labels == values[:, None, None], 0.7, 0.15).astype(np.float32)
    share[:, labels == 255] = np.float32(1 / 3)
    assert np.array_equal(found, values[refine.dense_crf(share, photo(images, "a"), **weak).argmax(0)])


def test_one_value_stays_as_it_is(folders: tuple[Path, Path, Path]) -> None:
    source, images, out = folders
    Image.fromarray(np.full((24, 32), 4, np.uint8)).save(source / "a.png")
    assert refine_folder(source, images, out) == (1, [])
    assert np.array_equal(np.asarray(Image.open(out / "a.png")), np.full((24, 32), 4))


def test_what_fails_is_named_and_the_rest_is_done(folders: tuple[Path, Path, Path], capsys) -> None:  # type: ignore[no-untyped-def]
    source, images, out = folders
    np.save(source / "a.npy", noisy(1))
    np.save(source / "b.npy", noisy(2)[:, :20])
    np.save(source / "d.npy", noisy(2))
    (source / "c.npz").write_bytes(b"PK\x03\x04 cut short")
    assert run("refine", source, images, "-o", out, "--crf", "icm") == 1
    said = capsys.readouterr()
    assert "1 of 4 label maps" in said.out
    for name, word in (("b.npy", "same size"), ("c.npz", "readable"), ("d.npy", "no image")):
        assert any(name in line and word in line for line in said.err.splitlines())


def test_nothing_to_do_is_one_sentence(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    source, images, out = folders
    with pytest.raises(DataError, match=r"holds no probabilities"):
        refine_folder(source, images, out)
    np.save(source / "z.npy", noisy(1))
    with pytest.raises(DataError, match="no file has the name of an image"):
        refine_folder(source, images, out)
    np.save(source / "a.npy", noisy(1))
    with pytest.raises(AtrousError, match="no such folder"):
        refine_folder(tmp_path / "nowhere", images, out)
    with pytest.raises(AtrousError, match="would overwrite"):
        refine_folder(source, images, source)
    with pytest.raises(AtrousError, match="certainty"):
        refine_folder(source, images, out, certainty=1.0)
    with pytest.raises(AtrousError, match="unknown refiner"):
        refine_folder(source, images, out, "crff")


def test_refining_again_is_no_loss_but_truth_is(folders: tuple[Path, Path, Path]) -> None:
    source, images, out = folders
    np.save(source / "a.npy", noisy(1))
    assert refine_folder(source, images, out) == refine_folder(source, images, out) == (1, [])
    np.save(source / "b.npy", noisy(2))
    (out / "b.png").write_text("truth")
    with pytest.raises(AtrousError, match=r"b\.png: is there already, and is not from this program"):
        refine_folder(source, images, out)
    assert (out / "b.png").read_text() == "truth"


def test_one_stem_in_several_folders(folders: tuple[Path, Path, Path]) -> None:
    source, images, out = folders
    for number, clip in enumerate(("bear", "boat")):
        (images / clip).mkdir()
        (source / clip).mkdir()
        Image.fromarray(picture(np.random.default_rng(number), 24, 32)[0]).save(images / clip / "0.png")
        np.save(source / clip / "0.npy", noisy(number))
    np.save(source / "a.npy", noisy(5))
    assert refine_folder(source, images, out, "icm") == (3, [])
    for number, clip in enumerate(("bear", "boat")):
        expected, _ = Refinement("icm", {})(photo(images / clip, "0"), noisy(number))
        assert np.array_equal(np.asarray(Image.open(out / clip / "0.png")), expected)
    (source / "bear" / "0.npy").rename(source / "0.npy")
    assert refine_folder(source, images, out / "again", "icm") == (3, []), "boat has its own, so the other is bear's"
    (source / "boat" / "0.npy").unlink()
    with pytest.raises(DataError, match=r"0\.npy: may belong to any of 2 images .*bear/0\.png, .*boat/0\.png"):
        refine_folder(source, images, out)


@pytest.mark.parametrize("second", ["a.png", "a.npz", "a.tif"])
def test_two_files_of_one_image_are_refused(folders: tuple[Path, Path, Path], second: str) -> None:
    source, images, out = folders
    np.save(source / "a.npy", noisy(1))
    if second == "a.npz":
        np.savez(source / second, noisy(2))
    else:
        Image.fromarray(noisy(1).argmax(0).astype(np.uint8)).save(source / second)
    with pytest.raises(DataError, match=f"a.npy and {second} both belong to .*a.png; keep one of them"):
        refine_folder(source, images, out)
    assert not out.exists()


def test_images_are_not_written_over(folders: tuple[Path, Path, Path]) -> None:
    source, images, _ = folders
    np.save(source / "a.npy", noisy(1))
    before = (images / "a.png").read_bytes()
    with pytest.raises(AtrousError, match="would be read as further inputs"):
        refine_folder(source, images, images)
    assert (images / "a.png").read_bytes() == before
    out = source / "fine"
    assert refine_folder(source, images, out, "icm") == (1, [])
    assert refine_folder(source, images, out, "icm") == (1, []), "results of a run before are no input"
