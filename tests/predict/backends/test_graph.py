"""What exporters cannot follow is written otherwise, with the same values."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.ops.resize import resize
from atrous.predict.backends.graph import _Rewrite


@pytest.mark.parametrize("bins", [1, 2, 3, 6, (3, 5)])
def test_pools_into_bins(bins: int | tuple[int, int]) -> None:
    for side in (1, 2, 5, 6, 7, 33):
        image = torch.randn(2, 3, side, side + 4)
        expected = functional.adaptive_avg_pool2d(image, bins)
        with _Rewrite():
            torch.testing.assert_close(nn.AdaptiveAvgPool2d(bins)(image), expected)


def test_nearest_resizes_are_equal_at_any_two_sizes() -> None:
    for side in range(1, 34):
        image = torch.arange(float(side * (side + 3))).view(1, 1, side, side + 3)
        for other in (1, 7, 2 * side - 1, 2 * side, 65):
            expected = resize(image, (other, other + 5), mode="nearest")
            with _Rewrite():
                assert torch.equal(resize(image, (other, other + 5), mode="nearest"), expected)


def test_they_are_what_an_exporter_sees() -> None:
    """Neither pools into bins nor nearest resizes are left in the graph."""

    class Both(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            with _Rewrite():
                return resize(functional.adaptive_avg_pool2d(image, 3), (7, 9), mode="nearest")

    program = torch.export.export(Both(), (torch.randn(1, 2, 20, 30),), strict=False)
    names = " ".join(str(node.target) for node in program.graph.nodes)
    assert "adaptive" not in names
    assert "nearest" not in names
