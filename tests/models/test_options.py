"""A value that an option cannot have is one sentence: the option, the model, what was given, what may be given."""

from pathlib import Path
from typing import Any

import pytest
import torch
from forms import SMALL

from atrous.errors import ModelError
from atrous.models import MODELS, create_model
from atrous.models.foreign import FOREIGN

WRONG: list[tuple[str, str, Any, str]] = [
    ("attention_unet", "channels", (256, 0), "whole numbers from 1 on, such as"),
    ("bisenetv2", "channels", 0, "a whole number from 1 on"),
    ("bisenetv2", "dropout", 1, "a number from 0 to less than 1"),
    ("ccnet", "recurrence", 0, "a whole number from 1 on"),
    ("danet", "channels", 0, "a whole number from 1 on"),
    ("deconvnet", "width", -1, "a whole number from 1 on"),
    ("deeplabv1", "fc6", "5x5", "'largefov', '7x7', '4x4' or '4x4_rate8'"),
    ("deeplabv2", "rates", (0,), "whole numbers from 1 on"),
    ("deeplabv2", "rates", (), "whole numbers from 1 on"),
    ("deeplabv2", "scales", (0.5, 1.0), "numbers above 0 up to 1, the first 1"),
    ("deeplabv2", "scales", (1.0, 2.0), "numbers above 0 up to 1, the first 1"),
    ("deeplabv3", "aux", "no", "True or False"),
    ("deeplabv3", "cascade", 1, "True or False"),
    ("deeplabv3", "grid", 2, "whole numbers from 1 on"),
    ("deeplabv3", "rates", (6, 12.5), "whole numbers from 1 on, such as (16, 8) or None"),
    ("deeplabv3", "stride", 32, "8 or 16"),
    ("deeplabv3plus", "stride", [8], "8 or 16"),
    ("dpn", "context", 2.5, "an odd number from 1 on"),
    ("dpn", "mixtures", 0, "a whole number from 1 on"),
    ("dpn", "window", 4, "an odd number from 1 on"),
    ("encnet", "codewords", "32", "a whole number from 1 on"),
    ("enet", "dropout", (0.01, 0.1), "a number from 0 to less than 1"),
    ("enet", "slopes", "pixel", "'shared' or 'channel'"),
    ("fastscnn", "dropout", "no", "a number from 0 to less than 1"),
    ("fcn", "skips", 16, "whole numbers from 1 on, such as (16, 8)"),
    ("fcn", "skips", {16, 8}, "whole numbers from 1 on, such as (16, 8)"),
    ("fcn8s", "padding", "none", "'caffe100' or 'same'"),
    ("fcn8s", "learned", 2, "True, False or 'skips'"),
    ("fpn", "stride", 1000, "2, 4, 8, 16 or 32"),
    ("hrnet_ocr", "head", "fcn", "'ocr' or 'hrnet'"),
    ("icnet", "channels", 0, "a whole number from 1 on"),
    ("lraspp", "channels", None, "a whole number from 1 on"),
    ("nnunet2d", "features", (8, 0), "whole numbers from 1 on"),
    ("nnunet3d", "kernels", ((1, 3, 0), 3), "a whole number from 1 on or for each stage"),
    ("parsenet", "scale", 0, "a number above 0"),
    ("parsenet", "scale", float("inf"), "a number above 0"),
    ("pointrend", "base_options", ["aux"], "options by name or None"),
    ("pointrend", "cells", 0, "a whole number from 1 on"),
    ("pspnet", "bins", "1236", "whole numbers from 1 on"),
    ("refinenet", "pools", 1.0, "a whole number from 1 on"),
    ("reseg", "stride", 6, "1, 2, 4, 8, 16 or 32"),
    ("reseg", "units", (100, 0), "whole numbers from 1 on"),
    ("segformer", "channels", True, "a whole number from 1 on or None"),
    ("segnet", "dropout", 1.5, "a number from 0 to less than 1"),
    ("unet", "encoder", 5, "a name"),
    ("unet", "joined", None, "True or False"),
    ("unet", "pretrained", 5, "True, False or a file of weights"),
    ("unet", "stride", 64, "2, 4, 8, 16 or 32"),
    ("unet2015", "variant", "big", "'paper' or 'phseg_v5'"),
    ("unet3d", "width", 0, "a whole number from 1 on"),
    ("unetpp", "width", 0, "a whole number from 1 on"),
    ("vnet", "left", (1, 0, 1), "whole numbers from 1 on"),
    ("mmseg_fcn", "channels", 0, "a whole number from 1 on"),
    ("smp_unet", "encoder", None, "a name"),
]
"""(model, option, value, what the sentence offers instead)"""


def sentence(name: str, option: str, value: Any) -> str:
    return f"{option} of {name} is {value!r}; give "


@pytest.mark.parametrize("name, option, value, words", WRONG, ids=lambda v: v if isinstance(v, str) else repr(v))
def test_a_wrong_value_is_one_sentence(name: str, option: str, value: Any, words: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError) as caught:
        create_model(name, **{option: value})
    assert str(caught.value).startswith(sentence(name, option, value) + words)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("option, value", [("classes", True), ("classes", 0), ("in_channels", 2.5), ("zoom", 9)])
@pytest.mark.parametrize("name", [*MODELS, *FOREIGN])
def test_of_every_model(name: str, option: str, value: Any) -> None:
    with torch.device("meta"), pytest.raises(ModelError) as caught:
        create_model(name, **{option: value})
    assert str(caught.value).startswith(sentence(name, option, value))


def test_lists_of_a_file_are_as_good_as_tuples() -> None:
    with torch.device("meta"):
        create_model("nnunet3d", 2, features=[4, 6], kernels=[[1, 3, 3], 3], strides=[1, [1, 2, 2]])
        create_model("unet", 2, encoder="test_resnet", channels=[8, 8, 8, 8], pretrained=False)
        create_model("deeplabv2", 2, encoder="test_resnet", scales=[1, 0.5], rates=[6], pretrained=False)


def test_a_file_of_weights_may_be_a_path(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"nothing\.pth"):
        create_model("unet", 2, encoder="test_resnet", pretrained=tmp_path / "nothing.pth")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_only_classes_go_by_place(name: str) -> None:
    with torch.device("meta"), pytest.raises(TypeError, match="positional"):
        MODELS[name](2, 3, **SMALL[name])


@pytest.mark.parametrize("name, option, words", [
    ("unet", "skips", "did you mean 'joined'?"),
    ("lraspp", "width", "did you mean 'channels'?"),
    ("bisenetv2", "head", "did you mean 'channels'?"),
    ("pointrend", "width", "did you mean 'channels'?"),
    ("reseg", "width", "did you mean 'channels'?"),
    ("deeplabv3", "strides", "did you mean 'stride'?"),
    ("deeplabv3", "zom", "did you mean 'zoom'?"),
    ("unet2015", "encoder", "it takes classes, in_channels, variant, width, dropout, zoom"),
])  # fmt: skip
def test_another_name_is_asked_about(name: str, option: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        create_model(name, **{option: 1})
    assert str(caught.value) == f"model {name!r} has no option {option!r}; {words}"
