import pytest
import torch

from atrous.errors import DataError
from atrous.ops.lattice_torch import Lattice, filter

POINTS = torch.tensor([[0, 0], [0.5, 0.25], [-1, 1.5]], dtype=torch.float64)
VALUES = torch.tensor([[1.0, 0], [0, 1], [2, -1]], dtype=torch.float64)


def cloud(d: int, n: int = 40) -> torch.Tensor:
    return 0.5 * torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(d))


def test_a_point_by_hand() -> None:
    """Elevated to (1.851666, -2.651666, 0.8), nearest to (3, -3, 0)."""
    lattice = Lattice(torch.tensor([[1.3, -0.4]], dtype=torch.float64))
    torch.testing.assert_close(
        lattice.weights, torch.tensor([[0.350555, 0.498889, 0.150555]]).double(), atol=1e-6, rtol=0
    )
    assert lattice.filter(torch.ones(1, 1).double()).item() == pytest.approx(0.630623, abs=1e-6)


def test_three_points_both_ways() -> None:
    lattice = Lattice(POINTS)
    assert lattice.size == 7
    forth = [[1.253590, 0.542265], [0.876240, 0.658782], [1.437095, -0.718548]]
    back = [[0.9, 0.726795], [0.719060, 0.733504], [1.613890, -0.643825]]
    torch.testing.assert_close(lattice.filter(VALUES), torch.tensor(forth).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(lattice.adjoint(VALUES), torch.tensor(back).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("d", range(1, 9))
def test_gradients_are_the_adjoint(d: int) -> None:
    lattice = Lattice(cloud(d))
    a, b = torch.randn(2, 40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (a * lattice.filter(b)).sum().item() == pytest.approx((lattice.adjoint(a) * b).sum().item(), rel=1e-12)
    assert not torch.allclose(lattice.filter(b), lattice.adjoint(b), rtol=1e-3) or d == 1
    values = b[:, :1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: filter(x, lattice), values)
    assert torch.autograd.gradgradcheck(lambda x: filter(x, lattice, transposed=True), values)


def test_features_too_wide_for_digits() -> None:
    """Keys that do not fit 63 bits are hashed: the same lattice, apart from its order."""
    features = torch.cat([cloud(8), cloud(8)[:1] + 1e7])
    alone, both = Lattice(features[:40]), Lattice(features)
    values = torch.ones(41, 1, dtype=torch.float64)
    torch.testing.assert_close(both.filter(values)[:40], alone.filter(values[:40]))


@pytest.mark.parametrize(
    "features, words",
    [
        (torch.zeros(0, 2), "points >= 1"),
        (torch.zeros(3, 9), "1..8"),
        (torch.full((3, 2), torch.nan), "finite"),
        (torch.zeros(3, 2, dtype=torch.uint8), "uint8"),
    ],
)
def test_bad_features(features: torch.Tensor, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Lattice(features)


def test_values_of_another_count() -> None:
    with pytest.raises(DataError, match=r"expected \(3, channels\)"):
        Lattice(POINTS).filter(torch.zeros(2, 2))
