"""Grids of volumes, and all turns of them."""

from itertools import permutations, product

import numpy as np

from atrous.io.geometry import Geometry, Turn

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
