from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.ops import blend, gaussian_window, positions


def test_positions_are_nnunets() -> None:
    assert positions(110, 64, 0.5) == [0, 23, 46]
    assert positions(64, 64) == [0]
    assert positions(10, 64) == [0]


@given(size=st.integers(1, 400), window=st.integers(1, 100), overlap=st.floats(0, 0.9))
def test_positions_cover_everything_with_the_overlap_asked_for(size: int, window: int, overlap: float) -> None:
    starts = positions(size, window, overlap)
    assert starts[0] == 0
    assert starts[-1] + min(window, size) == size
    for one, other in pairwise(starts):
        assert 0 < other - one <= max(1, np.ceil(window * (1 - overlap)))


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    window=st.tuples(st.integers(4, 30), st.integers(4, 30)),
    overlap=st.floats(0, 0.7),
)
def test_a_function_of_place_comes_back_whole(size: tuple[int, int], window: tuple[int, int], overlap: float) -> None:
    field = np.random.default_rng(0).normal(size=(3, *size)).astype(np.float32)
    bands = list(blend(lambda top, left, h, w: field[:, top : top + h, left : left + w], size, window, overlap))
    assert [top for top, _ in bands] == list(np.cumsum([0, *[band.shape[1] for _, band in bands]])[:-1])
    np.testing.assert_allclose(np.concatenate([band for _, band in bands], axis=1), field, atol=1e-5)


def test_the_middle_of_a_window_counts_most() -> None:
    window = gaussian_window(9, 7)
    assert window.argmax() == 4 * 7 + 3
    assert window.max() == pytest.approx(1)
    assert window.min() > 0
