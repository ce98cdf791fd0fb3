"""U-Net++: U-Nets of every depth in one, their skips nested, so that a trained net can be pruned to a shallower one.

    network   year  source            what is in it
    U-Net++   2018  arXiv 1807.10165  a plain encoder from stride 1 on, up-convolutions, no norm (`encoder="plain"`)
    the same  now   common practice   any encoder, upsampling to the skip's size, batch norm (as smp has it)

X[i, j] = H(Up(X[i + 1, j - 1]), X[i, j - 1], ..., X[i, 0]), where X[i, 0] is the encoder's level i, the finest first,
and H two 3x3 (section 3.1, equation 1). X[0, j] is the output of the U-Net of depth j: with `aux` each of
them has a head (deep supervision), and `prune(j)` leaves what it needs.

On an encoder that begins at stride 2 or 4, the deepest output goes on to the image's own size through two more 3x3.

Axes: N images, C channels, H x W pixels, K classes, L levels above the deepest.
"""

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from atrous import encoders
from atrous.encoders.cut import end_at
from atrous.errors import ModelError, WeightsError
from atrous.layers import conv_bn_relu, safe_norms
from atrous.models.options import Count, Counts, Pretrained, Stride
from atrous.models.page import on, to_image
from atrous.ops.resize import Tail, resize


class Plain(nn.Module):
    """The paper's encoder: two 3x3 with ReLU per level, a 2x2 max-pool between, `width` channels, then twice as many.

    An odd side is rounded up by the pool, so that any H, W >= 1 will do.
    """

    def __init__(self, in_channels: int, width: int, levels: int = 5) -> None:
        super().__init__()
        self.name, self.in_channels = "plain", in_channels
        self.channels = tuple(width * 2**level for level in range(levels))
        self.strides = tuple(2**level for level in range(levels))
        self.blocks = nn.ModuleList(_plain(a, b) for a, b in pairwise((in_channels, *self.channels)))
        self.pool = nn.MaxPool2d(2, ceil_mode=True)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = [self.blocks[0](image)]
        for block in list(self.blocks)[1:]:
            features.append(block(self.pool(features[-1])))
        return tuple(features)


class UNetPlusPlus(nn.Module):
    """Any H, W >= 1. channels: of X[i, L - i], the deepest first; the last of them is also the closing block's."""

    def __init__(
        self, encoder: encoders.Encoder | Plain, classes: int, channels: Sequence[int], *, aux: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        self.levels = list(encoders.last_of_each_stride(encoder.strides).values())
        self.depth = len(self.levels) - 1
        if len(channels) < max(1, self.depth):
            raise ModelError(
                f"encoder {encoder.name!r} has {self.depth} levels above its deepest and the decoder {len(channels)} "
                f"widths {tuple(channels)}; give a width for each, the deepest first"
            )
        own = [encoder.channels[index] for index in self.levels]
        plain = isinstance(encoder, Plain)
        self.ups, self.nodes = nn.ModuleDict(), nn.ModuleDict()
        for j in range(1, self.depth + 1):
            for i in range(self.depth - j + 1):
                below = own[i + 1] if j == 1 or i + j < self.depth else channels[j - 2]
                if plain:
                    self.ups[_name(i, j)] = nn.ConvTranspose2d(below, own[i], 2, stride=2)
                    below = own[i]
                out = own[i] if i + j < self.depth else channels[j - 1]
                self.nodes[_name(i, j)] = (_plain if plain else _double)(below + j * own[i], out)
        width = channels[self.depth - 1] if self.depth else own[0]
        self.closing = _double(width, channels[-1]) if encoder.strides[self.levels[0]] > 1 else None
        self.heads = nn.ModuleDict()
        for j in range(1, self.depth) if aux else ():
            self.heads[str(j)] = nn.Conv2d(own[0], classes, 1)
        kernel, width = (3, channels[-1]) if self.closing is not None else (1, width)
        self.heads[str(self.depth)] = nn.Conv2d(width, classes, kernel, padding=kernel // 2)
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self._score(self._column(image)[-1], self.depth, to_image(image))

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail] | None:
        """None: the logits have the image's stride; of a pruned net, logits at the encoder's finest, and the resize."""
        if self.closing is not None or self.encoder.strides[self.levels[0]] == 1:
            return None
        return self.heads[str(self.depth)](self._column(image)[-1]), to_image(image)

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, then with `aux` those of the shallower U-Nets, the deepest first, all (N, K, H, W)."""
        column, tail = self._column(image), to_image(image)
        return tuple(self._score(column[j], j, tail) for j in sorted(map(int, self.heads), reverse=True))

    def prune(self, level: int) -> "UNetPlusPlus":
        """A copy that ends at X[0, level] (section 3.2): its `forward` gives that level's logits of `outputs`.

        Deeper stages of the encoder go where timm's network is a chain, else they stay and are computed for nothing.
        Raises ModelError for a level without a head: heads at levels below the depth come with `aux=True`.
        """
        if str(level) not in self.heads:
            raise ModelError(
                f"level {level} has no head, only {', '.join(self.heads)}; build with aux=True to prune to it"
            )
        net = deepcopy(self)
        if level < self.depth:
            net.encoder, net.closing = _shallow(net.encoder, self.levels[level] + 1), None
        net.depth, net.levels = level, self.levels[: level + 1]
        for modules in (net.nodes, net.ups):
            for key in [key for key in modules if sum(map(int, key.split("_"))) > level]:
                del modules[key]
        net.heads = nn.ModuleDict({str(level): net.heads[str(level)]})
        return net

    def _column(self, image: torch.Tensor) -> list[torch.Tensor]:
        """X[0, 0], ..., X[0, L]."""
        features = self.encoder(image)
        rows = [[features[index]] for index in self.levels]  # X[i, 0], (N, C, ~H / stride, ~W / stride)
        for j in range(1, self.depth + 1):
            for i in range(self.depth - j + 1):
                size, below = rows[i][0].shape[2:], rows[i + 1][j - 1]
                if _name(i, j) in self.ups:
                    below = self.ups[_name(i, j)](below)[:, :, : size[0], : size[1]]
                else:
                    below = resize(below, tuple(size), mode="nearest")
                rows[i].append(self.nodes[_name(i, j)](torch.cat([below, *rows[i][::-1]], 1)))
        return rows[0]

    def _score(self, x: torch.Tensor, level: int, tail: Tail) -> torch.Tensor:
        if level == self.depth and self.closing is not None:
            x = self.closing(resize(x, tail.size, mode="nearest"))  # (N, C, H, W)
        scores = self.heads[str(level)](x)
        return scores if tuple(scores.shape[2:]) == tail.size else tail.apply(scores)  # (N, K, H, W)


def _encoder(
    *,
    encoder: str = "resnet34",
    in_channels: Count = 3,
    pretrained: Pretrained = False,
    stride: Stride = 32,
    width: Count = 32,
) -> encoders.Encoder | Plain:
    if encoder != "plain":
        return encoders.encoder(
            encoder, in_channels=in_channels, stride=stride, pretrained=pretrained, strides=encoders.PYRAMID
        )
    if pretrained:
        raise WeightsError("there are no pretrained weights for the plain encoder; leave pretrained off")
    return Plain(in_channels, width)


@on(_encoder)
def unetpp(
    net: encoders.Encoder | Plain, classes: int, *, channels: Counts = (256, 128, 64, 32, 16), aux: bool = False
) -> UNetPlusPlus:
    """U-Net++ on any encoder: U-Nets of every depth in one, which you can prune to a shallower one.

    encoder: "plain" is the paper's, whose first level has `width` channels. channels: of the last node at each skip,
    deepest first, and of the closing block. aux: a head for each depth.
    """
    return UNetPlusPlus(net, classes, net.channels[-2::-1] if isinstance(net, Plain) else channels, aux=aux)


def _shallow(encoder: Any, count: int) -> Any:
    """Cut the encoder, in place, down to its first `count` features, where it is a chain of stages."""
    if isinstance(encoder, Plain):
        encoder.blocks = encoder.blocks[:count]
    else:
        try:
            end_at(encoder.net, encoder.name, count - 1)
        except ModelError:
            return encoder
    encoder.channels, encoder.strides = encoder.channels[:count], encoder.strides[:count]
    return encoder


def _name(i: int, j: int) -> str:
    return f"{i}_{j}"


def _plain(channels: int, out: int) -> nn.Sequential:
    """Two 3x3 with ReLU, padded."""
    convs = (nn.Conv2d(channels, out, 3, padding=1), nn.Conv2d(out, out, 3, padding=1))
    return nn.Sequential(convs[0], nn.ReLU(True), convs[1], nn.ReLU(True))


def _double(channels: int, out: int) -> nn.Sequential:
    """Two 3x3 with batch norm and ReLU, padded."""
    return nn.Sequential(conv_bn_relu(channels, out), conv_bn_relu(out, out))
