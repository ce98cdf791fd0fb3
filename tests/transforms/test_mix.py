"""CutMix and mosaic: boxes that cover the crop, with the chances and the places that they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.transforms import boxes, generator


@settings(max_examples=100, deadline=None)
@given(
    crop=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    chances=st.sampled_from([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]),
    index=st.integers(0, 10**6),
)
def test_boxes_cover_the_crop_and_stay_inside(crop: tuple[int, int], chances: tuple[float, float], index: int) -> None:
    covered = np.zeros(crop, int)
    cutmix, mosaic = chances
    parts = boxes(crop, generator(0, 0, index), cutmix=cutmix, mosaic=mosaic)
    for part, box in enumerate(parts, 1):
        assert min(box.top, box.left) >= 0
        assert min(box.height, box.width) >= 1
        assert box.top + box.height <= crop[0]
        assert box.left + box.width <= crop[1]
        covered[box.top : box.top + box.height, box.left : box.left + box.width] = part
    assert covered.all()
    if parts[0] == (0, 0, *crop):  # one sample, or CutMix's rectangle on top of it
        assert len(parts) <= 2
    else:  # a mosaic, whose parts do not overlap, even where a crop is too narrow for four of them
        assert sum(box.height * box.width for box in parts) == crop[0] * crop[1]
    assert len(parts) == 1 or mosaic or cutmix
    assert len(parts) == 2 or cutmix < 1
    assert len(parts) == 4 or mosaic < 1 or min(crop) < 3


def test_chances_and_sizes_are_those_asked_for() -> None:
    found = [boxes((80, 120), generator(1, 0, index), cutmix=0.3, mosaic=0.5) for index in range(2000)]
    kinds = np.bincount([len(parts) for parts in found], minlength=5) / 2000
    assert kinds[1] == pytest.approx(0.2, abs=0.04)
    assert kinds[2] == pytest.approx(0.3, abs=0.04)
    assert kinds[4] == pytest.approx(0.5, abs=0.04)
    shares = [parts[1].height * parts[1].width / 9600 for parts in found if len(parts) == 2]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)  # the share of the area is uniform in 0..1
    assert np.quantile(shares, 0.1) == pytest.approx(0.1, abs=0.05)
    shapes = [parts[1].width / parts[1].height for parts in found if len(parts) == 2]
    assert np.median(shapes) == pytest.approx(1.5, abs=0.05)
    middles = np.array([(parts[3].top, parts[3].left) for parts in found if len(parts) == 4])
    np.testing.assert_allclose(middles.min(0), (20, 30), atol=2)
    np.testing.assert_allclose(middles.max(0), (60, 90), atol=2)
