"""Hugging Face's SegFormer, B0 to B5: the names of the published files and those of transformers 5 in memory.

Its logits are at stride 4 and its images RGB in 0..1 with the ImageNet mean and standard deviation.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from atrous.encoders.mit import from_hf as encoder_from_hf
from atrous.errors import ModelError, WeightsError, nearest

OURS: dict[str, tuple[str, dict[str, Any]]] = {
    f"segformer-b{size}": ("segformer", {"encoder": f"mit_b{size}"}) for size in range(6)
}
"""Hugging Face's name, without data set and crop -> our model and its options."""

RENAMES = (
    (r"decode_head\.(linear_c|linear_projections)\.(\d)\.proj\.", r"head.project.\2."),
    (r"decode_head\.linear_fuse\.", "head.fuse.0."),
    (r"decode_head\.batch_norm\.", "head.fuse.1."),
    (r"decode_head\.classifier\.", "head.score.1."),
)
"""(beginning of their name, beginning of ours) in the head; the encoder's are in `atrous.encoders.mit`."""


def from_hf(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Hugging Face's state dict of `name`, such as "segformer-b0", under the names of our network `OURS[name]`.

    Raises ModelError on a name that is not one of the six, WeightsError on a tensor that SegFormer has not.
    """
    if name not in OURS:
        raise ModelError(f"unknown Hugging Face network {name!r}; {nearest(name, list(OURS))}")
    renamed = {}
    for key, tensor in state.items():
        rule = next(((old, new) for old, new in RENAMES if re.match(old, key)), None)
        if rule is not None:
            renamed[re.sub(rule[0], rule[1], key, count=1)] = tensor
        elif key.startswith("segformer."):
            renamed |= {f"encoder.net.{own}": tensor for own in encoder_from_hf({key: tensor})}
        else:
            raise WeightsError(
                f"tensor {key!r} is not part of Hugging Face's {name}; give the state_dict of its "
                "SegformerForSemanticSegmentation"
            )
    return renamed


convert = from_hf


def name_of(model: str, encoder: str | None) -> str:
    """ "segformer-b0" from ("segformer", "mit-b0"), ("nvidia/segformer-b0-finetuned-ade-512-512", None) and the like.

    Raises ModelError on what is no SegFormer, or on two sizes that contradict each other.
    """
    bare, size = re.sub(r"SegformerForSemanticSegmentation$", "segformer", model), None
    if match := re.fullmatch(r"(?:.*/)?segformer(?:[-_.](b\d)(?:[-_.].*)?)?", bare):
        size = match[1]
    named = re.fullmatch(r"(?:.*/)?(?:mit|segformer)[-_.](b\d)(?:[-_.].*)?", encoder or "")
    name = f"segformer-{size or (named[1] if named else encoder)}" if match else model
    if name not in OURS or (encoder and not named) or (size and named and size != named[1]):
        wrong = name if name not in OURS else f"{model} on {encoder}"
        raise ModelError(f"unknown Hugging Face network {wrong!r}; {nearest(wrong, list(OURS))}")
    return name
