"""The examples in the docstrings print what they say."""

import doctest
import importlib

import pytest

MODULES = ("build", "page", "terminal")


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"atrous.report.{name}"))
    assert found.attempted
    assert not found.failed
