import numpy as np
import pytest

from atrous.errors import AtrousError
from atrous.refine import grabcut
from atrous.refine.cutout import _as_bytes


def disc(shape: tuple[int, int] = (60, 80)) -> tuple[np.ndarray, np.ndarray]:
    """(image (H, W, 3) uint8, truth): a noisy reddish disc on noisy green."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices(shape)
    inside = (rows - 30) ** 2 + (columns - 45) ** 2 < 18**2
    image = np.where(inside[..., None], (180, 60, 50), (60, 140, 70)) + rng.normal(0, 15, (*shape, 3))
    return np.clip(image, 0, 255).astype(np.uint8), inside


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize(
    "change",
    [
        lambda i: i,
        lambda i: i.astype(np.uint16) * 16,
        lambda i: i / 255 - 3.0,
        lambda i: i[..., 0],
        lambda i: i[..., :1],
    ],
)
def test_a_box_or_scribbles_find_the_disc_whatever_the_type(change) -> None:  # type: ignore[no-untyped-def]
    image, truth = disc()
    image[0, 0], image[0, 1] = 0, 255
    scribbles = np.zeros(truth.shape, np.uint8)
    scribbles[25:35, 40:50], scribbles[:5] = 2, 1
    if change(image).shape == image.shape:
        assert (_as_bytes(change(image), truth.shape) == image).all()
    for found in (grabcut(change(image), box=(8, 22, 44, 46)), grabcut(change(image), scribbles=scribbles)):
        assert found.dtype == bool
        assert overlap(found, truth) > 0.95


def test_scribbles_within_a_box_are_kept_and_nothing_is_found_outside() -> None:
    image, truth = disc()
    scribbles = np.zeros(truth.shape, np.uint8)
    scribbles[28:32, 43:47] = 1
    found = grabcut(image, box=(8, 22, 44, 46), scribbles=scribbles)
    assert not found[28:32, 43:47].any()
    assert not found[:8].any()
    assert not found[:, :22].any()


def test_the_same_twice() -> None:
    image, _ = disc()
    image = np.random.default_rng(1).integers(0, 256, image.shape).astype(np.uint8)
    assert (grabcut(image, box=(8, 22, 44, 46)) == grabcut(image, box=(8, 22, 44, 46))).all()


IMAGE = np.zeros((20, 30, 3), np.uint8)
ONE_KIND = np.full((20, 30), 2)


@pytest.mark.parametrize(
    "image, options, words",
    [
        (IMAGE, {}, "neither a box nor scribbles"),
        (IMAGE, {"box": (0, 0, 20, 30)}, "0 pixels are background"),
        (IMAGE, {"box": (5, 5, 1, 2)}, "2 pixels are object"),
        (IMAGE, {"box": (5, 5, 20, 3)}, "within an image of 20 x 30"),
        (IMAGE, {"box": (5, 5, 3)}, "top, left, height, width"),
        (IMAGE, {"scribbles": ONE_KIND}, "one kind"),
        (IMAGE, {"scribbles": ONE_KIND + 1}, r"values \[3\]"),
        (IMAGE, {"scribbles": ONE_KIND[1:]}, r"\(19, 30\)"),
        (IMAGE, {"box": (5, 5, 9, 9), "iterations": 0}, "iterations is 0"),
        (np.zeros((20, 30, 5)), {"box": (5, 5, 9, 9)}, "5 channels"),
        (np.full((20, 30), np.nan), {"box": (5, 5, 9, 9)}, "nan"),
        (np.zeros((0, 30, 3)), {"box": (5, 5, 9, 9)}, "a pixel at least"),
        (np.zeros(7), {"box": (5, 5, 9, 9)}, r"\(7,\)"),
    ],
)
def test_what_does_not_fit_is_told(image: np.ndarray, options: dict[str, object], words: str) -> None:
    with pytest.raises(AtrousError, match=words):
        grabcut(image, **options)
