"""torchvision's segmentation networks: `deeplabv3_resnet50/101` and `fcn_resnet50/101`, auxiliary head or not.

Their stride is 8, their dilation rule timm's, their images RGB in 0..1 with the ImageNet mean and standard deviation.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from atrous.errors import ModelError, WeightsError, nearest

OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "deeplabv3_resnet50": ("deeplabv3", {"encoder": "resnet50", "stride": 8}),
    "deeplabv3_resnet101": ("deeplabv3", {"encoder": "resnet101", "stride": 8}),
    "fcn_resnet50": ("fcn", {"encoder": "resnet50", "stride": 8}),
    "fcn_resnet101": ("fcn", {"encoder": "resnet101", "stride": 8}),
}
"""torchvision's name -> our model and its options; add `aux=True` when the weights have `aux_classifier`."""

COMMON = ((r"backbone\.", "encoder.net."), (r"aux_classifier\.", "aux."))
"""(beginning of their name, beginning of ours)"""

RENAMES = {
    "fcn": (*COMMON, (r"classifier\.", "head.")),
    "deeplabv3": (
        *COMMON,
        (r"classifier\.0\.convs\.4\.1\.", "aspp.branches.4.conv.0."),
        (r"classifier\.0\.convs\.4\.2\.", "aspp.branches.4.conv.1."),
        (r"classifier\.0\.convs\.", "aspp.branches."),
        (r"classifier\.0\.project\.", "aspp.project."),
        (r"classifier\.1\.", "head.0."),
        (r"classifier\.2\.", "head.1."),
        (r"classifier\.4\.", "head.3."),
    ),
}


def from_torchvision(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """torchvision's state dict of `name`, such as "deeplabv3_resnet50", under the names of our network `OURS[name]`.

    Raises ModelError on a name that is not one of the four, WeightsError on a tensor that torchvision has not.
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
