"""A batch norm takes one value per channel while it trains, and is otherwise itself."""

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from atrous.layers import safe_norms
from atrous.layers.norm import norms_left_out

NORMS = [nn.BatchNorm2d, BatchNormAct2d]


def trained(kind: type[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    torch.manual_seed(0)
    norm = kind(4)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm


@pytest.mark.parametrize("kind", NORMS)
def test_a_single_value_uses_the_running_statistics(kind: type[nn.BatchNorm2d]) -> None:
    norm, x = trained(kind), torch.randn(1, 4, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value"):
        norm(x)
    expected = copy.deepcopy(norm).eval()(x)
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    safe_norms(norm)
    torch.testing.assert_close(norm(x), expected)
    assert norm.training
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("shape", [(2, 4, 1, 1), (1, 4, 3, 5)])
def test_several_values_are_normalised_as_ever(kind: type[nn.BatchNorm2d], shape: tuple[int, ...]) -> None:
    plain, x = trained(kind), torch.randn(shape)
    safe = safe_norms(copy.deepcopy(plain))
    assert type(safe) is kind
    assert torch.equal(safe(x), plain(x))
    assert list(safe.state_dict()) == list(plain.state_dict())
    assert torch.equal(safe.running_var, plain.running_var)


def test_twice_is_once_and_copies_are_safe_too() -> None:
    tree = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    twice = copy.deepcopy(safe_norms(safe_norms(tree)))
    assert len(twice[1]._forward_pre_hooks) == 1
    twice(torch.randn(1, 3, 1, 1))
    assert twice[1].training


def test_an_error_inside_leaves_the_mode_alone() -> None:
    norm = safe_norms(nn.BatchNorm2d(4))
    with pytest.raises(RuntimeError):
        norm(torch.randn(1, 5, 1, 1))
    assert norm.training


@pytest.mark.parametrize("kind", NORMS)
def test_norms_are_left_out_within_the_context_alone(kind: type[nn.BatchNorm2d]) -> None:
    tree, x = nn.Sequential(trained(kind)).eval(), torch.randn(2, 4, 3, 3)
    before = tree(x)
    with norms_left_out(tree):
        assert torch.equal(tree(x), x)
    assert torch.equal(tree(x), before)
