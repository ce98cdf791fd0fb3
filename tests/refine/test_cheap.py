"""Filters against sums by hand and a dense solve; components against scipy's on whole maps."""

from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from atrous.errors import AtrousError
from atrous.refine import as_refiner, bilateral_solver, fill_holes, guided_filter, keep_largest, minimum_size


def scene(shape: tuple[int, ...], classes: int, channels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = np.moveaxis(rng.dirichlet(np.ones(classes), shape), -1, 0).astype(np.float32)
    return p, rng.integers(0, 256, (*shape, channels)).astype(np.uint8)


def guided_by_hand(p: np.ndarray, image: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """Window by window in float64: fit a, b in each, then average over the windows that hold a pixel."""
    shape, guide = p.shape[1:], image.astype(float)
    guide = (guide - guide.min()) / (guide.max() - guide.min())
    out = np.zeros_like(p, dtype=float)
    windows = np.zeros(shape)
    for centre in np.ndindex(*shape):
        box = tuple(slice(max(c - radius, 0), c + radius + 1) for c in centre)
        values = guide[box].reshape(-1, guide.shape[-1])
        spread = values - values.mean(0)
        matrix = spread.T @ spread / len(values) + eps * np.eye(guide.shape[-1])
        windows[box] += 1
        for k in range(len(p)):
            inside = p[(k, *box)].reshape(-1).astype(float)
            slope = np.linalg.solve(matrix, spread.T @ (inside - inside.mean()) / len(values))
            out[(k, *box)] += guide[box] @ slope + inside.mean() - values.mean(0) @ slope
    return out / windows


@pytest.mark.parametrize("shape, channels", [((9, 11), 3), ((8, 7), 1), ((4, 5, 6), 2)])
@pytest.mark.parametrize("radius", [1, 3])
def test_guided_filter_by_hand(shape: tuple[int, ...], channels: int, radius: int) -> None:
    p, image = scene(shape, 3, channels, 0)
    expected = np.maximum(guided_by_hand(p, image, radius, 0.01), 0)
    found = guided_filter(p, image, radius=radius, eps=0.01)
    assert found.dtype == np.float32
    assert np.abs(found - expected / expected.sum(0)).max() < 2e-5


def test_guided_filter_follows_an_edge_and_smooths_elsewhere() -> None:
    image = np.zeros((40, 40), np.uint16)
    image[:, 20:] = 4000
    rng = np.random.default_rng(0)
    first = np.clip((image > 0) * 0.6 + 0.2 + rng.normal(0, 0.1, image.shape), 0, 1)
    p = np.stack([1 - first, first]).astype(np.float32)
    q = guided_filter(p, image, radius=4)[1]
    assert q[:, :20].std() < 0.3 * p[1][:, :20].std()
    assert q[:, 20].mean() - q[:, 19].mean() > 0.55


def dense_solution(p, image, spatial, colour, smoothness, sure):  # type: ignore[no-untyped-def]
    """The paper's algorithm with full matrices and a direct solve, vertices found pair by pair."""
    shape = p.shape[1:]
    places = np.stack(np.indices(shape), -1).reshape(-1, len(shape)) / spatial
    values = image.reshape(len(places), -1).astype(float)
    cells = np.rint(np.concatenate([places, (values - values.min(0)) / colour], 1)).astype(int)
    vertices = sorted(set(map(tuple, cells)))
    splat = np.array([[tuple(cell) == vertex for cell in cells] for vertex in vertices], float)
    apart = np.abs(np.array(vertices)[:, None] - np.array(vertices)[None]).sum(-1)
    blur = 2.0 * cells.shape[1] * (apart == 0) + (apart == 1)
    weight, mass = np.ones(len(vertices)), splat.sum(1)
    for _ in range(20):
        weight = np.sqrt(weight * mass / (blur @ weight))
    mass = weight * (blur @ weight)
    system = smoothness * (np.diag(mass) - weight[:, None] * blur * weight) + np.diag(splat @ sure.reshape(-1))
    solved = [splat.T @ np.linalg.solve(system, splat @ (sure * one).reshape(-1)) for one in p.astype(float)]
    return np.stack(solved).reshape(p.shape)


@pytest.mark.parametrize("shape, channels", [((8, 9), 3), ((10, 6), 1), ((3, 5, 4), 1)])
def test_bilateral_solver_against_a_dense_solve(shape: tuple[int, ...], channels: int) -> None:
    p, image = scene(shape, 3, channels, 1)
    sure = np.random.default_rng(2).uniform(0.1, 1, shape)
    found = bilateral_solver(p, image, spatial=2.0, colour=60.0, smoothness=4.0, confidence=sure, iterations=200)
    expected = dense_solution(p, image, 2.0, 60.0, 4.0, sure)
    assert np.abs(found - expected / expected.sum(0)).max() < 1e-4
    by_default = bilateral_solver(p, image, spatial=2.0, colour=60.0, smoothness=4.0, iterations=200)
    expected = dense_solution(p, image, 2.0, 60.0, 4.0, p.max(0))
    assert np.abs(by_default - expected / expected.sum(0)).max() < 1e-4


def test_bilateral_solver_heeds_confidence_and_edges() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 180
    p = np.full((2, 32, 32), 0.5, np.float32)
    p[:, 5, 5], p[:, 20, 25] = (1, 0), (0, 1)
    sure = np.zeros((32, 32))
    sure[5, 5] = sure[20, 25] = 1
    q = bilateral_solver(p, image, confidence=sure, smoothness=1.0, iterations=400)
    assert (q[0][:, :16] > 0.9).all()
    assert (q[1][:, 16:] > 0.9).all()


FILTERS = {"guided": guided_filter, "bilateral": bilateral_solver}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_give_probabilities_and_permute_with_the_labels(name: str) -> None:
    p, image = scene((13, 12), 4, 3, 3)
    refiner = as_refiner(FILTERS[name])
    q = refiner(image, p)
    assert q.shape == p.shape
    assert q.min() >= 0
    assert np.abs(q.sum(0) - 1).max() < 1e-5
    order = [2, 0, 3, 1]
    assert np.abs(refiner(image, p[order]) - q[order]).max() < 1e-5
    certain = np.zeros((2, 5, 5), np.float32)
    certain[1] = 1
    assert np.abs(refiner(np.zeros((5, 5)), certain) - certain).max() < 1e-5


P = np.full((3, 4, 5), 1 / 3, np.float32)
IMAGE = np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(
    "arguments, words",
    [
        ((P, IMAGE[:3]), "4 x 5"),
        ((P * np.nan, IMAGE), "nan"),
        ((P, IMAGE * np.float32("nan")), "nan"),
        ((P[:1], IMAGE), "1 class"),
        ((P[:, :, :0], IMAGE[:, :0]), "no pixel"),
        ((np.zeros((70_000, 1, 1), np.float32), IMAGE[:1, :1]), "70,000"),
    ],
)
def test_what_does_not_fit_is_told(name: str, arguments: tuple[np.ndarray, np.ndarray], words: str) -> None:
    with pytest.raises(AtrousError, match=words):
        FILTERS[name](*arguments)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: guided_filter(P, IMAGE, radius=0), "radius is 0"),
        (lambda: guided_filter(P, IMAGE, eps=-1), "eps is -1"),
        (lambda: guided_filter(P, np.zeros((4, 5, 17))), "17 channels"),
        (lambda: bilateral_solver(P, IMAGE, spatial=-1), "spatial is -1"),
        (lambda: bilateral_solver(P, IMAGE, colour=0), "colour is 0"),
        (lambda: bilateral_solver(P, IMAGE, smoothness=-2), "smoothness is -2"),
        (lambda: bilateral_solver(P, IMAGE, confidence=-np.ones((4, 5))), "below 0"),
        (lambda: bilateral_solver(P, IMAGE, confidence=np.ones((5, 4))), r"\(4, 5\)"),
        (lambda: bilateral_solver(P, np.random.default_rng(0).random((4, 5, 40)), colour=1e-3), "fewer channels"),
        (lambda: keep_largest(np.array([[0, 70_000]])), "65535"),
        (lambda: keep_largest(np.array([[0, -1]])), "-1"),
        (lambda: keep_largest(np.zeros((3, 3))), "float64"),
        (lambda: fill_holes(np.zeros((0, 3), int)), r"\(0, 3\)"),
        (lambda: minimum_size(np.zeros((3, 3), int), 0), "size is 0"),
        (lambda: keep_largest(np.zeros((3, 3), np.uint8), background=300), "background is 300"),
    ],
)
def test_options_that_do_not_fit(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AtrousError, match=words):
        call()


def blobs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Label map of three classes and background, uint8, with islands and holes of all sizes."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((4, *shape)), (0, *[0.8] * len(shape)))
    return field.argmax(0).astype(np.uint8)


def by_scipy(labels: np.ndarray, corners: bool, stays) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Whole-map components; stays(sizes, k) says whether the k-th (from 0) does."""
    structure = np.ones((3,) * labels.ndim) if corners else None
    out = labels.copy()
    for label in (1, 2, 3):
        parts, count = ndimage.label(labels == label, structure)
        sizes = [(parts == k + 1).sum() for k in range(count)]
        for k in range(count):
            if not stays(sizes, k):
                out[parts == k + 1] = 0
    return out


@pytest.mark.parametrize("shape, corners", list(product([(24, 30), (7, 9, 8)], [True, False])))
def test_components_against_whole_maps(shape: tuple[int, ...], corners: bool) -> None:
    for seed in range(3):
        labels = blobs(shape, seed)
        largest = keep_largest(labels, corners=corners)
        assert (largest == by_scipy(labels, corners, lambda sizes, k: k == int(np.argmax(sizes)))).all()
        assert largest.dtype == labels.dtype
        sized = minimum_size(labels, 6, corners=corners)
        assert (sized == by_scipy(labels, corners, lambda sizes, k: sizes[k] >= 6)).all()
        assert (sized != labels).any()
        assert (minimum_size(labels, 1, corners=corners) == labels).all()


def test_only_chosen_classes_are_touched() -> None:
    labels = blobs((24, 30), 0)
    out = keep_largest(labels, classes=[2])
    assert (out[labels != 2] == labels[labels != 2]).all()
    assert ndimage.label(out == 2, np.ones((3, 3)))[1] == 1


def test_without_a_background_the_nearest_label_takes_over() -> None:
    labels = blobs((24, 30), 1)
    out = minimum_size(labels, 8, background=None)
    gone = np.zeros(labels.shape, bool)
    for label in range(4):
        parts, count = ndimage.label(labels == label, np.ones((3, 3)))
        for k in range(1, count + 1):
            if (parts == k).sum() < 8:
                gone |= parts == k
    assert gone.any()
    assert (out[~gone] == labels[~gone]).all()
    stay = np.argwhere(~gone)
    for place in np.argwhere(gone):
        far = ((stay - place) ** 2).sum(1)
        assert out[tuple(place)] in labels[tuple(stay[far == far.min()].T)]


@pytest.mark.parametrize("shape", [(24, 30), (7, 9, 8)])
def test_holes_against_scipy(shape: tuple[int, ...]) -> None:
    for seed in range(3):
        binary = (blobs(shape, seed) > 0).astype(np.uint8)
        assert (fill_holes(binary) == ndimage.binary_fill_holes(binary)).all()


def test_holes_of_classes_within_classes() -> None:
    labels = np.zeros((11, 11), int)
    labels[1:10, 1:10] = 1
    labels[2:9, 2:9] = 0
    labels[3:8, 3:8] = 2
    labels[4:7, 4:7] = 0
    expected = np.zeros((11, 11), int)
    expected[1:10, 1:10] = 1
    expected[3:8, 3:8] = 2
    assert (fill_holes(labels) == expected).all()
    expected[2:9, 2:9][labels[2:9, 2:9] == 0] = 0
    expected[4:7, 4:7] = 2
    assert (fill_holes(labels, most=9) == expected).all()
    assert (fill_holes(labels, classes=[2])[5] == [0, 1, 0, 2, 2, 2, 2, 2, 0, 1, 0]).all()
