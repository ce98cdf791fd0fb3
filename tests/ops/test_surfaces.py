"""Surfaces of labels and distances between them, against all faces and all pairs."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.ops import surfaces
from atrous.ops.distance import surface, surface_distances
from atrous.ops.surfaces import distances_between, surfaces_of


def faces(labels: np.ndarray, label: int) -> list[tuple[int, ...]]:
    """The surface by the definition, voxel by voxel."""
    found = []
    for place in np.ndindex(labels.shape):
        around = [
            tuple(p + step * (a == axis) for a, p in enumerate(place))
            for axis, step in itertools.product(range(labels.ndim), (-1, 1))
        ]
        inside = [all(0 <= p < n for p, n in zip(there, labels.shape, strict=True)) for there in around]
        if labels[place] == label and not all(
            ok and labels[there] == label for ok, there in zip(inside, around, strict=True)
        ):
            found.append(place)
    return found


def all_pairs(here: np.ndarray, there: np.ndarray, spacing: Any) -> np.ndarray:
    apart = (here[:, None] - there[None].astype(float)) * np.asarray(spacing)
    return np.sqrt((apart**2).sum(-1)).min(1)


@st.composite
def volumes(draw: st.DrawFn) -> np.ndarray:
    """One to three axes, one to four labels in blocks: empty, full, of one voxel, at the border."""
    shape = draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    block = draw(st.integers(1, 4))
    coarse = rng.integers(0, draw(st.integers(1, 4)), [-(-n // block) for n in shape])
    labels = coarse[tuple(np.ix_(*(np.arange(n) // block for n in shape)))]
    if draw(st.booleans()):
        labels = np.where(labels == 0, 0, 9)
        labels[tuple(n // 2 for n in shape)] = 1
    return labels.astype(draw(st.sampled_from([np.uint8, np.int64, np.uint16, np.int8])))


@settings(deadline=None, max_examples=150)
@given(volumes())
def test_surfaces_have_a_face_outside(labels: np.ndarray) -> None:
    classes = [9, 0, 1, 3]
    for label, found in zip(classes, surfaces_of(labels, classes), strict=True):
        assert [tuple(place) for place in found] == faces(labels, label)
        assert (surface(labels == label).nonzero() == found.T).all(), "as scipy's erosion has it"


@settings(deadline=None, max_examples=150)
@given(volumes(), st.integers(0, 2**32), st.lists(st.sampled_from([0.3, 0.8, 1.0, 3.0, 50.0]), min_size=3, max_size=3))
@pytest.mark.parametrize("lines", [1, 9, 600])
def test_distances_against_all_pairs(lines: int, labels: np.ndarray, seed: int, spacing: list[float]) -> None:
    """With few lines the k-d tree has to help."""
    spacing = spacing[: labels.ndim]
    other = np.random.default_rng(seed).permutation(labels.ravel()).reshape(labels.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surfaces, "LINES", lines)
        for here, there in itertools.product(surfaces_of(labels, [0, 1, 9]), surfaces_of(other, [0, 1, 9])):
            found = distances_between(here, there, spacing)
            wanted = all_pairs(here, there, spacing) if len(there) and len(here) else np.full(len(here), np.inf)
            np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.8, 0.8), (0.1, 9.0, 1.0), (0.5, 0.5, 40.0)])
def test_far_surfaces_in_a_large_volume(spacing: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two balls apart, and a stray voxel: beyond the lines, beyond the other's box, and without a table of lines."""
    grid = np.stack(np.meshgrid(*(np.arange(60),) * 3, indexing="ij"))
    one, other = (np.linalg.norm(grid - np.reshape(c, (3, 1, 1, 1)), axis=0) < 8 for c in ((12, 14, 40), (40, 45, 20)))
    one[59, 0, 59] = True
    here, there = np.argwhere(surface(one)), np.argwhere(surface(other))
    forth, back = surface_distances(one, other, spacing)
    np.testing.assert_allclose(forth, all_pairs(here, there, spacing), rtol=1e-12)
    np.testing.assert_allclose(back, all_pairs(there, here, spacing), rtol=1e-12)
    monkeypatch.setattr(surfaces, "MOST_LINES", 0)
    np.testing.assert_allclose(surface_distances(one, other, spacing)[0], forth, rtol=1e-12)


def test_any_labels_and_layouts() -> None:
    """Beyond 8 and 16 bits, below 0, all 256 at once, turned and strided arrays."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 3, (4, 5, 6))
    wanted = [faces(small, k) for k in range(3)]
    for names in ([0, 1, 2], [-5, 2**40, 70000], [300, 0, 2**62], [1, 256, 255]):
        named = np.array(names)[small]
        for laid in (named, np.asfortranarray(named), named.repeat(2, axis=2)[..., ::2], named[::-1].copy()[::-1]):
            for found, surface_ in zip(surfaces_of(laid, names), wanted, strict=True):
                assert [tuple(place) for place in found] == surface_, names
    assert len(surfaces_of(np.full((2, 2), 2**64 - 1, np.uint64), [5, 2**62])[1]) == 0
    assert [len(one) for one in surfaces_of(np.arange(256, dtype=np.uint8)[None], range(256))] == [1] * 256
    signed = (small - 1).astype(np.int8)
    assert [[tuple(place) for place in one] for one in surfaces_of(signed, [-1, 0, 1])] == wanted
    assert surfaces_of(small, []) == []
    assert [one.shape for one in surfaces_of(np.zeros((0, 3), np.uint8), [0])] == [(0, 2)]


def test_wrong_arguments() -> None:
    flat, place = np.zeros((2, 2), np.uint8), np.zeros((1, 2), np.int32)
    with pytest.raises(ValueError, match="float64"):
        surfaces_of(flat.astype(float), [0])
    with pytest.raises(ValueError, match="1 to 3 axes"):
        surfaces_of(np.zeros((1, 1, 1, 1), int), [0])
    for classes in ([1, 1], range(70000), [2**64]):
        with pytest.raises(ValueError, match="each once"):
            surfaces_of(flat, classes)
    with pytest.raises(ValueError, match="above 0"):
        distances_between(place, place, (1, 0))
    with pytest.raises(ValueError, match="int32"):
        distances_between(place.astype(np.int64), place, (1, 1))
    with pytest.raises(ValueError, match="order of the volume"):
        distances_between(place, np.array([[1, 0], [0, 0]], np.int32), (1, 1))
    with pytest.raises(ValueError, match="order of the volume"):
        distances_between(place, np.array([[0, 1], [0, 0]], np.int32), (1, 1))
