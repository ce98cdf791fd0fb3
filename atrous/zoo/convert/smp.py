"""segmentation-models-pytorch, on its ResNets: the decoders that are ours, number for number.

    theirs         ours
    UnetPlusPlus   `unetpp` without deep supervision, upsampling by two where ours goes to the skip's size

Not here, because another network is behind the name: Unet has a fifth block without a skip, at the image's size; FPN
and DeepLabV3 resize with align_corners=True; DeepLabV3Plus has no norm within a separable convolution and another
number of them; PSPNet ends its encoder at stride 8 and has no norm on the mean of the whole image.

Their images are RGB in 0..1 with the ImageNet mean and standard deviation, and their sides multiples of 32.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from atrous.errors import ModelError, WeightsError, nearest

ENCODERS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")

OURS: dict[str, tuple[str, dict[str, Any]]] = {
    f"UnetPlusPlus-{encoder}": ("unetpp", {"encoder": encoder}) for encoder in ENCODERS
}
"""smp's class and encoder -> our model and its options."""

SPELLINGS = {"unetpp": "UnetPlusPlus", "unetplusplus": "UnetPlusPlus"}
"""Our name, or theirs in small letters without hyphens -> theirs."""

ABSENT = (
    "unet", "fpn", "deeplabv3", "deeplabv3plus", "pspnet", "upernet", "segformer", "linknet", "manet", "pan", "dpt",
)  # fmt: skip
"""smp's other networks, in small letters."""

DEPTH = 4
"""Levels above the deepest."""


def from_smp(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """smp's state dict of `name`, such as "UnetPlusPlus-resnet34", under the names of our network `OURS[name]`.

    Raises ModelError on another name, WeightsError on a tensor that smp has not.
    """
    if name not in OURS:
        raise ModelError(f"unknown smp network {name!r}; {nearest(name, list(OURS))}")
    renamed = {}
    for key, tensor in state.items():
        if match := re.match(r"decoder\.blocks\.x_(\d)_(\d)\.conv([12])\.", key):
            column, level, conv = int(match[1]), DEPTH - 1 - int(match[2]), int(match[3]) - 1
            node = f"closing.{conv}." if level < 0 else f"nodes.{level}_{DEPTH - level - column}.{conv}."
            renamed[node + key[match.end() :]] = tensor
        elif key.startswith("encoder."):
            renamed[key.replace("encoder.", "encoder.net.", 1)] = tensor
        elif key.startswith("segmentation_head.0."):
            renamed[key.replace("segmentation_head.0.", f"heads.{DEPTH}.", 1)] = tensor
        else:
            raise WeightsError(f"tensor {key!r} is not part of smp's {name}; give its state_dict as smp saves it")
    return renamed


convert = from_smp


def name_of(model: str, encoder: str | None) -> str:
    """ "UnetPlusPlus-resnet34" from ("unetpp", "resnet34") or ("UnetPlusPlus", "resnet34"); ModelError if unknown."""
    plain = re.sub(r"[-_]", "", model.lower())
    if plain in ABSENT:
        raise ModelError(f"smp's {model} cannot be imported yet; {' and '.join(set(SPELLINGS.values()))} can")
    if plain not in SPELLINGS:
        raise ModelError(f"unknown smp network {model!r}; {nearest(model, list(SPELLINGS))}")
    if encoder not in ENCODERS:
        raise ModelError(f"--encoder {encoder} of smp cannot be imported; {nearest(str(encoder), ENCODERS)}")
    return f"{SPELLINGS[plain]}-{encoder}"
