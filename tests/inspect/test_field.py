"""Fields of single operations, by hand and by the places that a gradient reaches."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.inspect.field import bin_taps, linear_taps, nearest_taps, transposed_taps, window_taps
from atrous.inspect.measured import extent
from atrous.inspect.walk import walk
from atrous.ops.unpool import max_unpool


class Net(nn.Module):
    """A function as a network on images of one channel."""

    def __init__(self, function) -> None:
        super().__init__()
        self.in_channels, self.function = 1, function

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.function(image)


def read_from(taps: np.ndarray) -> list[list[int]]:
    """What each new element reads, each source once, in their order."""
    return [sorted({tap for tap in column if tap >= 0}) for column in taps.T.tolist()]


def test_taps_of_windows_by_hand() -> None:
    assert window_taps(5, 3, 3, stride=2, padding=1).T.tolist() == [[-1, 0, 1], [1, 2, 3], [3, 4, -1]]
    assert window_taps(7, 3, 2, dilation=3).T.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_taps_of_transposed_convolutions_by_hand() -> None:
    reads = read_from(transposed_taps(2, 6, 4, stride=2))
    assert reads == [[0], [0], [0, 1], [0, 1], [1], [1]]


def test_taps_of_interpolation_by_hand() -> None:
    twice = read_from(linear_taps(3, Fraction(1, 2), 6, False))
    assert twice == [[0], [0, 1], [0, 1], [1, 2], [1, 2], [2]]
    thrice = read_from(linear_taps(2, Fraction(1, 3), 6, False))
    assert thrice == [[0], [0], [0, 1], [0, 1], [1], [1]]  # pixels 1 and 4 are at the sources' own centres
    corners = read_from(linear_taps(2, Fraction(1, 2), 3, True))
    assert corners == [[0], [0, 1], [1]]
    assert nearest_taps(2, Fraction(2, 3), 3, exact=True).tolist() == [[0, 1, 1]]
    assert nearest_taps(2, Fraction(2, 3), 3, exact=False).tolist() == [[0, 0, 1]]


def test_taps_of_adaptive_pooling_by_hand() -> None:
    reads = [[tap for tap in column if tap >= 0] for column in bin_taps(7, 3).T.tolist()]
    assert reads == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]


KERNEL = torch.full((1, 1, 3, 3), 0.1, dtype=torch.float64)
WIDE = torch.full((1, 1, 2, 5), 0.1, dtype=torch.float64)

FUNCTIONS = {
    "convolution": lambda x: functional.conv2d(x, KERNEL.to(x), stride=2, padding=1, dilation=2),
    "uneven kernel": lambda x: functional.conv2d(x, WIDE.to(x), stride=(2, 1), padding=(0, 2)),
    "transposed": lambda x: functional.conv_transpose2d(x, KERNEL.to(x), stride=2, padding=1, output_padding=1),
    "mean pool": lambda x: functional.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "adaptive": lambda x: functional.adaptive_avg_pool2d(x, (5, 3)),
    "bilinear": lambda x: functional.interpolate(x, (24, 10), mode="bilinear"),
    "corners": lambda x: functional.interpolate(x, (23, 37), mode="bilinear", align_corners=True),
    "bicubic": lambda x: functional.interpolate(x, (24, 40), mode="bicubic"),
    "nearest": lambda x: functional.interpolate(x, (17, 29), mode="nearest"),
    "nearest exact": lambda x: functional.interpolate(x, (17, 29), mode="nearest-exact"),
    "zeros": lambda x: functional.pad(x, (2, -1, 0, 3)),
    "reflect": lambda x: functional.pad(x, (3, 2, 1, 4), mode="reflect"),
    "replicate": lambda x: functional.pad(x, (3, 2, 1, 4), mode="replicate"),
    "slice": lambda x: x[:, :, 2:-1:3, -5:],
    "roll": lambda x: torch.roll(x, (2, -3), (2, 3)),
    "flip": lambda x: x.flip(2),
    "transpose and back": lambda x: functional.conv2d(x.transpose(2, 3), WIDE.to(x)).transpose(2, 3),
    "tokens": lambda x: x.flatten(2).transpose(1, 2).transpose(1, 2).unflatten(2, x.shape[2:])[:, :, 1:],
    "windows": lambda x: x.unflatten(2, (4, 3)).unflatten(4, (4, 5)).softmax(3).flatten(2, 3).flatten(3),
    "pixel unshuffle": lambda x: functional.pixel_unshuffle(x, 2)[:, 1:3],
    "pixel shuffle": lambda x: functional.pixel_shuffle(functional.pixel_unshuffle(x, 4), 2),
    "attention along rows": lambda x: (x @ x.transpose(2, 3)).softmax(-1) @ x,
    "layer norm along rows": lambda x: functional.layer_norm(x, x.shape[3:]),
    "concatenated": lambda x: torch.cat([x[:, :, :-2], functional.avg_pool2d(x, 3, 1), x[:, :, 1:-1]][::2], 1),
    "repeated": lambda x: x.repeat(1, 2, 1, 2),
    "unbound": lambda x: torch.stack(x.unbind(2)[::2], 2),
    "split": lambda x: torch.cat(list(x.split(5, 3))[::-1], 3),
    "mean along one axis": lambda x: x + x.mean(2, keepdim=True),
    "local response": lambda x: functional.local_response_norm(x.repeat(1, 4, 1, 1), 3),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_rule_tells_what_the_gradient_tells(name: str) -> None:
    torch.manual_seed(0)
    image = (torch.rand(1, 1, 12, 20, dtype=torch.float64) + 0.5).requires_grad_()
    out, field = FUNCTIONS[name](image), walk(Net(FUNCTIONS[name]), image.shape).output
    assert field.shape == out.shape
    for row in range(out.shape[2]):
        for column in range(out.shape[3]):
            (gradient,) = torch.autograd.grad(out[:, :, row, column].sum(), image, retain_graph=True)
            if name == "layer norm along rows":  # the gradient of a normalised row's sum is zero to rounding
                (gradient,) = torch.autograd.grad(out[0, 0, row, column], image, retain_graph=True)
            reads = tuple(field.interval((row, column), axis) for axis in range(2))
            found = extent(gradient[0, 0])
            if found == ((1, 0), (1, 0)):  # a border of zeros reads nothing, at least along one axis
                assert any(first > last for first, last in reads)
            else:
                assert reads == found, (row, column)


def test_a_maximum_unpools_to_its_window() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        pooled, places = functional.max_pool2d(x, 2, return_indices=True)
        return max_unpool(pooled, places, x.shape[2:])

    field = walk(Net(function), (1, 1, 8, 12)).output
    assert field.interval((5, 2), 0) == (4, 5)
    assert field.interval((5, 2), 1) == (2, 3)
    assert field.jump == (1, 1)


def test_an_operation_without_a_rule_is_named_and_gives_no_answer() -> None:
    field = walk(Net(lambda x: torch.cumprod(x, 2)), (1, 1, 8, 8)).output
    assert [(note.kind, note.what) for note in field.trail] == [("unknown", "no rule for aten::cumprod")]


def test_places_that_values_choose_are_not_defined() -> None:
    field = walk(Net(lambda x: x.flatten(2).gather(2, x.flatten(2).argsort(2)).view_as(x)), (1, 1, 8, 8)).output
    assert {note.kind for note in field.trail} >= {"data", "whole"}


def test_jumps_are_exact() -> None:
    field = walk(Net(lambda x: functional.interpolate(functional.avg_pool2d(x, 4), (9, 9))), (1, 1, 24, 24)).output
    assert field.jump == (Fraction(8, 3), Fraction(8, 3))


def test_intervals_of_many_channels_are_their_hull() -> None:
    field = walk(Net(lambda x: torch.cat([x, functional.avg_pool2d(x, 5, 1, 2)], 1)), (1, 1, 16, 16)).output
    assert field.interval((8, 8), 0) == (6, 10)
    assert np.array_equal(field.intervals(1)[0].ravel()[:4], [0, 0, 0, 1])
