"""A network in stages, for pages that change the map half way (ICNet) or that end early (ReSeg)."""

from itertools import pairwise
from typing import Any

from timm.models import FeatureListNet
from torch import nn

from atrous.errors import ModelError


def stages(net: Any, name: str) -> list[list[nn.Module]]:
    """The modules that lead from each feature of timm's features-only `net` to the next, in order.

    Run one after another on the image they give the features of `net`; other work may come in
    between.

    Args:
        net: timm's network.
        name: of the encoder, for the error.

    Raises:
        ModelError: if `net` is not such a chain.

    Example:
        >>> from atrous import encoders
        >>> [len(stage) for stage in encoders.stages(encoders.encoder("resnet18").net, "resnet18")]
        [3, 2, 1, 1, 1]
    """
    chain = _chain(net)
    names = [module["module"].replace(".", "_") for module in net.feature_info.get_dicts()] if chain else []
    order = list(chain)
    if not names or not set(names) <= set(order):
        raise ModelError(
            f"encoder {name!r} cannot be cut into stages; use one that can, such as 'resnet50', 'vgg16', "
            "'convnext_tiny' or 'tf_efficientnet_lite0'"
        )
    ends = [0, *(order.index(name) + 1 for name in names)]
    return [[chain[name] for name in order[start:end]] for start, end in pairwise(ends)]


def end_at(net: Any, name: str, feature: int) -> None:
    """Remove from `net` all that comes after a feature, in place; raises as `stages` does."""
    kept = {id(module) for stage in stages(net, name)[: feature + 1] for module in stage}
    if isinstance(net, FeatureListNet):
        for key in [key for key, module in net.items() if id(module) not in kept]:
            del net[key]
    else:
        net.blocks = nn.Sequential(*(block for block in net.blocks if id(block) in kept))
    net.feature_info = net.feature_info.from_other(tuple(range(feature + 1)))


def _chain(net: Any) -> dict[str, nn.Module]:
    """The modules that `net` runs one after another, by name; empty if it is not a chain."""
    if isinstance(net, FeatureListNet):
        return dict(net.items())
    if {"conv_stem", "bn1", "blocks"} <= set(dict(net.named_children())):  # EfficientNet, MobileNetV3
        stem = {key: getattr(net, key) for key in ("conv_stem", "bn1", "act1") if hasattr(net, key)}
        return stem | {f"blocks_{index}": block for index, block in enumerate(net.blocks)}
    return {}
