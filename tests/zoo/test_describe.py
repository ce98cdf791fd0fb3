"""What a network is, in words: every option with what it may be, papers, weights."""

import doctest
import inspect
import json

import pytest
from command_line import run

import atrous
from atrous.errors import ModelError
from atrous.models import MODELS
from atrous.zoo import describe


def test_example() -> None:
    result = doctest.testmod(describe)
    assert (result.failed, result.attempted > 0) == (0, True)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_option_is_told_with_what_it_may_be(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"name": name, "page": "", "parameters": 1}
    monkeypatch.setattr(describe, "describe_models", lambda: [row])  # building all takes a quarter of a minute
    found = atrous.describe_model(name)
    expected = [
        key for key in inspect.signature(MODELS[name]).parameters if key not in ("classes", "in_channels", "pretrained")
    ]
    assert [option.name for option in found.options] == [*expected, "zoom"]
    assert all(option.allowed and "<class" not in option.allowed for option in found.options)
    assert found.papers, "a page begins with a table of papers"
    assert found.summary.endswith(".")
    assert all(option.name in str(found) for option in found.options)


def test_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "deeplabv3plus") == 0
    text = capsys.readouterr().out
    for part in ("v3+ 2018 arXiv 1802.02611", "stride", "8 or 16", "26,696,133", "atrous/models/deeplab.py"):
        assert part in text
    assert run("models", "deeplabv3plus", "--json") == 0
    assert {"name": "stride", "default": 16, "allowed": "8 or 16"} in json.loads(capsys.readouterr().out)["options"]
    assert run("models", "unett") == 2
    assert "did you mean 'unet'" in capsys.readouterr().err


def test_a_wrong_name() -> None:
    with pytest.raises(ModelError, match="did you mean 'deeplabv3plus'"):
        atrous.describe_model("deeplabv3pluss")
