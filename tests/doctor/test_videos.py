"""Names and looks together tell whether pictures are frames of videos."""

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
