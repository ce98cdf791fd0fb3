"""Names and shapes of tensors as others publish them, written from their sources and tables, not from our networks.

Hugging Face: nvidia/segformer-*; smp: version 0.6.0; mmsegmentation: its heads, ResNetV1c and MixVisionTransformer.
Buffers that count batches are left out: old files lack them.
"""

from collections.abc import Iterable

Shapes = dict[str, tuple[int, ...]]

MIT = {
    0: ((32, 64, 160, 256), (2, 2, 2, 2), 256),
    1: ((64, 128, 320, 512), (2, 2, 2, 2), 256),
    2: ((64, 128, 320, 512), (3, 4, 6, 3), 768),
    3: ((64, 128, 320, 512), (3, 4, 18, 3), 768),
    4: ((64, 128, 320, 512), (3, 8, 27, 3), 768),
    5: ((64, 128, 320, 512), (3, 6, 40, 3), 768),
}
"""Size of a Mix Transformer -> channels, blocks, width of SegFormer's head (the paper's table 6)."""

REDUCTIONS = (8, 4, 2, 1)


def linear(name: str, out: int, channels: int, *kernel: int) -> Shapes:
    """A layer with bias."""
    return {f"{name}.weight": (out, channels, *kernel), f"{name}.bias": (out,)}


def norm(name: str, channels: int) -> Shapes:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def batch_norm(name: str, channels: int) -> Shapes:
    return norm(name, channels) | {f"{name}.running_mean": (channels,), f"{name}.running_var": (channels,)}


def conv(name: str, out: int, channels: int, kernel: int) -> Shapes:
    return {f"{name}.weight": (out, channels, kernel, kernel)}


def merged(parts: Iterable[Shapes]) -> Shapes:
    shapes: Shapes = {}
    for part in parts:
        assert not shapes.keys() & part.keys()
        shapes |= part
    return shapes


def hf_segformer(size: int, classes: int) -> Shapes:
    """The state dict of nvidia/segformer-b{size}-finetuned-*."""
    channels, depths, width = MIT[size]
    parts: list[Shapes] = []
    for stage, (c, depth, reduction) in enumerate(zip(channels, depths, REDUCTIONS, strict=True)):
        before, kernel = (channels[stage - 1], 3) if stage else (3, 7)
        parts += [
            linear(f"segformer.encoder.patch_embeddings.{stage}.proj", c, before, kernel, kernel),
            norm(f"segformer.encoder.patch_embeddings.{stage}.layer_norm", c),
            norm(f"segformer.encoder.layer_norm.{stage}", c),
            linear(f"decode_head.linear_c.{stage}.proj", width, c),
        ]
        for block in range(depth):
            at = f"segformer.encoder.block.{stage}.{block}"
            parts += [norm(f"{at}.layer_norm_1", c), norm(f"{at}.layer_norm_2", c)]
            parts += [linear(f"{at}.attention.self.{part}", c, c) for part in ("query", "key", "value")]
            parts.append(linear(f"{at}.attention.output.dense", c, c))
            if reduction > 1:
                parts.append(linear(f"{at}.attention.self.sr", c, c, reduction, reduction))
                parts.append(norm(f"{at}.attention.self.layer_norm", c))
            parts.append(linear(f"{at}.mlp.dense1", 4 * c, c))
            parts.append(linear(f"{at}.mlp.dwconv.dwconv", 4 * c, 1, 3, 3))
            parts.append(linear(f"{at}.mlp.dense2", c, 4 * c))
    parts.append(conv("decode_head.linear_fuse", width, 4 * width, 1))
    parts.append(batch_norm("decode_head.batch_norm", width))
    parts.append(linear("decode_head.classifier", classes, width, 1, 1))
    return merged(parts)


def smp_segformer(size: int, classes: int) -> Shapes:
    """The state dict of smp-hub/segformer-b{size}-*."""
    channels, depths, width = MIT[size]
    parts: list[Shapes] = []
    for stage, (c, depth, reduction) in enumerate(zip(channels, depths, REDUCTIONS, strict=True)):
        before, kernel = (channels[stage - 1], 3) if stage else (3, 7)
        parts += [
            linear(f"encoder.patch_embed{stage + 1}.proj", c, before, kernel, kernel),
            norm(f"encoder.patch_embed{stage + 1}.norm", c),
            norm(f"encoder.norm{stage + 1}", c),
            linear(f"decoder.mlp_stage.{3 - stage}.linear", width, c),
        ]
        for block in range(depth):
            at = f"encoder.block{stage + 1}.{block}"
            parts += [norm(f"{at}.norm1", c), norm(f"{at}.norm2", c)]
            parts += [linear(f"{at}.attn.q", c, c), linear(f"{at}.attn.kv", 2 * c, c), linear(f"{at}.attn.proj", c, c)]
            if reduction > 1:
                parts += [linear(f"{at}.attn.sr", c, c, reduction, reduction), norm(f"{at}.attn.norm", c)]
            parts += [linear(f"{at}.mlp.fc1", 4 * c, c), linear(f"{at}.mlp.dwconv.dwconv", 4 * c, 1, 3, 3)]
            parts.append(linear(f"{at}.mlp.fc2", c, 4 * c))
    parts += [conv("decoder.fuse_stage.0", width, 4 * width, 1), batch_norm("decoder.fuse_stage.1", width)]
    parts.append(linear("segmentation_head.0", classes, width, 1, 1))
    return merged(parts)


def mmseg(net: str, backbone: str, classes: int, *, aux: bool = True) -> Shapes:
    """A checkpoint of mmsegmentation: fcn, pspnet, deeplabv3(plus), upernet on r50, r101; segformer on b0 to b5."""
    heads = {"fcn": _fcn, "pspnet": _psp, "deeplabv3": _aspp, "deeplabv3plus": _sep_aspp, "upernet": _uper}
    if net == "segformer":
        channels, _, _ = MIT[int(backbone[1])]
        parts = [_mit(int(backbone[1]))]
        parts += [_module(f"decode_head.convs.{level}", 256, c, 1) for level, c in enumerate(channels)]
        parts += [_module("decode_head.fusion_conv", 256, 1024, 1), linear("decode_head.conv_seg", classes, 256, 1, 1)]
        return merged(parts)
    parts = [
        _resnet_v1c(23 if backbone == "r101" else 6),
        heads[net](),
        linear("decode_head.conv_seg", classes, 512, 1, 1),
    ]
    if aux:
        parts.append(_module("auxiliary_head.convs.0", 256, 1024, 3))
        parts.append(linear("auxiliary_head.conv_seg", classes, 256, 1, 1))
    return merged(parts)


def _module(name: str, out: int, channels: int, kernel: int) -> Shapes:
    """mmcv's ConvModule."""
    return conv(f"{name}.conv", out, channels, kernel) | batch_norm(f"{name}.bn", out)


def _separable(name: str, out: int, channels: int) -> Shapes:
    """mmcv's DepthwiseSeparableConvModule, a norm after either convolution."""
    depthwise = conv(f"{name}.depthwise_conv.conv", channels, 1, 3) | batch_norm(f"{name}.depthwise_conv.bn", channels)
    return depthwise | _module(f"{name}.pointwise_conv", out, channels, 1)


def _resnet_v1c(third: int) -> Shapes:
    parts: list[Shapes] = []
    for index, (out, channels) in enumerate(((32, 3), (32, 32), (64, 32))):
        parts += [
            conv(f"backbone.stem.{3 * index}", out, channels, 3),
            batch_norm(f"backbone.stem.{3 * index + 1}", out),
        ]
    channels = 64
    for layer, (width, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, third, 3), strict=True), start=1):
        for block in range(blocks):
            at = f"backbone.layer{layer}.{block}"
            for number, (out, into, kernel) in enumerate(
                ((width, channels, 1), (width, width, 3), (4 * width, width, 1)), 1
            ):
                parts += [conv(f"{at}.conv{number}", out, into, kernel), batch_norm(f"{at}.bn{number}", out)]
            if block == 0:
                parts += [
                    conv(f"{at}.downsample.0", 4 * width, channels, 1),
                    batch_norm(f"{at}.downsample.1", 4 * width),
                ]
            channels = 4 * width
    return merged(parts)


def _mit(size: int) -> Shapes:
    channels, depths, _ = MIT[size]
    parts: list[Shapes] = []
    for stage, (c, depth, reduction) in enumerate(zip(channels, depths, REDUCTIONS, strict=True)):
        before, kernel = (channels[stage - 1], 3) if stage else (3, 7)
        at = f"backbone.layers.{stage}"
        parts += [linear(f"{at}.0.projection", c, before, kernel, kernel), norm(f"{at}.0.norm", c), norm(f"{at}.2", c)]
        for block in range(depth):
            at = f"backbone.layers.{stage}.1.{block}"
            parts += [norm(f"{at}.norm1", c), norm(f"{at}.norm2", c)]
            parts.append({f"{at}.attn.attn.in_proj_weight": (3 * c, c), f"{at}.attn.attn.in_proj_bias": (3 * c,)})
            parts.append(linear(f"{at}.attn.attn.out_proj", c, c))
            if reduction > 1:
                parts += [linear(f"{at}.attn.sr", c, c, reduction, reduction), norm(f"{at}.attn.norm", c)]
            parts += [linear(f"{at}.ffn.layers.0", 4 * c, c, 1, 1), linear(f"{at}.ffn.layers.1", 4 * c, 1, 3, 3)]
            parts.append(linear(f"{at}.ffn.layers.4", c, 4 * c, 1, 1))
    return merged(parts)


def _fcn() -> Shapes:
    convs = [_module("decode_head.convs.0", 512, 2048, 3), _module("decode_head.convs.1", 512, 512, 3)]
    return merged([*convs, _module("decode_head.conv_cat", 512, 2048 + 512, 3)])


def _psp() -> Shapes:
    means = [_module(f"decode_head.psp_modules.{index}.1", 512, 2048, 1) for index in range(4)]
    return merged([*means, _module("decode_head.bottleneck", 512, 2048 + 4 * 512, 3)])


def _aspp() -> Shapes:
    branches = [_module(f"decode_head.aspp_modules.{index}", 512, 2048, 3 if index else 1) for index in range(4)]
    around = [_module("decode_head.image_pool.1", 512, 2048, 1), _module("decode_head.bottleneck", 512, 5 * 512, 3)]
    return merged([*branches, *around])


def _sep_aspp() -> Shapes:
    parts = [_module("decode_head.aspp_modules.0", 512, 2048, 1)]
    parts += [_separable(f"decode_head.aspp_modules.{index}", 512, 2048) for index in (1, 2, 3)]
    parts += [_module("decode_head.image_pool.1", 512, 2048, 1), _module("decode_head.bottleneck", 512, 5 * 512, 3)]
    parts += [
        _module("decode_head.c1_bottleneck", 48, 256, 1),
        _separable("decode_head.sep_bottleneck.0", 512, 512 + 48),
    ]
    return merged([*parts, _separable("decode_head.sep_bottleneck.1", 512, 512)])


def _uper() -> Shapes:
    parts = [_psp()]
    parts += [_module(f"decode_head.lateral_convs.{level}", 512, c, 1) for level, c in enumerate((256, 512, 1024))]
    parts += [_module(f"decode_head.fpn_convs.{level}", 512, 512, 3) for level in range(3)]
    return merged([*parts, _module("decode_head.fpn_bottleneck", 512, 4 * 512, 3)])
