"""The network that most pages build: an encoder, a head, and perhaps an auxiliary head.

    encoder  image (N, C, H, W) -> features, shallow first
    head     features -> logits (N, K, h, w) at the head's stride; a head that trains on more than
             these also has `outputs(features) -> tuple`, the main logits first
    aux      features -> logits (N, K, h, w), for training only

What they have in common stands here once: the resize to the image, the outputs that training
compares, norms that take a single value.

Axes: N images, C channels, H x W pixels, h x w cells of a map, K classes.
"""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any

import torch
from torch import nn

from atrous import encoders
from atrous.encoders import Encoder
from atrous.layers import fcn_head, safe_norms
from atrous.layers.vgg_dilated import DilatedVGG16
from atrous.models import former
from atrous.models.model import Strided
from atrous.models.options import Count, Pretrained, Stride
from atrous.ops.resize import Tail

Features = tuple[torch.Tensor, ...]
"""Maps (N, C, h, w) of an encoder, shallow first."""

Place = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, Tail]]
"""(logits, image) -> the logits, perhaps padded, and the resize that puts them on the image."""

CLASSES = Parameter("classes", Parameter.POSITIONAL_OR_KEYWORD, default=21, annotation=Count)
"""The first parameter of every builder."""


def to_image(image: torch.Tensor, *, align_corners: bool = False) -> Tail:
    """The resize to the image's own size."""
    return Tail((image.shape[2], image.shape[3]), align_corners=align_corners)


def stretched(logits: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
    """The logits as they are, and the resize that stretches them over the image."""
    return logits, to_image(image)


class Page(Strided):
    """An encoder and a head: image (N, C, H, W) -> logits (N, K, H, W), any H, W >= 1.

    Args:
        encoder: image -> features, shallow first; None for a network without one, whose head takes
            the image.
        head: features -> logits at the head's stride. Its `outputs`, if it has them, are all the
            logits that training compares with the labels, the main ones first.
        classes: K.
        aux: an auxiliary head, features -> logits; its output comes last in `outputs`.
        in_channels: of the image, where there is no encoder to tell.
        place: how logits lie on the image; by default they are stretched over it.
    """

    encoder: Any
    head: Any
    opened = ("head",)
    """Parts that are containers only: a drawing of the network shows what is in them."""

    def __init__(
        self,
        encoder: Encoder | DilatedVGG16 | None,
        head: nn.Module,
        classes: int,
        aux: nn.Module | None = None,
        *,
        in_channels: int | None = None,
        place: Place = stretched,
    ) -> None:
        super().__init__()
        if encoder is not None:
            self.encoder = encoder
        self.head, self.aux, self.classes, self._place = head, aux, classes, place
        self.in_channels = in_channels if encoder is None else encoder.in_channels
        safe_norms(self)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Logits (N, K, h, w) at the head's stride, and the resize that puts them on the image."""
        return self._place(self.head(self._features(image)), image)

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What training compares with the labels: the logits, then the auxiliary ones, all (N, K, H, W)."""
        features = self._features(image)
        logits = self.head.outputs(features) if hasattr(self.head, "outputs") else (self.head(features),)
        if self.aux is not None:
            logits = (*logits, self.aux(features))
        placed = (self._place(one, image) for one in logits)
        return tuple(tail.apply(one) for one, tail in placed)

    def _features(self, image: torch.Tensor) -> Any:
        return self.encoder(image) if hasattr(self, "encoder") else image

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        former.move_keys(state_dict, prefix, set(self.state_dict()))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class On(nn.Sequential):
    """Layers in a row on the features at `index`: features, shallow first -> what the last layer gives.

    A layer's name is its key in the state dict, and its place where it has none.
    """

    def __init__(self, index: int, *layers: nn.Module, **named: nn.Module) -> None:
        super().__init__(*layers)
        self.index = index
        for name, layer in named.items():
            self.add_module(name, layer)

    def forward(self, features: Features) -> torch.Tensor:
        return super().forward(features[self.index])


def fcn_aux(encoder: Encoder, classes: int, index: int = -2) -> On:
    """The auxiliary head of PSPNet and many after it: torchvision's FCN head on the features at `index`."""
    return On(index, *fcn_head(encoder.channels[index], classes))


def on(make: Callable[..., Any], *kept: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a builder of one that is given a part: the options of `make`, which makes the part, are its options too.

    kept: options of `make` that keep their defaults.

    Example:
        >>> @on(trunk)  # def trunk(*, in_channels: Count = 3) -> nn.Module
        ... def net(trunk: nn.Module, classes: int, *, dropout: Share = 0.1) -> nn.Module: ...
    """
    shared = [one for one in signature(make).parameters.values() if one.name not in kept]

    def decorate(build: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(build)
        def builder(classes: Count = 21, **options: Any) -> Any:
            given = {one.name: options.pop(one.name) for one in shared if one.name in options}
            return build(make(**given), classes, **options)

        own = signature(build)
        taken = [CLASSES, *shared, *list(own.parameters.values())[2:]]
        builder.__signature__ = own.replace(parameters=taken)  # type: ignore[attr-defined]
        builder.__annotations__ = {one.name: one.annotation for one in taken}
        return builder

    return decorate


def on_encoder(
    default: str, *, stride: Any = 32, fixed: bool = False, **rules: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`on` an encoder: encoder (`default`), in_channels, pretrained and stride are options of the builder.

    stride: the default of `stride`. fixed: that is the only one. rules: what else `encoders.encoder` is told.
    """

    def make(
        *, encoder: str = default, in_channels: Count = 3, pretrained: Pretrained = False, stride: Stride = stride
    ) -> Encoder:
        return encoders.encoder(encoder, in_channels=in_channels, stride=stride, pretrained=pretrained, **rules)

    return on(make, *["stride"][: int(fixed)])


def outputs_of(model: nn.Module, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What training compares with the labels, (N, K, H, W) each: a model's `outputs`, or its logits alone."""
    page: Any = model
    return page.outputs(image) if hasattr(page, "outputs") else (page(image),)
