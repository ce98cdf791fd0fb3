"""Against the torch version, which has goldens of its own, against exact sums, and by what the algorithm promises."""

import exact_field
import numpy as np
import pytest
import torch

from atrous.errors import DataError
from atrous.ops import lattice_torch
from atrous.ops.lattice import build_lattice, exact_lattice
from atrous.ops.lattice_build import simplices
from atrous.ops.vectors import has_half


def cloud(d: int, n: int = 200) -> np.ndarray:
    return (0.6 * np.random.default_rng(d).normal(size=(n, d))).astype(np.float32)


def values(channels: int, n: int = 200) -> np.ndarray:
    return np.random.default_rng(9).normal(size=(n, channels)).astype(np.float32)


def two_tones(size: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """(places (N, 2), colours (N, 3)) of a noisy image, dark left and bright right of a diagonal."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    colours = np.where((x + y < size)[..., None], 60, 180) + rng.normal(0, 8, (size, size, 3))
    return np.stack([x, y], -1).reshape(-1, 2), colours.reshape(-1, 3)


def test_a_point_by_hand() -> None:
    lattice = build_lattice(np.array([[1.3, -0.4]]))
    np.testing.assert_allclose(lattice.weights * 1.25, [[0.350555, 0.498889, 0.150555]], atol=1e-6)
    np.testing.assert_allclose(lattice.filter(np.ones((1, 1))), 0.630623, atol=1e-6)


@pytest.mark.parametrize("d, gain", [(1, 0.833333), (2, 0.9), (3, 0.944444), (5, 0.984848)])
def test_a_point_at_the_origin(d: int, gain: float) -> None:
    assert build_lattice(np.zeros((1, d))).filter(np.ones((1, 1))).item() == pytest.approx(gain, abs=1e-6)


def test_three_points_both_ways() -> None:
    lattice = build_lattice(np.array([[0, 0], [0.5, 0.25], [-1, 1.5]]))
    given = np.array([[1.0, 0], [0, 1], [2, -1]])
    assert len(lattice.rows) == 7
    forth = [[1.253590, 0.542265], [0.876240, 0.658782], [1.437095, -0.718548]]
    back = [[0.9, 0.726795], [0.719060, 0.733504], [1.613890, -0.643825]]
    np.testing.assert_allclose(lattice.filter(given), forth, atol=1e-6)
    np.testing.assert_allclose(lattice.adjoint(given), back, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 8, 21, 50])
@pytest.mark.parametrize("d", range(1, 9))
def test_equals_torch(d: int, channels: int) -> None:
    features, given = cloud(d), values(channels)
    ours, theirs = build_lattice(features), lattice_torch.Lattice(torch.from_numpy(features).double())
    assert len(ours.rows) == theirs.size
    given64 = torch.from_numpy(given).double()
    np.testing.assert_allclose(ours.filter(given), theirs.filter(given64), atol=5e-5)
    np.testing.assert_allclose(ours.adjoint(given), theirs.adjoint(given64), atol=5e-5)


@pytest.mark.parametrize("d", range(1, 9))
def test_weights_are_barycentric(d: int) -> None:
    lattice = build_lattice(5 * cloud(d))
    weights = lattice.weights * (1 + 0.5**d)
    assert weights.min() > -1e-5
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert len(lattice.rows.sources) == 200 * (d + 1)


@pytest.mark.parametrize("d", [1, 2, 3, 5, 8])
def test_own_part_is_what_a_point_alone_gets(d: int) -> None:
    features = cloud(d, 20)
    alone = [build_lattice(one[None]).filter(np.ones((1, 1))).item() for one in features]
    np.testing.assert_allclose(build_lattice(features).own, alone, atol=1e-5)


def test_moved_by_a_lattice_vector() -> None:
    """Elevated, one step along the first axis is (-d, 1, ..., 1) or its like: features that differ by it are alike."""
    d = 2
    axis = np.arange(1, d + 1)
    elevate = np.triu(np.ones((d + 1, d)))
    elevate[axis, axis - 1] = -axis
    elevate = elevate * (np.sqrt(2 / 3) * (d + 1) / np.sqrt(axis * (axis + 1)))
    step = np.linalg.lstsq(elevate, np.array([-2.0, 1, 1]), rcond=None)[0]
    features, given = cloud(d), values(3)
    np.testing.assert_allclose(
        build_lattice(features + 2 * step).filter(given), build_lattice(features).filter(given), atol=1e-3
    )


def test_threads_and_linearity() -> None:
    lattice, given = build_lattice(cloud(5, 3000), threads=3), values(21, 3000)
    alone = build_lattice(cloud(5, 3000), threads=1)
    np.testing.assert_array_equal(lattice.rows.sources, alone.rows.sources)
    one = lattice.filter(given, threads=1)
    np.testing.assert_array_equal(lattice.filter(given, threads=3), one)
    np.testing.assert_allclose(lattice.filter(2 * given + 1), 2 * one + lattice.filter(np.ones((3000, 1))), atol=1e-3)


@pytest.mark.skipif(not has_half(), reason="this processor converts no float16")
@pytest.mark.parametrize("size", [1.0, 1e-6, 1e6])
def test_half(size: float) -> None:
    """Three digits of the largest, whatever the values' size (float16 itself ends at 65,504)."""
    lattice, given = build_lattice(cloud(3, 3000)), size * values(21, 3000)
    exact = lattice.filter(given)
    assert 0 < np.abs(lattice.filter(given, half=True) - exact).max() < 2e-3 * np.abs(exact).max()


@pytest.mark.parametrize(
    "widths, most", [((1, None), 0.03), ((3, None), 0.03), ((5, None), 0.03), ((80, 13), 0.1), ((67, 3), 0.1)]
)
def test_near_the_gaussian(widths: tuple[float, float | None], most: float) -> None:
    """Relative L2 error of normalised filters, tabled for such an image: 0.5 to 2 % of places, 1 to 8 with colours."""
    places, colours = two_tones()
    sxy, srgb = widths
    features = places / sxy if srgb is None else np.concatenate([places / sxy, colours / srgb], 1)
    given = np.random.default_rng(1).random((len(places), 3))
    ones = np.ones((len(places), 1))
    lattice, k = build_lattice(features), exact_field.kernel(features)
    after = lattice.filter(given) / lattice.filter(ones)
    exact = k @ given / (k @ ones)
    assert np.linalg.norm(after - exact) < most * np.linalg.norm(exact)
    root = np.sqrt(lattice.filter(ones))
    symmetric = lattice.filter(given / root) / root
    exact = k @ (given / np.sqrt(k @ ones)) / np.sqrt(k @ ones)
    assert np.linalg.norm(symmetric - exact) < most * np.linalg.norm(exact)


def test_exact_lattice() -> None:
    features, given = cloud(4, 50), values(5, 50)
    np.testing.assert_allclose(exact_lattice(features).filter(given), exact_field.kernel(features) @ given, atol=1e-5)
    with pytest.raises(DataError, match="8192"):
        exact_lattice(np.zeros((8193, 2)))


def test_features_too_wide_for_digits() -> None:
    """Keys that do not fit 63 bits are hashed: the same lattice in another order."""
    features = np.concatenate([cloud(8), cloud(8)[:1] + 1e7])
    far, near = build_lattice(features), build_lattice(features[:200])
    given = np.ones((201, 1))
    np.testing.assert_allclose(far.filter(given)[:200], near.filter(given[:200]), atol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("far", [2.0**17, 2.0**22, 2.0**29])
def test_far_from_zero_it_is_as_exact_as_near_it(d: int, far: float) -> None:
    """In float32 weights left 0..1 there, from 2^18 on."""
    features = (cloud(d) + far * np.random.default_rng(d).integers(-1, 2, (200, d))).astype(np.float32)
    ours, theirs = build_lattice(features), lattice_torch.Lattice(torch.from_numpy(features).double())
    assert ours.weights.min() >= -1e-6
    assert ours.weights.max() * (1 + 0.5**d) <= 1 + 1e-5
    given = values(3)
    expected = theirs.filter(torch.from_numpy(given).double())
    np.testing.assert_allclose(ours.filter(given), expected, atol=5e-5)
    as_float32 = lattice_torch.Lattice(torch.from_numpy(features)).filter(torch.from_numpy(given))
    np.testing.assert_allclose(as_float32, expected, atol=5e-5)


@pytest.mark.parametrize("d", [1, 2, 5, 8])
@pytest.mark.parametrize("size", [1e7, 1e9])
def test_features_too_large_for_float32_stay_within_the_tables(d: int, size: float) -> None:
    """The kernel in plain Python, which tells an index out of range: rounding leaves sums far from zero."""
    features = (size * np.random.default_rng(d).uniform(-1, 1, (50, d))).astype(np.float32)
    steps = np.append(np.arange(1, d + 1), -np.arange(1, d + 1).sum())
    keys, weights, own = np.empty((50, d + 1), np.int64), np.empty((50, d + 1), np.float32), np.empty(50, np.float32)
    with np.errstate(over="ignore"):
        simplices.py_func(features, steps, keys, weights, own, 0, 50)
    found = build_lattice(features)
    assert found.vertices.max() == len(found.rows) - 1
    assert np.isfinite(found.filter(np.ones((50, 1)))).all()


@pytest.mark.parametrize(
    "features, words",
    [
        (np.zeros((0, 2)), "points >= 1"),
        (np.zeros((3, 9)), "1..8"),
        (np.zeros(3), "expected"),
        (np.array([[0, np.nan]]), "not finite"),
        (np.array([[0, 2.0**30]]), "2\\^30.*larger widths"),
        (np.array([[0, -np.inf]]), "not finite"),
    ],
)
def test_bad_features(features: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        build_lattice(features)


def test_values_of_another_count() -> None:
    with pytest.raises(DataError, match=r"expected \(200, channels\)"):
        build_lattice(cloud(2)).filter(np.zeros((3, 2)))
