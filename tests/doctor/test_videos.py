"""Names and looks together tell whether pictures are frames of videos."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from atrous.doctor.videos import recordings


def frames(seed: int, count: int) -> list[np.ndarray]:
    """Make frames of a scene that drifts by one pixel in each frame."""
    wide = np.kron(np.random.default_rng(seed).integers(0, 256, (12, 20, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return [wide[:, k : k + 96] for k in range(count)]


def test_frames_belong_to_their_video_and_numbered_photos_to_none() -> None:
    names = [Path(f"images/{film}_{k:04}.png") for film in "ab" for k in range(8)]
    films = frames(0, 8) + frames(1, 8)
    assert recordings(names, films) == ["a_"] * 8 + ["b_"] * 8
    assert recordings([*names, Path("images/alone.png")], [*films, films[0]])[-1] == "images/alone.png"
    assert recordings(names, [frames(seed, 1)[0] for seed in range(16)]) is None
    assert recordings([Path(f"images/{'x' * k}.png") for k in range(1, 17)], films) is None


def test_pictures_are_looked_at_one_by_one() -> None:
    shown: list[weakref.ref[np.ndarray]] = []
    most = 0

    def pictures() -> Iterator[np.ndarray]:
        nonlocal most
        for frame in frames(0, 40):
            picture = frame.copy()
            shown.append(weakref.ref(picture))
            most = max(most, sum(one() is not None for one in shown))
            yield picture

    assert recordings([Path(f"images/a_{k}.png") for k in range(40)], pictures()) == ["a_"] * 40
    assert most <= 2
