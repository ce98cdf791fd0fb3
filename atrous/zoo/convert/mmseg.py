"""mmsegmentation's networks, by the names of their tensors: the package cannot be installed, no logits were compared.

FCN, PSPNet, DeepLabV3, DeepLabV3+ and UPerNet on ResNetV1c, SegFormer on Mix Transformers, in `atrous.models.foreign`.
A name holds the crop where it decides: networks trained at 769 x 769 resize with align_corners=True. Their images are
RGB in 0..255 with the ImageNet mean and standard deviation.
"""

import re
from collections.abc import Mapping
from itertools import product
from typing import Any

import torch

from atrous.errors import ModelError, WeightsError, nearest

NOTE = "by key names, never compared with the package, which cannot be installed"
"""What is said of every import."""

AUX = "auxiliary_head."
"""How the names of an auxiliary head begin."""

RESNETS = {"r50": "resnet50c", "r101": "resnet101c"}
DENSE = ("fcn", "pspnet", "deeplabv3", "deeplabv3plus")
"""Networks whose backbones end at stride 8, in mmseg's names `d8`."""

OURS: dict[str, tuple[str, dict[str, Any]]] = {
    f"{net}_{theirs}{'-d8' if net in DENSE else ''}{crop}": (
        f"mmseg_{net}",
        {"encoder": ours, **({"align_corners": True} if crop else {})},
    )
    for net, (theirs, ours), crop in product((*DENSE, "upernet"), RESNETS.items(), ("", "_769x769"))
} | {f"segformer_mit-b{size}": ("mmseg_segformer", {"encoder": f"mit_b{size}"}) for size in range(6)}
"""mmseg's configuration, without schedule and data set -> our page and its options."""

STEM = {"0": "conv1.0", "1": "conv1.1", "3": "conv1.3", "4": "conv1.4", "6": "conv1.6", "7": "bn1"}
"""Layers of ResNetV1c's stem."""

STAGE = {
    "0.projection": "embed", "0.norm": "embed_norm", "2": "norm", "norm1": "norm1", "norm2": "norm2",
    "attn.attn.in_proj_": "attention.qkv.", "attn.attn.out_proj": "attention.project", "attn.sr": "attention.reduce",
    "attn.norm": "attention.reduce_norm", "ffn.layers.0": "ffn.expand", "ffn.layers.1": "ffn.depthwise",
    "ffn.layers.4": "ffn.project",
}  # fmt: skip
"""Parts of a Mix Transformer's stage and of its blocks."""


def from_mmseg(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """mmseg's state dict of `name`, such as "pspnet_r50-d8", under the names of our network `OURS[name]`.

    Raises ModelError on another name, WeightsError on a tensor that mmseg has not.
    """
    if name not in OURS:
        raise ModelError(f"unknown mmseg network {name!r}; {nearest(name, list(OURS))}")
    renamed: dict[str, torch.Tensor] = {}
    for key, tensor in state.items():
        if key.startswith("backbone."):
            own = _backbone(key.removeprefix("backbone."))
        else:
            own = _head(key, name)
        if own is None:
            raise WeightsError(f"tensor {key!r} is not part of mmseg's {name}; give the checkpoint as mmseg saves it")
        if ".qkv." in own:
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[own.replace(".qkv.", f".{part}.")] = third
        else:
            linear = re.search(r"\.ffn\.(expand|project)\.weight$", own) and tensor.ndim == 4
            renamed[own] = tensor[:, :, 0, 0] if linear else tensor  # theirs are 1x1 convolutions
    return renamed


convert = from_mmseg


def name_of(model: str, encoder: str | None) -> str:
    """ "pspnet_r50-d8" from ("pspnet", "r50-d8"), ("pspnet_r50-d8_512x1024_40k_cityscapes", None) and the like.

    A crop of 769x769 in `model` is kept. Raises ModelError on what is not there.
    """
    words = re.split(r"[_.]", model.lower().replace("+", "plus"))
    net, backbone = words[0], encoder or next(iter(words[1:]), "")
    if match := re.fullmatch(r"(?:r|resnet|resnetv1c)[-_]?(50|101)(?:c|[-_]?v1c)?(?:[-_]d(\d+))?", backbone.lower()):
        backbone = f"r{match[1]}" + (f"-d{match[2] or 8}" if net in DENSE else "")
    elif match := re.fullmatch(r"mit[-_](b\d)", backbone.lower()):
        backbone = f"mit-{match[1]}"
    name = f"{net}_{backbone}" + ("_769x769" if "769x769" in model else "")
    if name not in OURS:
        raise ModelError(f"unknown mmseg network {name!r}; {nearest(name, list(OURS))}")
    return name


def _backbone(key: str) -> str | None:
    """Our name of a backbone's tensor."""
    if match := re.match(r"stem\.(\d)\.(.*)", key):
        return f"encoder.net.{STEM[match[1]]}.{match[2]}" if match[1] in STEM else None
    if match := re.match(r"layers\.(\d)\.(?:1\.(\d+)\.)?(.*)", key):
        part = next((part for part in STAGE if match[3].startswith(part)), None)
        block = f"blocks.{match[2]}." if match[2] else ""
        return part and f"encoder.net.stages.{match[1]}.{block}{STAGE[part]}{match[3].removeprefix(part)}"
    return f"encoder.net.{key}" if re.match(r"layer[1-4]\.", key) else None


def _head(key: str, name: str) -> str | None:
    """Our name of a head's tensor: a module of theirs is `conv` and `bn`, of ours 0 and 1, 3 and 4."""
    own = key.replace(".depthwise_conv.conv.", ".0.").replace(".depthwise_conv.bn.", ".1.")
    own = own.replace(".pointwise_conv.conv.", ".3.").replace(".pointwise_conv.bn.", ".4.")
    own = own.replace(".conv.", ".0.").replace(".bn.", ".1.")
    if key.startswith("decode_head.conv_seg."):
        return own.removeprefix("decode_head.")
    if key.startswith(AUX):
        own = own.replace(".convs.0.", ".")
        return own.replace(".conv_seg.", ".4.")
    if name.startswith("upernet"):
        own = re.sub(r"^decode_head\.(psp_modules|bottleneck)\.", r"decode_head.pool.\1.", own)
    own = re.sub(r"\.psp_modules\.(\d)\.1\.", r".psp_modules.\1.", own)
    own = own.replace(".image_pool.1.", ".image_pool.conv.")
    return own if own.startswith("decode_head.") else None
