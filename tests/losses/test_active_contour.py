"""The active contour loss: its formula in loops, known lengths, points."""

from itertools import product

import pytest
import torch

from atrous.losses import ActiveContour

SIZES = [(4, 5), (3, 4, 5)]


def sample(size: tuple[int, ...], ignored: float = 0.4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2, *size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = 255
    return torch.randn(2, 3, *size, generator=generator, dtype=torch.float64), labels


@pytest.mark.parametrize("size", SIZES)
def test_it_is_its_formula(size: tuple[int, ...]) -> None:
    logits, labels = sample(size)
    u, total, counted = logits.softmax(1), 0.0, 0
    for n, *place in product(range(2), *map(range, size)):
        if labels[(n, *place)] == 255:
            continue
        counted += 1
        for k in range(3):
            here, square = u[(n, k, *place)], 0.0
            for axis in range(len(size)):
                after = [p + (a == axis) for a, p in enumerate(place)]
                if after[axis] < size[axis] and labels[(n, *after)] != 255:
                    square += (u[(n, k, *after)] - here) ** 2
            true = labels[(n, *place)] == k
            total += (square + 1e-8) ** 0.5 + 0.7 * (here * (1 - 1.0 * true) ** 2 + (1 - here) * (1.0 * true) ** 2)
    assert ActiveContour(region=0.7)(logits, labels).item() == pytest.approx(float(total / counted / 3), rel=1e-5)


def test_a_perfect_straight_border_costs_its_length() -> None:
    labels = torch.zeros(1, 8, 10, dtype=torch.long)
    labels[:, :, 5:] = 1
    logits = torch.nn.functional.one_hot(labels, 2).movedim(-1, 1) * 100.0
    value = ActiveContour()(logits, labels).item()
    assert value == pytest.approx(8 / 80, abs=2e-4)  # 8 pixels of border in each of two classes, over two classes
    assert ActiveContour(region=5)(logits, labels).item() == pytest.approx(value, abs=1e-6)
    ragged = logits.clone()
    ragged[:, :, ::2] = ragged[:, :, ::2].roll(1, 3)
    assert ActiveContour(region=0)(ragged, labels) > value


def test_sampled_points_have_no_contour() -> None:
    logits, labels = sample((4, 5))
    points, truth = logits.flatten(2), labels.flatten(1)
    order = torch.randperm(20)
    value = ActiveContour()(points, truth)
    torch.testing.assert_close(ActiveContour()(points[:, :, order], truth[:, order]), value)
    assert value < ActiveContour()(logits, labels)
