"""The energy by its formula, pair by pair, and the whole numbers that the kernels work on."""

from itertools import product

import numpy as np
import pytest

from atrous.errors import AtrousError
from atrous.refine import graph_cut, icm, potts_energy, trws
from atrous.refine.named import option_names
from atrous.refine.potts import PottsOptions, potts, whole


def scene(shape: tuple[int, ...], classes: int, channels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = np.moveaxis(rng.dirichlet(np.ones(classes), shape), -1, 0).astype(np.float32)
    return p, rng.integers(0, 256, (*shape, channels)).astype(np.uint8)


def by_formula(labels, p, image, smoothness, neighbours, spacing):  # type: ignore[no-untyped-def]
    """Every two pixels once, all in Python's floats."""
    places = list(product(*map(range, labels.shape)))
    pairs = []
    for number, one in enumerate(places):
        for other in places[number + 1 :]:
            step = np.abs(np.subtract(one, other))
            if step.max() == 1 and (neighbours in (8, 26) or step.sum() == 1):
                square = float(((image[one].astype(float) - image[other].astype(float)) ** 2).sum())
                pairs.append((one, other, square, float(np.linalg.norm(step * spacing))))
    beta = float(np.mean([square for *_, square, _ in pairs])) or 1.0
    unary = -sum(np.log(max(p[(labels[one], *one)], 1e-5)) for one in places)
    cost = sum(
        smoothness * np.exp(-square / (2 * beta)) * min(spacing) / distance
        for one, other, square, distance in pairs
        if labels[one] != labels[other]
    )
    return unary + cost


@pytest.mark.parametrize(
    "shape, neighbours, spacing",
    [
        ((4, 5), 4, (1, 1)),
        ((4, 5), 8, (1, 1)),
        ((4, 3), 8, (2.0, 0.5)),
        ((2, 3, 3), 6, (3.0, 1, 1)),
        ((2, 3, 3), 26, (5.0, 0.8, 1)),
    ],
)
def test_energy_by_its_formula(shape: tuple[int, ...], neighbours: int, spacing: tuple[float, ...]) -> None:
    p, image = scene(shape, 3, 2, 0)
    options = {"smoothness": 1.7, "neighbours": neighbours, "spacing": spacing}
    for seed in range(5):
        labels = np.random.default_rng(seed).integers(0, 3, shape)
        expected = by_formula(labels, p, image, 1.7, neighbours, spacing)
        assert potts_energy(labels, p, image, **options) == pytest.approx(expected, rel=1e-6)


def test_clip_bounds_the_cost_of_a_pixel() -> None:
    p = np.array([1.0, 0.0]).reshape(2, 1, 1)
    assert potts_energy(np.ones((1, 1), int), p, clip=1e-3) == pytest.approx(-np.log(1e-3))


def test_range_and_type_of_the_image_do_not_matter_but_a_given_beta_does() -> None:
    p, image = scene((6, 7), 3, 3, 1)
    labels = p.argmax(0)
    first = potts_energy(labels, p, image)
    assert potts_energy(labels, p, (image.astype(np.float64) - 100) / 7) == pytest.approx(first, rel=1e-5)
    assert potts_energy(labels, p, image.astype(np.uint16) * 200) == pytest.approx(first, rel=1e-5)
    assert potts_energy(labels, p, image, beta=1.0) < first - 0.1


def test_constant_image_is_as_none() -> None:
    p, image = scene((5, 5), 4, 1, 2)
    assert potts_energy(p.argmin(0), p, np.full_like(image, 9)) == potts_energy(p.argmin(0), p)


@pytest.mark.parametrize("shape, neighbours", [((5, 4), 8), ((1, 6), 4), ((3, 2, 4), 26)])
def test_whole_numbers_give_the_same_energy(shape: tuple[int, ...], neighbours: int) -> None:
    p, image = scene(shape, 3, 1, 3)
    model = potts(p, image, neighbours=neighbours, smoothness=2.0)
    grid = whole(model)
    labels = np.random.default_rng(0).integers(0, 3, shape)
    flat, half = grid.padded(labels), len(grid.steps) // 2
    total = sum(int(grid.unary[flat[i], i]) for i in np.flatnonzero(grid.inner()))
    for i in np.flatnonzero(grid.inner()):
        total += sum(int(grid.weights[i, k]) for k in range(half) if flat[i + grid.steps[k]] != flat[i])
    assert total / grid.scale == pytest.approx(model.energy(labels), rel=1e-6)
    assert (grid.degree[~grid.inner()] == 0).all()
    assert grid.degree.sum() == 2 * grid.weights.sum()


METHODS = {"graph_cut": graph_cut, "icm": icm, "trws": trws}


@pytest.mark.parametrize("method", METHODS)
def test_options_are_those_of_the_model(method: str) -> None:
    """Every one reaches it: each, given out of range, is told; another name is refused."""
    options = [name for name in option_names(potts) if name not in ("probabilities", "image")]
    assert list(PottsOptions.__annotations__) == options
    assert set(options) <= set(option_names(METHODS[method]))
    for name in options:
        with pytest.raises(AtrousError, match=f"{name} is"):
            METHODS[method](GOOD, IMAGE, **{name: (-1.0,) if name == "spacing" else -1})
    with pytest.raises(TypeError, match="smothness"):
        METHODS[method](GOOD, IMAGE, smothness=1.0)


GOOD = np.full((3, 4, 5), 1 / 3, np.float32)
IMAGE = np.zeros((4, 5, 3), np.uint8)
NAN = np.where(np.arange(60).reshape(3, 4, 5) == 7, np.nan, GOOD)
BAD = {
    "other size": ((GOOD, IMAGE[:3]), {}, "4 x 5"),
    "channels first": ((GOOD, np.moveaxis(IMAGE, -1, 0)), {}, "channels last"),
    "nan probability": ((NAN, IMAGE), {}, "nan"),
    "nan image": ((GOOD, np.full((4, 5), np.nan)), {}, "nan or infinite"),
    "logits": ((GOOD * 9, IMAGE), {}, "softmax"),
    "whole probabilities": ((GOOD.astype(int), IMAGE), {}, "floats"),
    "one class": ((GOOD[:1], IMAGE), {}, "1 class"),
    "no pixel": ((GOOD[:, :0], IMAGE[:0]), {}, "no pixel"),
    "70,000 labels": ((np.zeros((70_000, 1, 1), np.float32), IMAGE[:1, :1]), {}, "70,000"),
    "labels for probabilities": ((GOOD[0], IMAGE), {}, r"\(K, H, W\)"),
    "negative weight": ((GOOD, IMAGE), {"smoothness": -1}, "smoothness is -1"),
    "weight nan": ((GOOD, IMAGE), {"smoothness": np.nan}, "smoothness is nan"),
    "neighbours": ((GOOD, IMAGE), {"neighbours": 6}, r"\(4, 8\)"),
    "spacing of two": ((GOOD[:, None], IMAGE[None]), {"spacing": (1, 1)}, "3 numbers"),
    "no spacing": ((GOOD, IMAGE), {"spacing": (0, 1)}, "above 0"),
    "beta": ((GOOD, IMAGE), {"beta": 0}, "beta is 0"),
    "clip": ((GOOD, IMAGE), {"clip": 0}, "clip is 0"),
    "text": ((GOOD, np.full((4, 5), "a")), {}, "expected numbers"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_fit_is_told(method: str, case: str) -> None:
    arguments, options, words = BAD[case]
    with pytest.raises(AtrousError, match=words):
        METHODS[method](*arguments, **options)


@pytest.mark.parametrize("labels", [np.zeros((5, 4), int), np.full((4, 5), 3), np.full((4, 5), -1), np.zeros((4, 5))])
def test_labels_that_have_no_energy(labels: np.ndarray) -> None:
    with pytest.raises(AtrousError, match="labels"):
        potts_energy(labels, GOOD, IMAGE)
