"""torchvision's six segmentation networks: `deeplabv3_*`, `fcn_*` and `lraspp_*`, auxiliary head or not.

What differs in number between them and our defaults is an argument of our network, in `OURS`: stride 8, with timm's
rates, on ResNets; on MobileNetV3 stride 16, torchvision's own encoder and, in DeepLab v3, the rates that belong to
stride 8. Their images are RGB in 0..1 with the ImageNet mean and standard deviation.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from atrous.errors import ModelError, WeightsError, nearest

OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "deeplabv3_mobilenet_v3_large": (
        "deeplabv3",
        {"encoder": "mobilenet_v3_large", "stride": 16, "rates": (12, 24, 36)},
    ),
    "deeplabv3_resnet50": ("deeplabv3", {"encoder": "resnet50", "stride": 8}),
    "deeplabv3_resnet101": ("deeplabv3", {"encoder": "resnet101", "stride": 8}),
    "fcn_resnet50": ("fcn", {"encoder": "resnet50", "stride": 8}),
    "fcn_resnet101": ("fcn", {"encoder": "resnet101", "stride": 8}),
    "lraspp_mobilenet_v3_large": ("lraspp", {"encoder": "mobilenet_v3_large", "stride": 16}),
}
"""torchvision's name -> our model and its options; add `aux=True` when the weights have `aux_classifier`."""

AUX = "aux_classifier."
"""How the names of an auxiliary head begin."""

COMMON = ((r"backbone\.", "encoder.net."), (r"aux_classifier\.", "aux."))
"""(beginning of their name, beginning of ours)"""

RENAMES = {
    "fcn": (*COMMON, (r"classifier\.", "head.score.")),
    "deeplabv3": (
        *COMMON,
        (r"classifier\.0\.convs\.4\.1\.", "head.aspp.branches.4.conv.0."),
        (r"classifier\.0\.convs\.4\.2\.", "head.aspp.branches.4.conv.1."),
        (r"classifier\.0\.convs\.", "head.aspp.branches."),
        (r"classifier\.0\.project\.", "head.aspp.project."),
        (r"classifier\.1\.", "head.score.0."),
        (r"classifier\.2\.", "head.score.1."),
        (r"classifier\.4\.", "head.score.3."),
    ),
    "lraspp": (
        *COMMON,
        (r"classifier\.cbr\.", "head.features."),
        (r"classifier\.scale\.1\.", "head.gate."),
        (r"classifier\.low_classifier\.", "head.low_score."),
        (r"classifier\.high_classifier\.", "head.high_score."),
    ),
}


def from_torchvision(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """torchvision's state dict of `name`, such as "deeplabv3_resnet50", under the names of our network `OURS[name]`.

    Raises ModelError on a name that is not one of the six, WeightsError on a tensor that torchvision has not.
    """
    if name not in OURS:
        raise ModelError(f"unknown torchvision network {name!r}; {nearest(name, list(OURS))}")
    renamed = {}
    for key, tensor in state.items():
        rule = next(((old, new) for old, new in RENAMES[OURS[name][0]] if re.match(old, key)), None)
        if rule is None:
            raise WeightsError(
                f"tensor {key!r} is not part of torchvision's {name}; give its state_dict as torchvision saves it"
            )
        renamed[re.sub(rule[0], rule[1], key, count=1)] = tensor
    return renamed


convert = from_torchvision


def name_of(model: str, encoder: str | None) -> str:
    """torchvision's name of `model`, given whole ("fcn_resnet50") or with its encoder apart; ModelError if unknown."""
    name = model if encoder is None or model.endswith(f"_{encoder}") else f"{model}_{encoder}"
    if name not in OURS:
        raise ModelError(f"unknown torchvision network {name!r}; {nearest(name, list(OURS))}")
    return name
