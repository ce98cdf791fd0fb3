"""The examples in the docstrings of layers and encoders run and print what they say."""

import doctest
from types import ModuleType

import pytest

from atrous.encoders import cut
from atrous.layers import aspp, norm, pad


@pytest.mark.parametrize("module", [aspp, norm, pad, cut], ids=lambda module: module.__name__)
def test_examples_run(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed
