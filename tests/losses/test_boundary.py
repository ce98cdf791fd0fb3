"""Boundary loss: distances by hand and by brute force, which classes count, what is no boundary."""

import numpy as np
import pytest
import torch

from atrous.losses import Boundary
from atrous.ops.distance import signed_distance


def test_a_row_by_hand() -> None:
    mask = np.array([[0, 0, 1, 1, 1, 1, 0]], bool)
    assert signed_distance(mask).tolist() == [[2, 1, 0, -1, -1, 0, 1]]
    counted = np.array([[1, 1, 0, 1, 1, 1, 0]], bool)
    assert signed_distance(mask, counted).tolist() == [[3, 2, 0, -1, -2, -3, 0]]


@pytest.mark.parametrize("shape", [(9, 13), (1, 20), (5, 6, 7)])
def test_against_every_pair_of_pixels(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.9):
        mask, counted = rng.random(shape) < share, rng.random(shape) < 0.8
        places = np.stack(np.indices(shape), -1)
        inside, outside = places[mask & counted], places[~mask & counted]
        expected = np.zeros(shape)
        for place in map(tuple, places[counted]):
            others = outside if mask[place] else inside
            distance = np.sqrt(((others - place) ** 2).sum(1)).min()
            expected[place] = 1 - distance if mask[place] else distance
        np.testing.assert_allclose(signed_distance(mask, counted), expected, atol=1e-5)
    assert not signed_distance(np.ones(shape, bool)).any()
    assert not signed_distance(np.zeros(shape, bool)).any()
    assert not signed_distance(mask, mask).any()


def test_the_loss_by_hand() -> None:
    """Two images of four pixels; class 2 is absent and the second image has only class 0."""
    labels = torch.tensor([[[0, 0, 1, 1]], [[0, 0, 0, 0]]])
    p = torch.tensor([[[0.7, 0.5, 0.4, 0.2]], [[0.2, 0.4, 0.4, 0.6]], [[0.1, 0.1, 0.2, 0.2]]])
    expected = (-0.7 + 0 + 0.4 + 0.4) + (0.4 + 0.4 + 0 - 0.6)
    assert Boundary()(torch.stack([p, p]).log(), labels).item() == pytest.approx(expected / 8, abs=1e-6)
    masks = torch.tensor([[[[0, 0, 1, 1]], [[0, 0, 0, 0]]]])
    assert Boundary()(p[None, 1:].logit(), masks).item() == pytest.approx((0.4 + 0.4 - 0.6) / 4, abs=1e-6)


def test_farther_errors_cost_more() -> None:
    labels = torch.zeros(1, 20, 20, dtype=torch.long)
    labels[:, 8:12, 8:12] = 1
    values = []
    for column in (12, 15, 19):
        logits = 20.0 * torch.nn.functional.one_hot(labels, 2).movedim(-1, 1)
        logits[:, :, 9, column] = torch.tensor([0.0, 20])
        values.append(Boundary()(logits, labels).item())
    assert values[0] < values[1] < values[2]
