"""A network in stages, for pages that change the map half way (ICNet) or that end early (ReSeg)."""

from itertools import pairwise
from typing import Any

from timm.models import FeatureListNet
from torch import nn

from atrous.errors import ModelError


def stages(net: Any, name: str) -> list[list[nn.Module]]:
    """Per feature of timm's features-only `net` the modules that lead to it from the feature before, in order.

    Run one after another from the image on they give `net`'s features, where one may put something in between.
    Raises ModelError for networks that are no such chain; `name` is for its message.
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
    """Take from `net` all that comes after a feature, in place. Raises ModelError as `stages` does."""
    kept = {id(module) for stage in stages(net, name)[: feature + 1] for module in stage}
    if isinstance(net, FeatureListNet):
        for key in [key for key, module in net.items() if id(module) not in kept]:
            del net[key]
    else:
        net.blocks = nn.Sequential(*(block for block in net.blocks if id(block) in kept))
    net.feature_info = net.feature_info.from_other(tuple(range(feature + 1)))


def _chain(net: Any) -> dict[str, nn.Module]:
    """The modules that `net` runs one after another, by name with underscores; empty where it is no chain."""
    if isinstance(net, FeatureListNet):
        return dict(net.items())
    if {"conv_stem", "bn1", "blocks"} <= set(dict(net.named_children())):  # EfficientNet, MobileNetV3
        stem = {key: getattr(net, key) for key in ("conv_stem", "bn1", "act1") if hasattr(net, key)}
        return stem | {f"blocks_{index}": block for index, block in enumerate(net.blocks)}
    return {}
