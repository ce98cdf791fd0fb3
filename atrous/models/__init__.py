"""The pages: one file per family of architectures, and the one dictionary that names them."""

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atrous.errors import ModelError, WeightsError, nearest
from atrous.models import (
    attention_unet,
    bisenetv2,
    ccnet,
    danet,
    deconvnet,
    deeplab,
    deeplab_early,
    dpn,
    encnet,
    enet,
    fastscnn,
    fcn,
    fpn,
    hrnet,
    icnet,
    lraspp,
    nnunet,
    parsenet,
    pointrend,
    pspnet,
    refinenet,
    reseg,
    segformer,
    segnet,
    unet,
    unet3d,
    unetpp,
    upernet,
    vnet,
)
from atrous.models.classifier import from_classifier
from atrous.models.foreign import FOREIGN
from atrous.models.zoomed import zoomed

__all__ = ["MODELS", "create_model", "describe_models", "from_classifier", "list_models"]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "attention_unet": attention_unet.attention_unet,
    "bisenetv2": bisenetv2.bisenetv2,
    "ccnet": ccnet.ccnet,
    "danet": danet.danet,
    "deconvnet": deconvnet.deconvnet,
    "deeplabv1": deeplab_early.deeplabv1,
    "deeplabv2": deeplab_early.deeplabv2,
    "deeplabv3": deeplab.deeplabv3,
    "deeplabv3plus": deeplab.deeplabv3plus,
    "dpn": dpn.dpn,
    "encnet": encnet.encnet,
    "enet": enet.enet,
    "fastscnn": fastscnn.fastscnn,
    "fcn": fcn.fcn,
    "fcn16s": fcn.fcn16s,
    "fcn32s": fcn.fcn32s,
    "fcn8s": fcn.fcn8s,
    "fpn": fpn.fpn,
    "hrnet_ocr": hrnet.hrnet_ocr,
    "icnet": icnet.icnet,
    "lraspp": lraspp.lraspp,
    "nnunet2d": nnunet.nnunet2d,
    "nnunet3d": nnunet.nnunet3d,
    "parsenet": parsenet.parsenet,
    "pointrend": pointrend.pointrend,
    "pspnet": pspnet.pspnet,
    "refinenet": refinenet.refinenet,
    "reseg": reseg.reseg,
    "segformer": segformer.segformer,
    "segnet": segnet.segnet,
    "segnet_basic": segnet.segnet_basic,
    "unet": unet.unet,
    "unet2015": unet.unet2015,
    "unet3d": unet3d.unet3d,
    "unetpp": unetpp.unetpp,
    "upernet": upernet.upernet,
    "vnet": vnet.vnet,
}


def list_models() -> list[str]:
    """The names that `create_model` knows, sorted."""
    return sorted(MODELS)


def create_model(
    name: str, classes: int = 21, *, in_channels: int = 3, pretrained: bool | str | Path = False, **options: Any
) -> nn.Module:
    """Build a network: normalised image (N, in_channels, H, W) -> logits (N, classes, H, W), any H, W >= 1.

    unet3d, vnet and nnunet3d take volumes: (N, in_channels, D, H, W) -> (N, classes, D, H, W).
    pretrained: False, random weights; True, ImageNet weights of the encoder; or a local file of them. options: what the
    page's builder takes, mostly `encoder` (a timm name), `stride`, `dropout`, `aux`; of every page that labels images
    densely `zoom`, the factor by which it sees them enlarged (`atrous.models.zoomed`).
    Raises ModelError on an unknown name or option or a value that cannot be, WeightsError when weights cannot be had.
    """
    pages = {**MODELS, **FOREIGN}  # imported bundles name the latter in their cards
    if not isinstance(name, str) or name not in pages:
        raise ModelError(f"unknown model {name!r}; {nearest(str(name), list_models())}")
    for what, count in (("classes", classes), ("in_channels", in_channels)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ModelError(f"{what} of {name} is {count!r}; give a whole number from 1 on")
    zoom = options.pop("zoom", 1.0)
    accepted = list(inspect.signature(pages[name]).parameters)
    if unknown := [option for option in options if option not in accepted]:
        raise ModelError(f"model {name!r} has no option {unknown[0]!r}; it takes {', '.join([*accepted, 'zoom'])}")
    if "pretrained" in accepted:
        options["pretrained"] = pretrained
    elif pretrained:
        raise WeightsError(
            f"there are no pretrained weights for {name}; leave pretrained off, or use unet with an encoder"
        )
    return zoomed(pages[name](classes, in_channels=in_channels, **options), zoom)


@cache
def _parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in MODELS[name](21).parameters())


def describe_models() -> list[dict[str, Any]]:
    """For each name: its page, default encoder, parameters with 21 classes and 3 channels, and its first sentence."""
    rows = []
    for name, builder in sorted(MODELS.items()):
        default = inspect.signature(builder).parameters.get("encoder")
        rows.append(
            {
                "name": name,
                "page": f"atrous/models/{builder.__module__.rsplit('.', 1)[1]}.py",
                "encoder": default.default if default else None,
                "parameters": _parameters(name),
                "summary": (builder.__doc__ or "").split("\n")[0],
            }
        )
    return rows
