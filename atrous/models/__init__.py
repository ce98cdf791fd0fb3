"""The pages: one file per family of architectures, and the one dictionary that names them."""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

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
    former,
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
from atrous.models.model import Model, ModelName
from atrous.models.options import Zoom, check, checked
from atrous.models.zoomed import zoomed

if TYPE_CHECKING:
    from atrous.models.model import Network

__all__ = [
    "MODELS",
    "Model",
    "ModelName",
    "build_model",
    "create_model",
    "describe_models",
    "from_classifier",
    "list_models",
]

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
    name: ModelName,
    classes: int = 21,
    *,
    in_channels: int = 3,
    pretrained: bool | str | Path = False,
    zoom: float = 1.0,
    **options: Any,
) -> "Network":
    """Build a network: normalised image (N, in_channels, H, W) -> logits (N, classes, H, W), any H, W >= 1.

    unet3d, vnet and nnunet3d take volumes: (N, in_channels, D, H, W) -> (N, classes, D, H, W).

    Args:
        name: one of `list_models()`.
        classes: K, from 1 on.
        in_channels: of the image, from 1 on.
        pretrained: False, random weights; True, ImageNet weights of the encoder; or a local file of them.
        zoom: factor by which the network sees its images enlarged, 0.25..8; for images only.
        options: what the page's builder takes, mostly `encoder` (a timm name), `stride`, `dropout`, `aux`.

    Raises:
        ModelError: an unknown name or option, or a value that an option cannot have.
        WeightsError: the weights cannot be had or do not fit.

    Example:
        >>> model = create_model("deeplabv3plus", classes=19, encoder="resnet50", stride=8)
    """
    return cast(
        "Network", build_model(name, classes, in_channels=in_channels, pretrained=pretrained, zoom=zoom, **options)
    )


def build_model(
    name: str,
    classes: int = 21,
    *,
    in_channels: int = 3,
    pretrained: bool | str | Path = False,
    zoom: float = 1.0,
    **options: Any,
) -> nn.Module:
    """`create_model` for a name that is known at run time only, such as that in a card or a recipe."""
    pages = {**MODELS, **FOREIGN}  # imported bundles name the latter in their cards
    if not isinstance(name, str) or name not in pages:
        raise ModelError(f"unknown model {name!r}; {nearest(str(name), list_models())}")
    accepted = list(inspect.signature(pages[name]).parameters)
    if unknown := [option for option in options if option not in accepted]:
        raise ModelError(f"model {name!r} has no option {unknown[0]!r}; {_instead(name, unknown[0], accepted)}")
    given = checked(name, pages[name], {"classes": classes, "in_channels": in_channels, **options})
    if "pretrained" in accepted:
        given |= checked(name, pages[name], {"pretrained": pretrained})
    elif pretrained:
        raise WeightsError(
            f"there are no pretrained weights for {name}; leave pretrained off, or use unet with an encoder"
        )
    return zoomed(pages[name](**given), check(f"zoom of {name}", Zoom, zoom))


def _instead(name: str, option: str, accepted: list[str]) -> str:
    """What to give in the place of an option that there is not."""
    known = [*accepted, "zoom"]
    close = [former.OPTIONS.get(name, {}).get(option), *get_close_matches(option, known, n=1, cutoff=0.7)]
    best = next((one for one in close if one), None)
    return f"did you mean {best!r}?" if best else f"it takes {', '.join(known)}"


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
