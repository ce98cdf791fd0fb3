"""Masks that are nearly masks: check names them, train refuses the same ones, --write mends them."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from faults import scene
from PIL import Image

from atrous.datasets import open_dataset
from atrous.doctor import examine_dataset, mend
from atrous.errors import DataError
from atrous.io import read_mask

SHAPES = [scene(seed) for seed in range(6)]
HIGH, WIDE = SHAPES[0][1].shape


def written(root: Path, write: Callable[[Path, np.ndarray], object]) -> Path:
    """Write images and, by `write(path without suffix, mask of 0..3)`, their masks."""
    (root / "masks").mkdir(parents=True)
    (root / "images").mkdir()
    for number, (image, mask) in enumerate(SHAPES):
        Image.fromarray(image).save(root / "images" / f"p{number}.png")
        write(root / "masks" / f"p{number}", mask)
    return root


def again(mask: np.ndarray) -> Image.Image:
    """Scale a mask down and up, smoothly."""
    small = Image.fromarray(mask).resize((WIDE // 2, HIGH // 2), Image.Resampling.BILINEAR)
    return small.resize((WIDE, HIGH), Image.Resampling.BICUBIC)


def two(mask: np.ndarray, value: int = 255) -> np.ndarray:
    return (mask > 0).astype(np.uint8) * np.uint8(value)


def compressed(mask: np.ndarray) -> Image.Image:
    stream = BytesIO()
    Image.fromarray(mask).save(stream, "JPEG", quality=80)
    return Image.open(stream)


def smooth_png(path: Path, mask: np.ndarray) -> None:
    again(two(mask)).save(f"{path}.png")


def smooth_rgb_tif(path: Path, mask: np.ndarray) -> None:
    again(two(mask)).convert("RGB").save(f"{path}.tif")


def smooth_grey_levels(path: Path, mask: np.ndarray) -> None:
    again(np.array([30, 200, 200, 200], np.uint8)[mask]).save(f"{path}.bmp")


def smooth_fractions(path: Path, mask: np.ndarray) -> None:
    np.save(f"{path}.npy", np.asarray(again(two(mask)), np.float64) * (200.5 / 255))


def was_jpeg(path: Path, mask: np.ndarray) -> None:
    compressed(two(mask)).save(f"{path}.png")


def jpeg(path: Path, mask: np.ndarray) -> None:
    compressed(two(mask)).save(f"{path}.jpg", quality=90)


def alpha(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(np.dstack([np.full((*mask.shape, 3), 255, np.uint8), two(mask)])).save(f"{path}.png")


def alpha_of_black_tif(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(np.dstack([np.zeros((*mask.shape, 3), np.uint8), two(mask)])).save(f"{path}.tif")


def alpha_of_grey(path: Path, mask: np.ndarray) -> None:
    grey = Image.fromarray(np.full(mask.shape, 9, np.uint8))
    Image.merge("LA", [grey, Image.fromarray(two(mask))]).save(f"{path}.png")


def smooth_alpha(path: Path, mask: np.ndarray) -> None:
    red = Image.new("RGB", (WIDE, HIGH), (200, 0, 0))
    red.putalpha(again(two(mask)))
    red.save(f"{path}.webp", lossless=True, exact=True)


def soft(path: Path, mask: np.ndarray) -> None:
    np.save(f"{path}.npy", np.asarray(again(two(mask)), np.float32) / 255)


def soft_tif(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(np.asarray(again(two(mask)), np.float32) / 255).save(f"{path}.tif")


def one_hot_first(path: Path, mask: np.ndarray) -> None:
    np.save(f"{path}.npy", np.moveaxis(np.eye(2, dtype=bool)[two(mask, 1)], 2, 0))


def shares_last(path: Path, mask: np.ndarray) -> None:
    share = np.asarray(again(two(mask)), np.float32) / 255
    np.save(f"{path}.npy", np.dstack([1 - share, share]))


NEARLY = [
    smooth_png, smooth_rgb_tif, smooth_grey_levels, smooth_fractions, was_jpeg, jpeg, alpha, alpha_of_black_tif,
    alpha_of_grey, smooth_alpha, soft, soft_tif, one_hot_first, shares_last,
]  # fmt: skip


@pytest.mark.parametrize("write", NEARLY, ids=lambda write: write.__name__)
def test_two_classes_are_told_refused_and_mended(tmp_path: Path, write: Callable[[Path, np.ndarray], object]) -> None:
    root = written(tmp_path / "data", write)
    found = examine_dataset(root)
    assert {path.stem for one in found.errors for path in one.files} == {f"p{k}" for k in range(len(SHAPES))}
    with pytest.raises(DataError, match=r"data.masks.p0\.\w+: "):
        open_dataset(root)
    mended = mend(found, tmp_path / "out")
    assert (mended.pairs, mended.left_out) == (len(SHAPES), [])
    data = open_dataset(tmp_path / "out")
    data.verify()
    assert len(data.labels) == 2
    assert examine_dataset(tmp_path / "out").errors == []
    for number, (_, mask) in enumerate(SHAPES):
        got = read_mask(tmp_path / "out" / "masks" / f"p{number}.png")
        assert set(np.unique(got)) <= {0, 1}
        assert (got != two(mask, 1)).mean() < 0.03


def test_smooth_colours_keep_their_number(tmp_path: Path) -> None:
    paint = np.array([[0, 0, 0], [220, 20, 60], [0, 130, 180], [250, 170, 30]], np.uint8)
    root = written(tmp_path / "data", lambda path, mask: again(paint[mask]).save(f"{path}.png"))
    found = examine_dataset(root)
    assert [one.kind for one in found.errors] == ["colour_mask"]
    assert found.labels is not None
    assert len(found.labels) == 4
    mend(found, tmp_path / "out")
    assert len(open_dataset(tmp_path / "out").labels) == 4


def test_an_object_on_the_whole_picture_keeps_its_class_among_labels_in_alpha(tmp_path: Path) -> None:
    root = written(tmp_path / "data", alpha_of_black_tif)
    alpha_of_black_tif(root / "masks" / "p0", np.ones((HIGH, WIDE), np.uint8))
    alpha_of_black_tif(root / "masks" / "p1", np.zeros((HIGH, WIDE), np.uint8))
    mend(examine_dataset(root), tmp_path / "out")
    assert (read_mask(tmp_path / "out" / "masks" / "p0.png") == 1).all()
    assert (read_mask(tmp_path / "out" / "masks" / "p1.png") == 0).all()


@pytest.mark.parametrize("values", [[0, 2, 4, 4], [0, 6, 6, 6], [0, 5, 10, 10]])
def test_smooth_class_numbers_are_refused_and_have_no_cure(tmp_path: Path, values: list[int]) -> None:
    table = np.array(values, np.uint8)
    root = written(tmp_path / "data", lambda path, mask: again(table[mask]).save(f"{path}.png"))
    found = examine_dataset(root)
    assert found.errors
    assert all(one.cure is None for one in found.errors)
    with pytest.raises(DataError):
        open_dataset(root)
    with pytest.raises(DataError):
        mend(found, tmp_path / "out")


@pytest.mark.parametrize(
    "write, told",
    [
        (
            lambda path, mask: np.save(f"{path}.npy", np.dstack([mask > 0, mask > 1, mask > 2]).astype(np.uint8)),
            "channels",
        ),
        (lambda path, mask: Image.fromarray(mask * 0).save(f"{path}.png"), "1 class; expected at least 2"),
        (lambda path, mask: Image.fromarray(mask * 0 + 255).save(f"{path}.png"), "0 classes; expected at least 2"),
        (lambda path, mask: np.save(f"{path}.npy", np.zeros(mask.shape, bool)), "1 class; expected at least 2"),
        (
            lambda path, mask: Image.fromarray(np.arange(mask.size).reshape(mask.shape).astype(np.uint8)).save(
                f"{path}.png"
            ),
            "numbers of objects, ",
        ),
    ],
)
def test_too_few_and_too_many_classes_are_refused_by_check_and_train(
    tmp_path: Path, write: Callable[[Path, np.ndarray], object], told: str
) -> None:
    root = written(tmp_path / "data", write)
    assert any(told in one.detail for one in examine_dataset(root).errors)
    with pytest.raises(DataError, match=told):
        open_dataset(root)


@pytest.mark.parametrize(
    "write",
    [
        lambda path, mask: np.save(f"{path}.npy", mask > 0),
        lambda path, mask: np.save(f"{path}.npy", mask[None]),
        lambda path, mask: np.save(f"{path}.npy", mask[..., None].astype(np.float64)),
        lambda path, mask: Image.fromarray(np.dstack([mask, mask, mask, mask * 0 + 255])).save(f"{path}.png"),
        lambda path, mask: Image.fromarray(mask).convert("RGB").save(f"{path}.webp", lossless=True),
    ],
)
def test_sound_masks_of_any_form_are_accepted(tmp_path: Path, write: Callable[[Path, np.ndarray], object]) -> None:
    root = written(tmp_path / "data", write)
    assert examine_dataset(root).errors == []
    open_dataset(root).verify()


def numbered_objects(path: Path, mask: np.ndarray) -> None:
    """Write 1..n, one number for each piece of any class."""
    pieces = cv2.connectedComponents((mask > 0).astype(np.uint8))[1]
    Image.fromarray(pieces.astype(np.uint8)).save(f"{path}.png")


def test_numbers_of_objects_are_told(tmp_path: Path) -> None:
    root = written(tmp_path / "data", numbered_objects)
    assert [one.severity for one in examine_dataset(root).findings if "numbers of objects" in one.detail] == ["warning"]


def test_classes_of_which_the_last_are_not_in_each_mask_are_no_objects(tmp_path: Path) -> None:
    def classes(path: Path, mask: np.ndarray) -> None:
        number = int(path.name[1:])
        cells = np.random.default_rng(number).integers(0, 4 + number % 3, (12, 16))
        few = np.kron(cells, np.ones((8, 8)))
        Image.fromarray(few.astype(np.uint8)).save(f"{path}.png")

    assert not any("objects" in one.detail for one in examine_dataset(written(tmp_path / "data", classes)).findings)


def test_one_smooth_colour_mask_among_sound_ones_costs_no_colour(tmp_path: Path) -> None:
    paint = np.array([[0, 0, 0], [220, 20, 60], [0, 130, 180], [250, 170, 30]], np.uint8)

    def write(path: Path, mask: np.ndarray) -> None:
        if path.name == "p2":
            again(paint[np.minimum(mask, 1)]).save(f"{path}.png")
        else:
            Image.fromarray(paint[mask]).save(f"{path}.png")

    labels = examine_dataset(written(tmp_path / "data", write)).labels
    assert labels is not None
    assert set(labels.colours) == {tuple(colour) for colour in paint.tolist()}
