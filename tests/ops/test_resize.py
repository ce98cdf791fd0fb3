"""Resizing keeps one convention: half pixels; a Tail is a resize and a cut."""

import re
from pathlib import Path

import pytest
import torch

import atrous
from atrous.errors import DataError
from atrous.ops.resize import Tail, resize


def test_bilinear_places_pixels_by_their_halves() -> None:
    line = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    assert resize(line, (1, 4)).flatten().tolist() == [0.0, 0.25, 0.75, 1.0]
    assert resize(line, (1, 3), align_corners=True).flatten().tolist() == [0.0, 0.5, 1.0]


def test_nearest_takes_the_value_at_the_centre() -> None:
    line = torch.arange(5.0).view(1, 1, 1, 5)
    assert resize(line, (1, 3), mode="nearest").flatten().tolist() == [0.0, 2.0, 4.0]
    assert resize(line, (1, 3), mode="floor").flatten().tolist() == [0.0, 1.0, 3.0]


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "area"])
def test_volumes_repeat_the_slice(mode: str) -> None:
    image = torch.rand(2, 3, 5, 7)
    volume = image[:, :, None].expand(-1, -1, 4, -1, -1)
    resized = resize(volume, (6, 9, 4), mode=mode)  # type: ignore[arg-type]
    assert resized.shape == (2, 3, 6, 9, 4)
    torch.testing.assert_close(resized[:, :, 2], resize(image, (9, 4), mode=mode))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape, size, mode", [((3, 4, 5), (2, 2), "bilinear"), ((1, 1, 4, 4), (2, 2, 2), "bilinear"),
                                               ((1, 1, 4, 4, 4), (2, 2, 2), "bicubic")])  # fmt: skip
def test_wrong_axes_are_named(shape: tuple[int, ...], size: tuple[int, ...], mode: str) -> None:
    with pytest.raises(DataError, match=re.escape(str(shape))):
        resize(torch.zeros(shape), size, mode=mode)  # type: ignore[arg-type]


def test_tail_resizes_then_cuts() -> None:
    logits = torch.rand(2, 3, 4, 5)
    whole = resize(logits, (16, 20))
    assert torch.equal(Tail((16, 20)).apply(logits), whole)
    assert torch.equal(Tail((16, 20), (3, 1, 9, 15)).apply(logits), whole[:, :, 3:12, 1:16])
    assert torch.equal(Tail((7, 9), None, True).apply(logits), resize(logits, (7, 9), align_corners=True))


def test_no_other_file_interpolates() -> None:
    root = Path(atrous.__file__).parent
    callers = [
        path for path in root.rglob("*.py") if "interpolate(" in re.sub(r'""".*?"""', "", path.read_text(), flags=re.S)
    ]
    assert [path.relative_to(root).as_posix() for path in callers] == ["ops/resize.py"]
