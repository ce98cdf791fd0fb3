"""The examples in the docstrings of io, datasets, doctor, files, labels and sample print what they say."""

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

ROOMS = (
    "atrous.io", "atrous.io.paths", "atrous.datasets", "atrous.datasets.naming", "atrous.doctor", "atrous.files",
    "atrous.labels", "atrous.sample",
)  # fmt: skip
CLASSES = {
    "atrous.labels": ("LabelSet",),
    "atrous.sample": ("Sample",),
    "atrous.files": ("printable", "read_lines", "read_text"),
    "atrous.io.paths": ("nfc",),
    "atrous.datasets.naming": ("listed_names",),
}
"""What others use of the rooms without an `__all__`."""


def public(room: str) -> list[tuple[str, object]]:
    """List the functions and classes that a room exports."""
    module = import_module(room)
    names = getattr(module, "__all__", CLASSES.get(room, ()))
    found = [(name, getattr(module, name)) for name in names]
    return [(name, one) for name, one in found if inspect.isfunction(one) or inspect.isclass(one)]


def examples() -> list[doctest.DocTest]:
    """Find every docstring with an example; an example knows the public names of its room."""
    finder, found = doctest.DocTestFinder(), []
    for room in ROOMS:
        for name, one in public(room):
            found += finder.find(one, f"{room}.{name}", globs=dict(public(room)))
    return sorted({test.name: test for test in found if test.examples}.values(), key=lambda test: test.name)


EXAMPLES = examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_prints_what_it_says(
    example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    failed, tried = doctest.DocTestRunner().run(example, out=told.append)
    assert failed == 0, "".join(told)
    assert tried > 0


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_function_is_described(room: str) -> None:
    for name, one in public(room):
        assert inspect.getdoc(one), f"{room}.{name} has no docstring"
