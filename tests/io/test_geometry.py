"""Where voxels lie: axis orders, ways, oblique grids; what is turned comes back, and copies turn into one."""

import numpy as np
import pytest
from grids import GRIDS, TURNS, oblique

from atrous.io.geometry import Geometry, Turn, standard


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
