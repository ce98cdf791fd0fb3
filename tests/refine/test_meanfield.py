import exact_field
import numpy as np
import pytest

from atrous.errors import DataError
from atrous.ops.lattice import build_lattice
from atrous.ops.vectors import has_half
from atrous.refine import Kernel, MeanField, meanfield

LINE = np.array([[0.0], [1.0], [2.5]])
UNARY = np.array([[0.2, 0.9, 0.5], [1.0, 0.4, 0.6]])
GOLDEN = {  # probability of label 0 after 0, 1 and 5 iterations, w = 2
    ("none", True): [[0.780261, 0.378364, 0.518561], [0.941225, 0.752263, 0.657494]],
    ("none", False): [[0.624171, 0.498335, 0.493591], [0.680567, 0.500728, 0.526744]],
    ("symmetric", True): [[0.749683, 0.383308, 0.524332], [0.812486, 0.457919, 0.554061]],
    ("after", True): [[0.747073, 0.377967, 0.520290], [0.803582, 0.433576, 0.537521]],
}


def world(seed: int = 0, labels: int = 5, pixels: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(unary (K, N), features (N, 2), features (N, 5))."""
    rng = np.random.default_rng(seed)
    unary = rng.normal(0, 2, (labels, pixels))
    return unary, rng.normal(0, 2, (pixels, 2)), rng.normal(0, 0.7, (pixels, 5))


def run(unary: np.ndarray, kernels: list[Kernel], iterations: int, **options: bool) -> np.ndarray:
    field = MeanField(unary, kernels, **options)
    field.run(iterations)
    return field.marginals


@pytest.mark.parametrize("normalisation, self_term", GOLDEN)
def test_golden(normalisation: str, self_term: bool) -> None:
    kernel = Kernel(LINE, 2.0, normalisation, self_term)
    np.testing.assert_allclose(run(UNARY, [kernel], 0, exact=True)[0], [0.689974, 0.377541, 0.524979], atol=1e-6)
    for iterations, expected in zip((1, 5), GOLDEN[normalisation, self_term], strict=True):
        np.testing.assert_allclose(run(UNARY, [kernel], iterations, exact=True)[0], expected, atol=1e-6)


@pytest.mark.parametrize("self_term", [True, False])
@pytest.mark.parametrize("normalisation", ["none", "mean", "before", "after", "symmetric"])
def test_equals_brute_force(normalisation: str, self_term: bool) -> None:
    """Potts, a vector and a full matrix that is not symmetric, alone and together."""
    unary, near, wide = world()
    rng = np.random.default_rng(1)
    vector, matrix = -rng.random(5), rng.normal(size=(5, 5))
    scale = 0.005 if normalisation == "none" else 0.5
    compatibilities = [
        (2 * scale, -2 * scale * np.eye(5)),
        (scale * vector, scale * np.diag(vector)),
        (matrix * scale, matrix * scale),
    ]
    for chosen in ([0, 0], [1], [2], [0, 2, 1]):
        kernels, terms = [], []
        for i, which in enumerate(chosen):
            features = (near, wide)[i % 2]
            kernels.append(Kernel(features, compatibilities[which][0], normalisation, self_term))
            k = exact_field.normalised(exact_field.kernel(features), normalisation, self_term)
            terms.append((k, compatibilities[which][1]))
        field = MeanField(unary, kernels, exact=True)
        field.run(3)
        expected = exact_field.field(unary, terms, 3)
        np.testing.assert_allclose(field.marginals, expected, atol=1e-6)
        assert field.free_energy() == pytest.approx(exact_field.free_energy(expected, unary, terms), rel=1e-5)


@pytest.mark.parametrize("labels", [2, 7, 8, 21, 24, 33, 50])
def test_any_number_of_labels(labels: int) -> None:
    """Padded to whole vectors, walked by three or by one: the lattice's messages against its own filter."""
    unary, near, wide = world(labels=labels)
    kernels = [Kernel(near, 1.5, "none", False), Kernel(wide, 0.7, "after")]
    q = exact_field.softmax(-unary).T
    lattices = build_lattice(near), build_lattice(wide)
    messages = 1.5 * (lattices[0].filter(q) - lattices[0].own[:, None] * q)
    messages += 0.7 * lattices[1].filter(q) / lattices[1].filter(np.ones((120, 1)))
    np.testing.assert_allclose(run(unary, kernels, 1), exact_field.softmax(-unary + messages.T), atol=2e-6)


def test_relabelled() -> None:
    unary, near, wide = world(labels=6)
    order = np.random.default_rng(2).permutation(6)
    matrix = np.random.default_rng(3).normal(size=(6, 6)) / 3
    kernels = [Kernel(near, 2.0), Kernel(wide, matrix)]
    moved = [Kernel(near, 2.0), Kernel(wide, matrix[np.ix_(order, order)])]
    np.testing.assert_allclose(run(unary[order], moved, 5), run(unary, kernels, 5)[order], atol=1e-5)


def test_potts_is_minus_the_identity() -> None:
    unary, near, _ = world()
    forms = [run(unary, [Kernel(near, c)], 5) for c in (2.0, -2 * np.ones(5), -2 * np.eye(5))]
    np.testing.assert_allclose(forms[1], forms[0], atol=1e-5)
    np.testing.assert_allclose(forms[2], forms[0], atol=1e-5)


def test_nothing_to_do() -> None:
    """No weight, no kernel, or all alike: the softmax of the unary energies, whatever is added to them."""
    unary, near, _ = world()
    alone = exact_field.softmax(-unary)
    np.testing.assert_allclose(run(unary, [Kernel(near, 0.0)], 3), alone, atol=1e-6)
    np.testing.assert_allclose(run(unary, [], 3), alone, atol=1e-6)
    np.testing.assert_allclose(run(np.zeros((4, 9)), [Kernel(np.zeros((9, 2)), 5.0)], 3), 0.25, atol=1e-6)
    shifted = run(unary + np.arange(120), [Kernel(near, 2.0)], 3)
    np.testing.assert_allclose(shifted, run(unary, [Kernel(near, 2.0)], 3), atol=1e-4)


def test_more_weight_fewer_borders() -> None:
    y, x = np.mgrid[:30, :30]
    unary = np.random.default_rng(0).normal(size=(3, 900))
    places = np.stack([x, y], -1).reshape(-1, 2) / 2
    borders = []
    for weight in (0.0, 4.0, 16.0):
        labels = run(unary, [Kernel(places, weight)], 5).argmax(0).reshape(30, 30)
        borders.append((labels[1:] != labels[:-1]).sum())
    assert borders[0] > 1.2 * borders[1] > 4 * borders[2]


def test_early_end_and_monitor() -> None:
    unary, near, _ = world()
    energies: list[tuple[int, float]] = []
    field = MeanField(unary, [Kernel(near, 1.0)])
    took = field.run(200, tolerance=1e-4, monitor=lambda *seen: energies.append(seen))
    assert 2 < took < 200
    assert [i for i, _ in energies] == list(range(1, took + 1))
    assert energies[-1][1] < energies[0][1]
    before = field.marginals
    field.run(1)
    assert np.abs(field.marginals - before).max() < 1e-4
    field.marginals = before
    assert field.free_energy() == pytest.approx(energies[-1][1])


@pytest.mark.skipif(not has_half(), reason="this processor converts no float16")
@pytest.mark.parametrize("normalisation", ["none", "mean", "before", "after", "symmetric"])
def test_half_is_near(normalisation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 pixels alike: sums far beyond what float16 holds, unless they are scaled."""
    monkeypatch.setattr(meanfield, "CACHED", 0)
    unary = np.random.default_rng(0).normal(size=(3, 10_000))
    features = np.zeros((10_000, 5))
    kernel = Kernel(features, 3.0 if normalisation != "none" else 1e-3, normalisation)
    full, half = (run(unary, [kernel], 2, half=half) for half in (False, True))
    assert 0 < np.abs(full - half).max() < 3e-3


def test_threads_agree() -> None:
    unary, near, wide = world(pixels=1000)
    kernels = [Kernel(near, 2.0), Kernel(wide, 1.0)]
    np.testing.assert_array_equal(run(unary, kernels, 5, threads=1), run(unary, kernels, 5, threads=3))


@pytest.mark.parametrize(
    "unary, kernel, words",
    [
        (np.zeros((1, 4)), Kernel(np.zeros((4, 2)), 1.0), "2 to 65536 labels"),
        (np.zeros((2, 0)), Kernel(np.zeros((0, 2)), 1.0), "expected \\(labels, pixels\\)"),
        (np.zeros((2, 4)), Kernel(np.zeros((5, 2)), 1.0), "5 pixels"),
        (np.zeros((2, 4)), Kernel(np.zeros((4, 2)), np.ones(3)), "compatibility has shape \\(3,\\)"),
        (np.zeros((2, 4)), Kernel(np.zeros((4, 2)), 1.0, "symetric"), "did you mean 'symmetric'"),  # type: ignore[arg-type]
    ],
)
def test_bad_input(unary: np.ndarray, kernel: Kernel, words: str) -> None:
    with pytest.raises(DataError, match=words):
        MeanField(unary, [kernel])
