"""Where voxels lie: axis orders, ways, oblique grids; what is turned comes back, and copies turn into one."""

from itertools import permutations, product

import numpy as np
import pytest

from atrous.io.geometry import Geometry, Turn, standard

TURNS = [Turn(axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)]  # type: ignore[arg-type]


def oblique(seed: int) -> Geometry:
    """A grid whose axes are turned at random, of uneven spacing; some have a mirror in them."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return Geometry(tuple(rng.uniform(0.3, 6, 3)), tuple(rng.normal(0, 200, 3)), tuple(map(tuple, turn)))  # type: ignore[arg-type]


def half_way(axis: int, degrees: float) -> Geometry:
    """A grid turned about a world axis."""
    angle, (one, other) = np.radians(degrees), [k for k in range(3) if k != axis]
    turn = np.eye(3)
    turn[one, one] = turn[other, other] = np.cos(angle)
    turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
    return Geometry((3.0, 1.0, 0.7), (1.0, 2.0, 3.0), tuple(map(tuple, turn[:, ::-1])))  # type: ignore[arg-type]


GRIDS = [
    Geometry((5.0, 0.8, 0.7), (-100.0, 30.0, -801.5)),
    *map(oblique, range(20)),
    *(half_way(axis, 45) for axis in range(3)),
]


@pytest.mark.parametrize("grid", GRIDS, ids=range(len(GRIDS)))
def test_copies_in_any_order_and_way_turn_into_one(grid: Geometry) -> None:
    array = np.arange(60).reshape(3, 4, 5)
    first = standard(grid)
    seen = first.array(array), first.geometry(grid, array.shape)
    for turn in TURNS:
        copy, place = turn.array(array), turn.geometry(grid, array.shape)
        again = standard(place)
        np.testing.assert_array_equal(again.array(copy), seen[0])
        assert again.geometry(place, copy.shape).differs(seen[1], seen[0].shape) < 1e-9
        np.testing.assert_array_equal(again.back(again.array(copy)), copy)


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_a_voxel_stays_where_it_is(turn: Turn) -> None:
    grid, array = oblique(3), np.arange(2 * 3 * 4 * 2).reshape(2, 3, 4, 2)
    copy, place = turn.array(array), turn.geometry(grid, array.shape[:3])
    for voxel in np.ndindex(copy.shape[:3]):
        before = np.argwhere((array == copy[voxel]).all(-1))[0]
        np.testing.assert_allclose(place.place(voxel), grid.place(before), atol=1e-9)
    np.testing.assert_array_equal(turn.back(copy), array)


def test_letters() -> None:
    assert Geometry().letters == "SPL"
    for turn in TURNS:
        place = turn.geometry(Geometry(), (2, 2, 2))
        expected = [("SPL"[axis], "IAR"[axis])[flip] for axis, flip in zip(turn.axes, turn.flips, strict=True)]
        assert place.letters == "".join(expected)


def test_grids_that_differ() -> None:
    grid = Geometry((2.0, 1.0, 1.0))
    assert grid.differs(grid, (10, 20, 30)) == 0
    assert grid.differs(Geometry((2.0, 1.0, 1.0), (3.0, 4.0, 0.0)), (10, 20, 30)) == pytest.approx(5)
    assert grid.differs(Geometry((2.1, 1.0, 1.0)), (11, 20, 30)) == pytest.approx(1)
