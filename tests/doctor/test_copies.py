"""Copies are found among pictures that share their camera; pictures that share no more than that are no copies."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from atrous.datasets.folder import Pair
from atrous.doctor.copies import alike_pairs, find_copies
from atrous.doctor.look import look_at_arrays

H, W = 96, 128
Y, X = np.mgrid[:H, :W]


def noisy(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def retina(seed: int) -> np.ndarray:
    """A disc in the dark, with one bright spot and dark lines."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(90, 130) + 15 * np.cos((Y - H / 2) / H * 3)
    top, left = rng.uniform(0.42, 0.58) * H, rng.choice([0.3, 0.7]) * W + rng.uniform(-4, 4)
    base += 60 * np.exp(-((Y - top) ** 2 + (X - left) ** 2) / 40)
    for _ in range(6):
        wave = rng.uniform(3, 20) * np.sin(X / rng.uniform(10, 30) + rng.uniform(0, 6))
        base -= 35 * (np.abs(Y - top - wave - rng.uniform(-30, 30)) < 1)
    inside = (Y - H / 2) ** 2 + (X - W / 2) ** 2 < (0.47 * H) ** 2
    return noisy(rng, np.stack([base * 1.2, base * 0.6, base * 0.3], -1) * inside[..., None])


def microscope(seed: int) -> np.ndarray:
    """A few dark cells on a bright field that falls off towards the corners."""
    rng = np.random.default_rng(seed)
    base = 190 - 120 * (((Y - H / 2) / H) ** 2 + ((X - W / 2) / W) ** 2)
    for _ in range(rng.integers(4, 8)):
        base -= 25 * ((Y - rng.uniform(0, H)) ** 2 + (X - rng.uniform(0, W)) ** 2 < rng.uniform(2, 4.5) ** 2)
    return noisy(rng, base[..., None].repeat(3, 2))


STREET = cv2.GaussianBlur(np.kron(np.random.default_rng(5).integers(40, 200, (12, 16, 3)), np.ones((8, 8, 1))), None, 2)


def street(seed: int) -> np.ndarray:
    """One street with three things that pass."""
    rng = np.random.default_rng(seed)
    picture = STREET * rng.uniform(0.9, 1.1)
    for _ in range(3):
        top, left = rng.integers(0, H - 10), rng.integers(0, W - 10)
        picture[top : top + 10, left : left + 10] = rng.integers(0, 255, 3)
    return noisy(rng, picture)


def compressed(picture: np.ndarray) -> np.ndarray:
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=50)
    return np.asarray(Image.open(stream))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "compressed": compressed,
    "smaller": lambda one: cv2.resize(one, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
    "larger": lambda one: cv2.resize(one, None, fx=1.7, fy=1.7, interpolation=cv2.INTER_CUBIC),
    "brighter": lambda one: np.clip(one * 1.15 + 4, 0, 255).astype(np.uint8),
    "darker": lambda one: (one * 0.7).astype(np.uint8),
}


def thumbs(pictures: list[np.ndarray]) -> np.ndarray:
    looks = [look_at_arrays(Pair(Path("a.png"), Path("b.png")), "train", one, None) for one in pictures]
    return np.stack([look.image.cells[..., 0] for look in looks])  # type: ignore[union-attr, index]


@pytest.mark.parametrize("scene", [retina, microscope, street])
def test_pictures_of_one_camera_are_no_copies(scene: Callable[[int], np.ndarray]) -> None:
    pictures = thumbs([scene(seed) for seed in range(40)])
    assert alike_pairs(pictures, np.arange(40) % 2) == []


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("scene", [retina, microscope, street])
def test_copies_among_them_are_found(scene: Callable[[int], np.ndarray], change: str) -> None:
    pictures = [scene(seed) for seed in range(30)]
    copies = [CHANGES[change](pictures[place]) for place in (3, 17)]
    found = alike_pairs(thumbs([*pictures, *copies]), np.array([0] * 30 + [1] * 2))
    assert [(pair.first, pair.second) for pair in found] == [(3, 30), (17, 31)]


def test_nearly_equal_frames_are_found() -> None:
    rng, still = np.random.default_rng(0), street(0)
    frames = [street(seed) for seed in range(1, 20)] + [noisy(rng, still) for _ in range(4)]
    found = alike_pairs(thumbs(frames), np.zeros(23, int))
    assert {pair.second for pair in found} == {20, 21, 22}
    assert all(pair.first >= 19 for pair in found)
    lone = alike_pairs(thumbs([noisy(rng, still) for _ in range(12)]), np.zeros(12, int))
    assert len(lone) == 11, "where all look the same, too"


def test_a_leak_is_said_of_the_copy_alone(tmp_path: Path) -> None:
    pictures = [retina(seed) for seed in range(20)]
    pictures.append(compressed(pictures[4]))
    looks = []
    for number, picture in enumerate(pictures):
        path = tmp_path / f"{number}.png"
        Image.fromarray(picture).save(path)
        looks.append(look_at_arrays(Pair(path, path), "train" if number < 10 else "val", picture, None))
    (finding,) = find_copies(looks, [look.split for look in looks])
    assert (finding.kind, [file.name for file in finding.files]) == ("leak", ["4.png", "20.png"])
