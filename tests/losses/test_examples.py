"""The examples in the docstrings of `atrous.losses` run and print what they say."""

import doctest

import pytest

from atrous import losses

FINDER = doctest.DocTestFinder(exclude_empty=False)


@pytest.mark.parametrize("name", [name for name in losses.__all__ if callable(getattr(losses, name))])
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    found = [test for test in FINDER.find(getattr(losses, name), name, module=False, globs={}) if test.examples]
    assert found
    for test in found:
        said: list[str] = []
        doctest.DocTestRunner().run(test, out=said.append)
        assert not said, "".join(said)
