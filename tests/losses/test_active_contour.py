"""The active contour loss: its formula in loops, known lengths, gradients, and nothing under ignore."""

from itertools import product

import pytest
import torch

from atrous.losses import ActiveContour, CrossEntropy, make_loss

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


@pytest.mark.parametrize("size", SIZES)
def test_what_lies_under_ignore_changes_nothing(size: tuple[int, ...]) -> None:
    one, labels = sample(size)
    results = []
    for fill in (0.0, 1e3, torch.inf):
        logits = one.masked_fill((labels == 255)[:, None], fill)
        value = ActiveContour()(logits.requires_grad_(), labels)
        value.backward()
        results.append((value.item(), logits.grad))
    assert results[0][0] == results[1][0] == results[2][0]
    assert torch.equal(results[0][1], results[1][1])
    assert torch.equal(results[0][1], results[2][1])
    assert not results[0][1][(labels == 255)[:, None].expand_as(one)].any()
    assert results[0][1].any()


@pytest.mark.parametrize("size", [(3, 4), (2, 2, 3)])
def test_the_gradient(size: tuple[int, ...]) -> None:
    logits, labels = sample(size)
    assert torch.autograd.gradcheck(lambda z: ActiveContour()(z, labels), logits.requires_grad_())


def test_nothing_counted_gives_zero_and_a_finite_gradient() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    value = ActiveContour()(logits, torch.full((1, 2, 2), 255))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_a_recipe_adds_it_to_cross_entropy() -> None:
    logits, labels = sample((4, 5))
    weight = torch.tensor([1.0, 2, 0.5])
    value = make_loss("ce + 0.5 * active_contour", 255, weight, 0.1)(logits, labels)
    expected = CrossEntropy(weight=weight, smoothing=0.1)(logits, labels) + 0.5 * ActiveContour()(logits, labels)
    torch.testing.assert_close(value, expected)


def test_sampled_points_have_no_contour() -> None:
    logits, labels = sample((4, 5))
    points, truth = logits.flatten(2), labels.flatten(1)
    order = torch.randperm(20)
    value = ActiveContour()(points, truth)
    torch.testing.assert_close(ActiveContour()(points[:, :, order], truth[:, order]), value)
    assert value < ActiveContour()(logits, labels)
