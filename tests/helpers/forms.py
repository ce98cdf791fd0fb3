"""Every form of every network, each small: what the contract, the tail and the inspection run over."""

from inspect import signature

import pytest
import torch
from torch import nn

from atrous.models import MODELS, create_model
from atrous.models.foreign import FOREIGN

LITTLE: dict[str, object] = {
    "encoder": "test_resnet", "width": 4, "channels": 16, "codewords": 5, "features": (4, 6, 8), "units": (6, 5),
    "cells": 600,
}  # fmt: skip
"""An option that a builder may take -> the value that makes its model small; `channels` per skip are `SKIPS`."""

SKIPS = (16, 12, 8, 8)

OTHERWISE: dict[str, dict[str, object]] = {
    "bisenetv2": {"channels": 64},
    "deconvnet": {"width": 2},
    "deeplabv3": {"stride": 8},
    "dpn": {"encoder": "vgg16"},
    "parsenet": {"encoder": "vgg16"},
    "segformer": {"encoder": "mit_b0", "channels": 32},
    "segnet": {"width": 2},
    "segnet_basic": {"width": 2},
    "unet3d": {"width": 1},
    "vnet": {"width": 2},
}
"""Models that are to be of another form; a new one needs no line here."""


def _small(name: str) -> dict[str, object]:
    taken = signature(MODELS[name]).parameters
    small = {option: value for option, value in LITTLE.items() if option in taken}
    if "channels" in small and isinstance(taken["channels"].default, tuple):
        small["channels"] = SKIPS
    return small | OTHERWISE.get(name, {})


SMALL = {name: _small(name) for name in sorted(MODELS)}
"""Options that make each model small."""

FOREIGN_SMALL: dict[str, dict[str, object]] = {
    **{name: {"encoder": "test_resnet", "channels": 16} for name in FOREIGN if name.startswith("mmseg_")},
    **{name: {"encoder": "test_resnet"} for name in FOREIGN if name.startswith("smp_")},
}
"""The same for other toolkits' networks, which `list_models` leaves out."""

FORMS = [
    *((name, {}) for name in sorted(MODELS)),
    *((name, {}) for name in sorted(FOREIGN)),
    ("mmseg_deeplabv3plus", {"aux": True, "align_corners": True}),
    ("smp_unet", {"encoder": "mit_b0"}),
    ("deeplabv1", {"fc6": "4x4"}),
    ("deeplabv2", {"scales": (1.0, 0.75, 0.5), "encoder": "vgg16", "width": 4}),
    ("deeplabv3", {"aux": True, "stride": 16}),
    ("deeplabv3", {"aux": True, "stride": 16, "cascade": True, "grid": (2,), "dilate_first": True}),
    ("dpn", {"encoder": "test_resnet"}),
    ("lraspp", {"encoder": "mobilenet_v3_large"}),
    ("parsenet", {"encoder": "test_resnet"}),
    ("pspnet", {"aux": True}),
    ("deeplabv3plus", {"aux": True, "stride": 8, "encoder": "tf_efficientnet_lite0"}),
    ("deeplabv3plus", {"encoder": "test_vit"}),
    ("ccnet", {"aux": True, "stride": 32}),
    ("danet", {"aux": True}),
    ("encnet", {"aux": True}),
    ("fpn", {"encoder": "test_vit3", "smooth": True}),
    ("fpn", {"encoder": "test_resnet", "stride": 8}),
    ("refinenet", {"encoder": "mit_b0"}),
    ("segformer", {"encoder": "test_resnet"}),
    ("upernet", {"encoder": "test_vit", "aux": True}),
    ("bisenetv2", {"aux": True}),
    ("enet", {"slopes": "channel"}),
    ("fastscnn", {"aux": True}),
    ("hrnet_ocr", {"head": "hrnet"}),
    ("hrnet_ocr", {"encoder": "test_vit"}),
    ("icnet", {"aux": True, "encoder": "tf_efficientnet_lite0"}),
    ("pointrend", {"base": "upernet", "base_options": {"channels": 16}}),
    ("pointrend", {"base": "icnet", "base_options": {"channels": 16}}),
    ("reseg", {"stride": 8}),
    ("fcn", {"aux": True}),
    ("fcn", {"stride": 32, "skips": (16, 8)}),
    ("fcn32s", {"padding": "same"}),
    ("fcn16s", {"padding": "same", "learned": True}),
    ("fcn8s", {"padding": "same", "at_once": True}),
    ("segnet", {"dropout": 0.5}),
    ("segnet_basic", {"dropout": 0.5}),
    ("attention_unet", {"aux": True}),
    ("attention_unet", {"encoder": "test_vit"}),
    ("nnunet2d", {"residual": True, "aux": True}),
    ("nnunet3d", {"residual": True, "aux": True, "strides": (1, (1, 2, 2), 2), "kernels": ((1, 3, 3), 3, 3)}),
    ("unetpp", {"aux": True}),
    ("unetpp", {"encoder": "test_vit"}),
    ("unetpp", {"encoder": "plain", "width": 2, "aux": True}),
    ("unet", {"encoder": "test_vit"}),
    ("unet", {"joined": False, "stride": 8}),
    ("unet", {"encoder": "test_convnext", "stride": 16}),
    ("unet2015", {"variant": "phseg_v5"}),
]

FAINT = {"deconvnet", "fastscnn", "reseg"}
"""Models whose start gives next to a constant until their norms have seen images."""

WITHOUT_ENCODER = {name for name, builder in MODELS.items() if "pretrained" not in signature(builder).parameters}

SUPERVISED = [name for name, builder in MODELS.items() if "aux" in signature(builder).parameters]
"""Models with auxiliary outputs for training."""

SIZES = [(1, 1), (33, 65), (127, 65), (64, 96)]

with torch.device("meta"):
    VOLUMES = {name for name in WITHOUT_ENCODER if getattr(MODELS[name](2, **SMALL[name]), "axes", 2) == 3}
VOLUME = {(1, 1): (1, 1, 1), (33, 65): (3, 9, 17), (127, 65): (12, 4, 3), (64, 96): (4, 12, 20)}
"""Sizes of volumes that stand in for the sizes of images."""


def _id(value: object) -> str:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else str(value)


every_form = pytest.mark.parametrize("name, options", FORMS, ids=_id)
every_plain_form = pytest.mark.parametrize(
    "name, options", [pytest.param(*form, marks=pytest.mark.slow if form[1] else ()) for form in FORMS], ids=_id
)
"""All of them too; those with options are marked slow."""


def build(name: str, options: dict[str, object], channels: int = 3) -> nn.Module:
    """A small model with 4 classes whose zero-initialised scores are perturbed."""
    torch.manual_seed(0)
    model = create_model(name, classes=4, in_channels=channels, **{**(SMALL | FOREIGN_SMALL)[name], **options})
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
        elif name in FAINT and parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter)
    return model


def sized(name: str, size: tuple[int, ...]) -> tuple[int, ...]:
    """The size of an image, or for a network on volumes that of the volume in its place."""
    return VOLUME[size] if name in VOLUMES else size  # type: ignore[index]


def classifiers(name: str, options: dict[str, object]) -> int:
    """Layers of a model whose size depends on the number of classes: what it says of classes, it says in these."""
    shapes = []
    with torch.device("meta"):
        for classes in (4, 5):
            model = create_model(name, classes, **{**(SMALL | FOREIGN_SMALL)[name], **options})
            shapes.append({key: value.shape for key, value in model.named_parameters() if key.endswith(".weight")})
    return sum(shape != shapes[1][key] for key, shape in shapes[0].items())


SEAMLESS = [
    ("fcn8s", {"width": 2}),
    ("fcn32s", {"width": 2}),
    ("unet2015", {"width": 2}),
    ("segnet", {}),
    ("segnet_basic", {}),
    ("unet", {}),
    ("fcn", {}),
    ("deeplabv1", {"width": 2}),
    ("deeplabv2", {}),
    ("unetpp", {}),
    ("attention_unet", {}),
    ("deconvnet", {}),
    ("enet", {}),
]
"""Networks on images that tiles can equal the whole of."""
