"""Other toolkits' networks by name: what they take, and the parameters that they say they have."""

import inspect

import pytest
import torch

from atrous.models.foreign import FOREIGN

FIRST = {"classes": 21, "in_channels": 3, "pretrained": False}
SMP = {"encoder": "resnet34"}
MMSEG = {"encoder": "resnet50c", "channels": 512, "align_corners": False, "aux": False}
OPTIONS: dict[str, dict[str, object]] = {
    **dict.fromkeys(("mmseg_fcn", "mmseg_pspnet", "mmseg_deeplabv3", "mmseg_deeplabv3plus", "mmseg_upernet"), MMSEG),
    "mmseg_segformer": {"encoder": "mit_b0", "channels": 256, "align_corners": False},
    **dict.fromkeys(("smp_unet", "smp_fpn", "smp_pspnet", "smp_deeplabv3", "smp_deeplabv3plus"), SMP),
    "smp_segformer": {"encoder": "mit_b0", "channels": 256},
    "smp_upernet": {"encoder": "resnet34", "channels": 256},
}
"""What the cards of imported bundles name, with the defaults that they leave out."""


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_options_and_defaults_stay(name: str) -> None:
    builder = FOREIGN[name]
    taken = {key: parameter.default for key, parameter in inspect.signature(builder).parameters.items()}
    assert taken == FIRST | OPTIONS[name]
    assert builder.__name__ == name


@pytest.mark.parametrize("name", [name for name, options in OPTIONS.items() if options is MMSEG])
def test_mmsegs_parameters_are_as_many_as_said(name: str) -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in FOREIGN[name]().parameters())
    assert f": {count:,} parameters on resnet50c with 21 classes." in (FOREIGN[name].__doc__ or "")
