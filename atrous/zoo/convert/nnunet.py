"""nnU-Net v2's networks, `PlainConvUNet` and `ResidualEncoderUNet`: our `nnunet2d` and `nnunet3d`.

Their files hold most tensors two or three times: each convolution and norm also as a part of `all_modules`, and the
encoder also inside of the decoder. Heads of deep supervision are always there.

Source: github.com/MIC-DKFZ/dynamic-network-architectures 0.4.4, building_blocks.
"""

import re
from collections.abc import Mapping

import torch

from atrous.errors import WeightsError

BLOCKS = (
    (r"encoder\.stem\.convs\.0", "stem", 0),
    (r"encoder\.stages\.(\d+)\.0\.convs\.(\d+)", r"down.\1.\2", 0),
    (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv1", r"down.\1.\2.first", 0),
    (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv2", r"down.\1.\2.second", 0),
    (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.0", r"down.\1.\2.skip", 0),
    (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.1", r"down.\1.\2.skip", 1),  # behind the mean over the stride
    (r"decoder\.stages\.(\d+)\.convs\.(\d+)", r"merge.\1.\2", 0),
)
"""(their block, ours, place of its convolution in ours; the norm comes next)"""
ALONE = ((r"decoder\.transpconvs\.(\d+)", r"up.\1"), (r"decoder\.seg_layers\.(\d+)", r"scores.\1"))
"""(their convolution, ours)"""


def spare(key: str, name: str) -> bool:
    """Whether a tensor is stored under another name too."""
    return ".all_modules." in key or key.startswith("decoder.encoder.")


def convert(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """nnU-Net's state dict under the names of our network; WeightsError on a tensor that its networks have not."""
    return {_renamed(key): tensor for key, tensor in state.items()}


def _renamed(key: str) -> str:
    for theirs, ours, place in BLOCKS:
        if found := re.fullmatch(rf"{theirs}\.(conv|norm)\.(weight|bias)", key):
            *_, layer, kind = found.groups()
            return f"{found.expand(ours)}.{place + (layer == 'norm')}.{kind}"
    for theirs, ours in ALONE:
        if found := re.fullmatch(rf"{theirs}\.(weight|bias)", key):
            return f"{found.expand(ours)}.{found.groups()[-1]}"
    raise WeightsError(f"tensor {key!r} is not part of nnU-Net's networks; give its checkpoint as nnU-Net saves it")
