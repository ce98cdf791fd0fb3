"""The examples in the docstrings print what they say."""

import doctest
import importlib

import pytest

from atrous import metrics

MODULES = sorted({getattr(metrics, name).__module__ for name in metrics.__all__} | {"atrous.metrics.foreign"})


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name: str) -> None:
    if name == "atrous.metrics.regions":
        pytest.importorskip("skimage")
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
