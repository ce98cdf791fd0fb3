"""Resampling equals skimage's, axis by axis; labels by the greatest linear weight."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.errors import DataError
from atrous.ops.resample import resample, resample_labels

resize = pytest.importorskip("skimage.transform").resize
SIDES = st.tuples(*[st.integers(1, 9)] * 3)


@settings(max_examples=60, deadline=None)
@given(before=SIDES, after=SIDES, order=st.sampled_from([0, 1, 3]), seed=st.integers(0, 99))
def test_equal_to_skimage(before: tuple[int, ...], after: tuple[int, ...], order: int, seed: int) -> None:
    array = np.random.default_rng(seed).normal(0, 10, (2, *before)).astype(np.float32)
    found = resample(array, after, (order,) * 3)
    assert found.shape == (2, *after)
    assert found.dtype == np.float32
    for one, expected in zip(found, array, strict=True):
        how = {"order": order, "mode": "edge", "anti_aliasing": False}
        if order == 0 and before != after:  # at exact halves skimage's nearest depends on rounding
            continue
        np.testing.assert_allclose(one, resize(expected.astype(float), after, **how), rtol=0, atol=2e-4)


def test_thick_slices_take_the_nearest_along_their_axis() -> None:
    array = np.random.default_rng(0).normal(0, 1, (1, 3, 8, 7)).astype(np.float32)
    found = resample(array, (7, 12, 5), (0, 3, 3))
    for d, source in enumerate([0, 0, 1, 1, 1, 2, 2]):
        flat = resize(array[0, source].astype(float), (12, 5), order=3, mode="edge", anti_aliasing=False, clip=False)
        np.testing.assert_allclose(found[0, d], np.clip(flat, array.min(), array.max()), atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(before=SIDES, after=SIDES, orders=st.tuples(*[st.integers(0, 1)] * 3), seed=st.integers(0, 99))
def test_labels_are_the_argmax_of_their_masks(
    before: tuple[int, ...], after: tuple[int, ...], orders: tuple[int, ...], seed: int
) -> None:
    labels = np.random.default_rng(seed).choice([0, 3, 7, 200], before).astype(np.uint8)
    found = resample_labels(labels, after, orders)
    masks = np.stack([labels == k for k in (0, 3, 7, 200)]).astype(np.float32)
    weights = resample(masks, after, orders)
    best = np.sort(weights, 0)
    sure = best[-1] - best[-2] > 1e-4
    np.testing.assert_array_equal(found[sure], np.array([0, 3, 7, 200])[weights.argmax(0)][sure])
    assert set(np.unique(found)) <= set(np.unique(labels))
    assert found.dtype == np.uint8


def test_ties_go_to_the_lower_label() -> None:
    for labels in ([[[2, 1]]], [[[1, 2]]]):
        assert resample_labels(np.array(labels, np.uint16), (1, 1, 1)).tolist() == [[[1]]]


def test_what_does_not_fit_is_said() -> None:
    array = np.zeros((1, 2, 2, 2), np.float32)
    faults = [
        (array[0], (2, 2, 2), (1, 1, 1)), (array, (2, 2), (1, 1, 1)), (array, (2, 2, 0), (1, 1, 1)),
        (array, (2, 2, 2), (2, 1, 1)), (array.astype(complex), (2, 2, 2), (1, 1, 1)),
    ]  # fmt: skip
    for wrong, shape, orders in faults:
        with pytest.raises(DataError, match="expected"):
            resample(wrong, shape, orders)
    with pytest.raises(DataError, match="type float32; expected uint8 or uint16"):
        resample_labels(array[0], (3, 3, 3))
