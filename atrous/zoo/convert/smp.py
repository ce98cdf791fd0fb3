"""segmentation-models-pytorch's networks, in their standard form, with the decoders of `atrous.models.foreign.smp`.

UnetPlusPlus alone is our page, `unetpp` without deep supervision. Encoders are theirs by name: torchvision's ResNets,
Mix Transformers for Unet and Segformer, timm's ConvNeXts (`tu-convnext_tiny`) for UPerNet.

Their images are RGB in 0..1 with the ImageNet mean and standard deviation. Where theirs takes a size, the logits agree.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from atrous.errors import ModelError, WeightsError, nearest

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
MITS = tuple(f"mit_b{size}" for size in range(6))
CONVNEXTS = tuple(f"tu-convnext_{size}" for size in ("tiny", "small", "base", "large", "xlarge"))

PAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "DeepLabV3": ("smp_deeplabv3", RESNETS),
    "DeepLabV3Plus": ("smp_deeplabv3plus", RESNETS),
    "FPN": ("smp_fpn", RESNETS),
    "PSPNet": ("smp_pspnet", RESNETS),
    "Segformer": ("smp_segformer", (*RESNETS, *MITS)),
    "UPerNet": ("smp_upernet", (*RESNETS, *CONVNEXTS)),
    "Unet": ("smp_unet", (*RESNETS, *MITS)),
    "UnetPlusPlus": ("unetpp", RESNETS),
}
"""smp's class -> our page, and the encoders with which it was compared or could be."""

OURS: dict[str, tuple[str, dict[str, Any]]] = {
    f"{theirs}-{encoder}": (page, {"encoder": encoder.removeprefix("tu-")})
    for theirs, (page, encoders) in PAGES.items()
    for encoder in encoders
}
"""smp's class and encoder -> our page and its options; the width of Segformer and UPerNet is read off the weights."""

SPELLINGS = {theirs.lower(): theirs for theirs in PAGES} | {"unetpp": "UnetPlusPlus"}
"""Our name, or theirs, in small letters without hyphens -> theirs."""

ABSENT = ("linknet", "manet", "pan", "dpt")
"""smp's other networks, in small letters."""

WIDTHS = {"Segformer": "decoder.fuse_stage.0.weight", "UPerNet": "decoder.fusion_block.0.weight"}
"""The tensor whose first axis is the decoder's width, where it is an option."""

BLOCK = {
    "attn.q": "attention.query", "attn.kv": "attention.kv", "attn.proj": "attention.project",
    "attn.sr": "attention.reduce", "attn.norm": "attention.reduce_norm", "mlp.fc1": "ffn.expand",
    "mlp.dwconv.dwconv": "ffn.depthwise", "mlp.fc2": "ffn.project", "norm1": "norm1", "norm2": "norm2",
}  # fmt: skip
"""Parts of a Mix Transformer's block; `kv` holds our key above our value."""

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

ENCODER: Rules = (
    (r"encoder\.patch_embed(\d)\.proj\.", lambda m: f"encoder.net.stages.{int(m[1]) - 1}.embed."),
    (r"encoder\.patch_embed(\d)\.norm\.", lambda m: f"encoder.net.stages.{int(m[1]) - 1}.embed_norm."),
    (r"encoder\.norm(\d)\.", lambda m: f"encoder.net.stages.{int(m[1]) - 1}.norm."),
    (
        rf"encoder\.block(\d)\.(\d+)\.({'|'.join(map(re.escape, BLOCK))})\.",
        lambda m: f"encoder.net.stages.{int(m[1]) - 1}.blocks.{m[2]}.{BLOCK[m[3]]}.",
    ),
    (r"encoder\.(model\.)?", "encoder.net."),
)
"""(beginning of their name, beginning of ours): Mix Transformers, whose stages they count from 1, then all others."""

RENAMES: dict[str, Rules] = {
    "DeepLabV3": (
        (r"decoder\.(?:aspp|0)\.convs\.4\.([12])\.", lambda m: f"decoder.aspp.branches.4.conv.{int(m[1]) - 1}."),
        (r"decoder\.(?:aspp|0)\.convs\.", "decoder.aspp.branches."),
        (r"decoder\.(?:aspp|0)\.project\.", "decoder.aspp.project."),
        (r"decoder\.(?:conv|1)\.", "decoder.conv.0."),
        (r"decoder\.(?:bn|2)\.", "decoder.conv.1."),
    ),
    "DeepLabV3Plus": (
        (r"decoder\.aspp\.0\.convs\.4\.([12])\.", lambda m: f"decoder.branches.4.conv.{int(m[1]) - 1}."),
        (r"decoder\.aspp\.0\.convs\.([123])\.0\.([01])\.", r"decoder.branches.\1.\2."),
        (r"decoder\.aspp\.0\.convs\.([123])\.1\.", r"decoder.branches.\1.2."),
        (r"decoder\.aspp\.0\.convs\.0\.", "decoder.branches.0."),
        (r"decoder\.aspp\.0\.project\.", "decoder.project."),
        (r"decoder\.aspp\.1\.([01])\.", r"decoder.after.\1."),
        (r"decoder\.aspp\.2\.", "decoder.after.2."),
        (r"decoder\.block1\.", "decoder.block1."),
        (r"decoder\.block2\.0\.([01])\.", r"decoder.block2.\1."),
        (r"decoder\.block2\.1\.", "decoder.block2.2."),
    ),
    "FPN": (
        (r"decoder\.p5\.", "decoder.pyramid.laterals.3."),
        (r"decoder\.p([234])\.skip_conv\.", lambda m: f"decoder.pyramid.laterals.{int(m[1]) - 2}."),
        (r"decoder\.seg_blocks\.(\d)\.block\.(\d)\.block\.", lambda m: f"decoder.rise.{3 - int(m[1])}.convs.{m[2]}."),
    ),
    "PSPNet": (
        (r"decoder\.psp\.blocks\.(\d)\.pool\.1\.", r"decoder.branches.\1."),
        (r"decoder\.conv\.", "decoder.project."),
    ),
    "Segformer": (
        (r"decoder\.mlp_stage\.(\d)\.linear\.", r"decoder.project.\1."),
        (r"decoder\.fuse_stage\.", "decoder.fuse."),
    ),
    "UPerNet": (
        (r"decoder\.feature_norms\.", "decoder.norms."),
        (r"decoder\.psp\.blocks\.(\d)\.1\.", r"decoder.head.pool.psp_modules.\1."),
        (r"decoder\.psp\.out_conv\.", "decoder.head.pool.bottleneck."),
        (
            r"decoder\.fpn_lateral_blocks\.(\d)\.conv_norm_relu\.",
            lambda m: f"decoder.head.lateral_convs.{2 - int(m[1])}.",
        ),
        (r"decoder\.fpn_conv_blocks\.(\d)\.", lambda m: f"decoder.head.fpn_convs.{2 - int(m[1])}."),
        (r"decoder\.fusion_block\.", "decoder.head.fpn_bottleneck."),
    ),
    "Unet": ((r"decoder\.blocks\.(\d)\.conv([12])\.", lambda m: f"decoder.blocks.{m[1]}.{int(m[2]) - 1}."),),
    "UnetPlusPlus": (
        (r"decoder\.blocks\.x_0_4\.conv([12])\.", lambda m: f"closing.{int(m[1]) - 1}."),
        (
            r"decoder\.blocks\.x_(\d)_(\d)\.conv([12])\.",
            lambda m: f"nodes.{3 - int(m[2])}_{int(m[2]) - int(m[1]) + 1}.{int(m[3]) - 1}.",
        ),
    ),
}
"""smp's class -> (beginning of their name, beginning of ours), but for the encoder's and the classifier's."""

HEADS = {"UnetPlusPlus": "heads.4."}
"""Where our classifier is not called `head`."""


def from_smp(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """smp's state dict of `name`, such as "UnetPlusPlus-resnet34", under the names of our network `OURS[name]`.

    Raises ModelError on another name, WeightsError on a tensor that smp has not.
    """
    if name not in OURS:
        raise ModelError(f"unknown smp network {name!r}; {nearest(name, list(OURS))}")
    theirs = name.split("-")[0]
    rules = (*RENAMES[theirs], (r"segmentation_head\.0\.", HEADS.get(theirs, "head.")), *ENCODER)
    renamed = {}
    for key, tensor in state.items():
        rule = next(((old, new) for old, new in rules if re.match(old, key)), None)
        if rule is None:
            raise WeightsError(f"tensor {key!r} is not part of smp's {name}; give its state_dict as smp saves it")
        own = re.sub(rule[0], rule[1], key, count=1)
        if ".attention.kv." in own:
            for half, part in zip(("key", "value"), tensor.chunk(2), strict=True):
                renamed[own.replace(".kv.", f".{half}.")] = part
        else:
            renamed[own] = tensor
    return renamed


convert = from_smp


def spare(key: str, name: str) -> bool:
    """Whether a tensor of theirs is stored for nothing: PSPNet ends its encoder before the stages that these are in."""
    return name.startswith("PSPNet-") and re.match(r"encoder\.layer[34]\.", key) is not None


def options_of(state: Mapping[str, torch.Tensor], name: str) -> dict[str, Any]:
    """What of our network's options only the weights tell: the decoder's width."""
    width = state.get(WIDTHS.get(name.split("-")[0], ""))
    return {} if width is None else {"channels": width.shape[0]}


def name_of(model: str, encoder: str | None) -> str:
    """ "UnetPlusPlus-resnet34" from ("unetpp", "resnet34") or ("UnetPlusPlus", "resnet34"); ModelError if unknown."""
    plain = re.sub(r"[-_]", "", model.lower())
    if plain in ABSENT:
        raise ModelError(f"smp's {model} cannot be imported; {', '.join(PAGES)} can")
    if plain not in SPELLINGS:
        raise ModelError(f"unknown smp network {model!r}; {nearest(model, list(SPELLINGS))}")
    theirs = SPELLINGS[plain]
    if encoder not in PAGES[theirs][1]:
        raise ModelError(
            f"--encoder {encoder} of smp's {theirs} cannot be imported; {nearest(str(encoder), PAGES[theirs][1])}"
        )
    return f"{theirs}-{encoder}"
