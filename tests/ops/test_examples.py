"""Examples in docstrings of ops, refine and compat print what they say, and every public name has one."""

import doctest
import inspect
import pkgutil
from importlib import import_module

import pytest

PACKAGES = ("atrous.ops", "atrous.refine", "atrous.compat.densecrf")
MODULES = [
    name
    for package in PACKAGES
    for name in (
        package,
        *(f"{package}.{module.name}" for module in pkgutil.iter_modules(import_module(package).__path__)),
    )
    if ">>> " in inspect.getsource(import_module(name))
]
WITHOUT = {"PRESETS": "a table", "Kernel": "stands in MeanField's example"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name: str) -> None:
    found = doctest.testmod(import_module(name))
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("package", ["atrous.ops", "atrous.refine"])
def test_every_public_name_has_an_example(package: str) -> None:
    face = import_module(package)
    lacking = [name for name in face.__all__ if ">>> " not in (getattr(face, name).__doc__ or "")]
    assert set(lacking) <= set(WITHOUT)
