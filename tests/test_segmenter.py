"""How a Segmenter shows itself, and the examples of its docstrings."""

import doctest
import importlib

import pytest

from atrous.segmenter import Segmenter


@pytest.mark.parametrize("module", ["atrous.segmenter", "atrous.predict.prediction"])
def test_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


def test_an_untrained_one_shows_what_was_asked_for() -> None:
    assert repr(Segmenter()) == "Segmenter(not trained)"
    assert repr(Segmenter("fpn", "resnet18", pretrained=False, lr=0.1)) == (
        "Segmenter('fpn', encoder='resnet18', pretrained=False, lr=0.1, not trained)"
    )
