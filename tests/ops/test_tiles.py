from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.errors import DataError
from atrous.ops import blend, blend_labels, positions
from atrous.ops.tiles import WEIGHTS, gaussian


def test_positions_are_nnunets() -> None:
    assert positions(110, 64, 0.5) == [0, 23, 46]
    assert positions(64, 64) == [0]
    assert positions(10, 64) == [0]
    assert positions(10, 4, np.nextafter(1, 0)) == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "asked", [(100, 10, 1.0), (100, 10, 1.5), (100, 10, -0.1), (100, 10, np.nan), (100, 0), (0, 1)]
)
def test_positions_that_cannot_be(asked: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="expected at least 1 pixel, and an overlap from 0 on, below 1"):
        positions(*asked)


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
    window = np.outer(gaussian(9), gaussian(7))
    assert window.argmax() == 4 * 7 + 3
    assert window.max() == pytest.approx(1)
    assert window.min() > 0


@pytest.mark.parametrize("weights", ["gaussian", "uniform"])
@pytest.mark.parametrize(("by_pixel", "classes"), [
    *((by_pixel, classes) for by_pixel in (False, True) for classes in (1, 2, 8, 21)),
    (False, 300),
    pytest.param(True, 300, marks=pytest.mark.slow),  # a kernel of its own, which takes seconds to compile
])  # fmt: skip
def test_labels_are_those_of_the_sums_over_all_windows(classes: int, by_pixel: bool, weights: str) -> None:
    rng = np.random.default_rng(classes)
    offsets = rng.normal(size=classes).astype(np.float32)
    for size, window, overlap in (((40, 53), (17, 29), 0.5), ((60, 50), (30, 20), 0.25), ((5, 3), (9, 9), 0.2)):
        seen: dict[tuple[int, int], np.ndarray] = {}

        def predict(top: int, left: int, height: int, width: int, seen: dict = seen) -> np.ndarray:
            axes = (height, width, classes) if by_pixel else (classes, height, width)
            scores = rng.normal(size=axes).astype(np.float32)
            seen[top, left] = scores.transpose(2, 0, 1) if by_pixel else scores
            return seen[top, left]

        bands = list(blend_labels(predict, size, window, overlap, weights, offsets))
        total, weight = np.zeros((classes, *size)), np.zeros(size)
        for (top, left), scores in seen.items():
            height, width = scores.shape[1:]
            importance = np.outer(WEIGHTS[weights](height).astype(float), WEIGHTS[weights](width))
            total[:, top : top + height, left : left + width] += scores * importance
            weight[top : top + height, left : left + width] += importance
        means = total / weight + offsets[:, None, None]
        labels = np.concatenate([rows for _, rows in bands])
        assert labels.dtype == (np.uint8 if classes <= 256 else np.uint16)
        assert [top for top, _ in bands] == list(np.cumsum([0, *[len(rows) for _, rows in bands]])[:-1])
        chosen = np.take_along_axis(means, labels[None].astype(np.int64), 0)[0]
        assert (means.max(0) - chosen).max() < 1e-5  # but for ties at rounding
        assert (labels == means.argmax(0)).mean() > 0.999


def test_of_equal_scores_the_lowest_class_wins_in_both_layouts() -> None:
    for classes in (3, 11, 16):
        for scores in (np.zeros((classes, 20, 20), np.float32), np.zeros((20, 20, classes), np.float32)):
            planes = scores if scores.shape[0] == classes else scores.transpose(2, 0, 1)
            window = lambda top, left, h, w, planes=planes: planes[:, :h, :w]  # noqa: E731
            labels = np.concatenate([rows for _, rows in blend_labels(window, (33, 35), (20, 20), 0.3)])
            assert not labels.any()


def test_a_part_of_larger_scores_is_read_where_it_lies() -> None:
    """A crop of the tail leaves gaps between rows and classes, in both layouts."""
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(9, 40, 50)).astype(np.float32)
    last = np.ascontiguousarray(whole.transpose(1, 2, 0)).transpose(2, 0, 1)
    for scores in (whole, last, whole[:, ::-1], last[::-1]):
        window = lambda top, left, h, w, scores=scores: scores[:, top : top + h, left : left + w]  # noqa: E731
        labels = np.concatenate([rows for _, rows in blend_labels(window, (40, 50), (16, 24), 0.4)])
        assert (labels == scores.argmax(0)).mean() > 0.999
