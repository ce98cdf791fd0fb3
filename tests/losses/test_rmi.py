"""Region mutual information: the formula in loops; related and unrelated predictions."""

from itertools import product

import numpy as np
import pytest
import torch

from atrous.losses import RMI


def by_loops(p: np.ndarray, y: np.ndarray, counted: np.ndarray, side: int, stride: int, eps: float) -> float:
    """One class of an image or volume: log det of y's windows' covariance given p's, over 2 d."""
    cells = [size // stride for size in p.shape]

    def windows(x: np.ndarray) -> np.ndarray:
        means = np.zeros(cells)
        for cell in np.ndindex(*cells):
            means[cell] = x[tuple(np.s_[c * stride : (c + 1) * stride] for c in cell)].mean()
        corners = product(*(range(size - side + 1) for size in cells))
        return np.array([means[tuple(np.s_[c : c + side] for c in corner)].ravel() for corner in corners])

    whole = windows(counted.astype(float)).min(1) > 1 - 1e-9
    joint = np.cov(windows(y)[whole], windows(p)[whole], rowvar=False, bias=True)
    d = side ** len(p.shape)
    s_y, s_yp, s_p = joint[:d, :d], joint[:d, d:], joint[d:, d:]
    some = eps * np.eye(d)
    return float(np.linalg.slogdet(s_y - s_yp @ np.linalg.inv(s_p + some) @ s_yp.T + some)[1] / (2 * d))


@pytest.mark.parametrize("shape, side, stride", [((14, 17), 3, 2), ((9, 8), 2, 1), ((7, 8, 9), 2, 2)])
def test_it_is_its_formula(shape: tuple[int, ...], side: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, *shape), generator=generator)
    labels[1][labels[1] == 2] = 0
    labels[0][(1,) * len(shape)] = 255
    p, values = logits.softmax(1).numpy(), []
    for n, k in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]:
        counted = (labels[n] != 255).numpy()
        values.append(by_loops(p[n, k] * counted, (labels[n] == k).numpy() * 1.0, counted, side, stride, 5e-4))
    assert RMI(side=side, stride=stride)(logits, labels).item() == pytest.approx(np.mean(values), rel=1e-6)


def test_what_tells_the_truth_is_cheap_and_what_tells_nothing_is_dear() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(1, 1, 16, 16, generator=generator) < 0.5).long().repeat_interleave(4, 2).repeat_interleave(4, 3)
    loss, right, other = RMI(), 20.0 * (2 * masks - 1), torch.randn(1, 1, 64, 64, generator=generator)
    assert loss(right, masks).item() == pytest.approx(np.log(2 * 5e-4) / 2, abs=0.01)  # the least there is
    assert loss(-right, masks).item() == pytest.approx(loss(right, masks).item(), abs=1e-4)  # it tells as much
    assert loss(other, masks).item() == pytest.approx(np.log(1 / 4) / 2, abs=0.2)  # all of y's variance is left
    assert loss(right + 60 * other, masks) > loss(right + 20 * other, masks) > loss(right, masks)


def test_what_is_too_small_for_two_windows_costs_nothing() -> None:
    labels = torch.randint(0, 2, (1, 1, 40, 40))
    for size, some in ((11, False), (12, False), (16, True)):
        assert (RMI()(torch.zeros(1, 1, size, size), labels[..., :size, :size]).item() != 0) == some
