"""Border weights against every pair of pixels, and gaps between cells that touch."""

import numpy as np
import pytest
from scipy import ndimage

from atrous.errors import DataError
from atrous.ops.border import border_weights, separate_touching


def cells(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random blobs with odd numbers; some touch."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1)
    blobs = ndimage.label(noise > np.quantile(noise, 0.75))[0]
    return (blobs * 37).astype(np.uint16)


@pytest.mark.parametrize("d1, d2, border", [(1, 1, 9.231163), (1, 3, 7.261490), (3, 3, 4.867523), (5, 5, 1.353353)])
def test_golden_values(d1: int, d2: int, border: float) -> None:
    row = np.zeros((1, d1 + d2 + 1), np.uint8)
    row[0, 0], row[0, -1] = 1, 2
    assert border_weights(row, balance=False)[0, d1] == pytest.approx(1 + border, abs=1e-5)


@pytest.mark.parametrize("shape, spacing", [((23, 31), None), ((23, 31), (2.0, 0.7)), ((9, 12, 10), (3.0, 1.0, 0.5)),
                                            ((40,), None)])  # fmt: skip
def test_as_every_pair_of_pixels_says(shape: tuple[int, ...], spacing: tuple[float, ...] | None) -> None:
    for seed in range(3):
        instances = cells(shape, seed)
        places = np.argwhere(np.ones(shape, bool)) * np.asarray(spacing or (1.0,) * len(shape))
        distances = []
        for number in np.unique(instances[instances > 0]):
            own = places[(instances == number).ravel()]
            distances.append(np.linalg.norm(places[:, None] - own, axis=2).min(1).reshape(shape))
        assert len(distances) > 1
        d1, d2 = np.sort(distances, axis=0)[:2]
        expected = np.where(instances > 0, 0, 7 * np.exp(-((d1 + d2) ** 2) / (2 * 2.5**2)))
        share = (instances > 0).mean()
        expected += np.where(instances > 0, 0.5 / share, 0.5 / (1 - share))
        got = border_weights(instances, weight=7, sigma=2.5, spacing=spacing)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_cells_have_no_border(count: int) -> None:
    instances = np.zeros((6, 7), np.int64)
    instances[2:4, 2:4] = count * 9
    assert (border_weights(instances, balance=False) == 1).all()
    assert border_weights(instances).mean() == pytest.approx(1)
    assert border_weights(np.ones((3, 3), np.uint8)).tolist() == [[1.0] * 3] * 3


@pytest.mark.parametrize("shape", [(30, 40), (8, 10, 9)])
def test_cells_that_touched_are_a_pixel_apart(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    seeds = np.stack([rng.integers(0, side, 6) for side in shape], 1)
    places = np.argwhere(np.ones(shape, bool))
    instances = np.linalg.norm(places[:, None] - seeds, axis=2).argmin(1).reshape(shape).astype(np.uint8)  # 0..5, dense
    apart = separate_touching(instances)
    assert apart.dtype == instances.dtype
    assert ((apart == instances) | (apart == 0)).all()
    touching = ndimage.generate_binary_structure(len(shape), len(shape))
    for number in range(1, 6):
        beside = ndimage.binary_dilation(apart == number, touching)
        assert set(np.unique(apart[beside])) <= {0, number}
        lost = (instances == number) & (apart == 0)
        assert not (lost & ~ndimage.binary_dilation((instances > 0) & (instances < number), touching)).any()
    np.testing.assert_array_equal(separate_touching(apart), apart)


def test_what_is_no_instance_map_is_named() -> None:
    with pytest.raises(DataError, match="holds float64 values; give integers"):
        border_weights(np.zeros((2, 2)))
    with pytest.raises(DataError, match="holds int64 values below 0"):
        separate_touching(np.array([[-1, 2]]))
