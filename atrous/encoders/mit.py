"""Mix Transformer, the encoder of SegFormer: `mit_b0` ... `mit_b5`.

Xie et al. 2021, arXiv 2105.15203, section 3.1. Four stages of strides 4, 8, 16 and 32. Each embeds
overlapping patches by a strided convolution, then alternates attention, whose keys and values are
reduced R x R times (R = 8, 4, 2, 1), with a Mix-FFN, whose depthwise 3x3 conveys positions. There
is no position embedding, so any size will do. Layer norms have eps 1e-5, as in Hugging Face's nets.

Axes: N images, T = H x W tokens of a stage, C channels.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath
from timm.models import FeatureInfo
from torch import nn
from torch.nn import functional

from atrous.errors import ModelError

MIT: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "mit_b0": ((32, 64, 160, 256), (2, 2, 2, 2)),
    "mit_b1": ((64, 128, 320, 512), (2, 2, 2, 2)),
    "mit_b2": ((64, 128, 320, 512), (3, 4, 6, 3)),
    "mit_b3": ((64, 128, 320, 512), (3, 4, 18, 3)),
    "mit_b4": ((64, 128, 320, 512), (3, 8, 27, 3)),
    "mit_b5": ((64, 128, 320, 512), (3, 6, 40, 3)),
}
"""Name -> channels and blocks of each stage (table 6 of the paper)."""

HEADS, REDUCTIONS, STRIDES = (1, 2, 5, 8), (8, 4, 2, 1), (4, 8, 16, 32)

RENAMES = (
    (r"^segformer\.", ""),
    (r"^encoder\.patch_embeddings\.(\d)\.", r"stages.\1.patch_embeddings."),
    (r"^encoder\.block\.(\d)\.", r"stages.\1.blocks."),
    (r"^encoder\.layer_norm\.(\d)\.", r"stages.\1.layer_norm."),
    (r"\.attention\.self\.sr\.", ".attention.reduce."),
    (r"\.attention\.self\.layer_norm\.", ".attention.reduce_norm."),
    (r"\.attention\.self\.", ".attention."),
    (r"\.attention\.output\.dense\.", ".attention.project."),
    (r"\.sequence_reduction\.sequence_reduction\.", ".reduce."),
    (r"\.sequence_reduction\.layer_norm\.", ".reduce_norm."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.o_proj\.", ".project."),
    (r"\.patch_embeddings\.layer_norm\.", ".embed_norm."),
    (r"\.patch_embeddings\.proj\.", ".embed."),
    (r"\.(layer_norm_1|layernorm_before)\.", ".norm1."),
    (r"\.(layer_norm_2|layernorm_after)\.", ".norm2."),
    (r"^(stages\.\d)\.layer_norm\.", r"\1.norm."),
    (r"\.mlp\.(dense1|fc1)\.", ".ffn.expand."),
    (r"\.mlp\.dwconv\.dwconv\.", ".ffn.depthwise."),
    (r"\.mlp\.(dense2|fc2)\.", ".ffn.project."),
)
"""Hugging Face's names -> ours, applied in order: of the published files and of transformers 5."""


class Attention(nn.Module):
    """Tokens (N, T, C) of a map h x w -> (N, T, C): attention with reduced keys and values.

    The reduction is a strided convolution.
    """

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(channels, channels) for _ in range(3))
        self.project = nn.Linear(channels, channels)
        self.reduce = nn.Conv2d(channels, channels, reduction, stride=reduction) if reduction > 1 else None
        self.reduce_norm = nn.LayerNorm(channels) if reduction > 1 else None

    def forward(self, x: torch.Tensor, height: int, width: int) -> torch.Tensor:
        fewer = x
        if self.reduce is not None and self.reduce_norm is not None:
            fewer = self.reduce_norm(_tokens(self.reduce(_map(x, height, width))))  # (N, T / R^2, C)
        query, key, value = self._split(self.query(x)), self._split(self.key(fewer)), self._split(self.value(fewer))
        mixed = functional.scaled_dot_product_attention(query, key, value)  # (N, heads, T, C / heads)
        return self.project(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """(N, T, C) -> (N, heads, T, C / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class MixFFN(nn.Module):
    """Tokens (N, T, C) of a map h x w -> (N, T, C): to 4 C, depthwise 3x3, GELU, back (eq. 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 4 * channels
        self.expand, self.project = nn.Linear(channels, wide), nn.Linear(wide, channels)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)

    def forward(self, x: torch.Tensor, height: int, width: int) -> torch.Tensor:
        x = _tokens(self.depthwise(_map(self.expand(x), height, width)))
        return self.project(functional.gelu(x))


class Block(nn.Module):
    """Attention, then Mix-FFN; each after a layer norm, with a skip and stochastic depth."""

    def __init__(self, channels: int, heads: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(channels), Attention(channels, heads, reduction)
        self.norm2, self.ffn = nn.LayerNorm(channels), MixFFN(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor, height: int, width: int) -> torch.Tensor:
        x = x + self.drop_path(self.attention(self.norm1(x), height, width))
        return x + self.drop_path(self.ffn(self.norm2(x), height, width))


class Stage(nn.Module):
    """Embedding, blocks, layer norm.

    (N, before, H, W) -> (N, channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, before: int, channels: int, stride: int, heads: int, reduction: int, drops: Sequence[float]):
        super().__init__()
        self.embed = nn.Conv2d(before, channels, 2 * stride - 1, stride=stride, padding=stride - 1)
        self.embed_norm, self.norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.blocks = nn.ModuleList(Block(channels, heads, reduction, drop) for drop in drops)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        height, width = x.shape[2:]
        x = self.embed_norm(_tokens(x))
        for block in self.blocks:
            x = block(x, height, width)
        return _map(self.norm(x), height, width)


class MixTransformer(nn.Module):
    """Image (N, C, H, W) -> four maps (N, channels[i], ceil(H / s), ceil(W / s)), s = 4, 8, 16, 32.

    H and W must be >= 29; `Encoder` pads smaller images.

    Args:
        channels: of each stage.
        depths: blocks of each stage.
        in_channels: of the image.
        drop_path: how often the last block is skipped in training, 0..1; earlier blocks in
            proportion.
    """

    def __init__(
        self, channels: Sequence[int], depths: Sequence[int], in_channels: int = 3, *, drop_path: float = 0.1
    ) -> None:
        super().__init__()
        self.pretrained_cfg = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
        self.feature_info = FeatureInfo(
            [{"num_chs": c, "reduction": s, "module": ""} for c, s in zip(channels, STRIDES, strict=True)], (0, 1, 2, 3)
        )
        drops = [drop_path * block / max(1, sum(depths) - 1) for block in range(sum(depths))]
        self.stages, before = nn.ModuleList(), in_channels
        for index, (width, depth) in enumerate(zip(channels, depths, strict=True)):
            first = sum(depths[:index])
            stride, heads, reduction = 2 if index else 4, HEADS[index], REDUCTIONS[index]
            self.stages.append(Stage(before, width, stride, heads, reduction, drops[first : first + depth]))
            before = width
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.Conv2d):  # variance 2 / fan out, as in the authors' code
                fan_out = layer.kernel_size[0] ** 2 * layer.out_channels // layer.groups
                nn.init.normal_(layer.weight, std=(2 / fan_out) ** 0.5)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        features = [image]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]


def mix_transformer(name: str, in_channels: int = 3, stride: int = 32) -> MixTransformer:
    """The Mix Transformer `name`, one of `MIT`; ModelError if the stride is not 32."""
    if stride != 32:
        raise ModelError(
            f"encoder {name!r} has features at strides {STRIDES} and cannot be built with stride {stride!r}; "
            "use 32, or an encoder that can be dilated, such as 'resnet50'"
        )
    return MixTransformer(*MIT[name], in_channels)


def from_hf(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Hugging Face's Mix Transformer, alone or in a SegFormer, by our names and without heads."""
    renamed = {}
    for key, tensor in state.items():
        if key.startswith(("decode_head.", "classifier.")):
            continue
        for old, new in RENAMES:
            key = re.sub(old, new, key)
        renamed[key] = tensor
    return renamed


def _tokens(x: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) -> (N, H W, C)."""
    return x.flatten(2).transpose(1, 2)


def _map(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(N, H W, C) -> (N, C, H, W)."""
    return x.transpose(1, 2).unflatten(2, (height, width))
