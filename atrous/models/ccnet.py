"""CCNet: every cell attends to its own row and column; done twice, with the same weights, it has seen the whole map.

    network  year  arXiv       what is in it
    CCNet    2019  1811.11721  criss-cross attention (section 3.2), recurrence R = 2 (section 3.3)

Of the h + w - 1 cells of a cross the cell itself is counted once. Attention is exact and takes memory with
h w (h + w), not with (h w)^2. The layout of the head is mmsegmentation's: 23,934,100 parameters with 19 classes.

Axes: N images, C channels, H x W pixels, h x w cells at the encoder's stride s, K classes.
"""

from pathlib import Path

import torch
from torch import nn

from atrous import encoders
from atrous.errors import ModelError
from atrous.layers import conv_bn_relu, fcn_head, safe_norms
from atrous.ops.resize import Tail


class CrissCross(nn.Module):
    """(N, C, h, w) -> the same: each cell adds gamma times a mean over its row and column, by their likeness."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels // 8)
        self.query, self.key = nn.Conv2d(channels, narrow, 1), nn.Conv2d(channels, narrow, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.query(x), self.key(x), self.value(x)
        height, width = x.shape[2:]
        column = torch.einsum("nchw,ncgw->nhwg", query, key)  # (N, h, w, h): cell (h, w) and cells (g, w)
        row = torch.einsum("nchw,nchv->nhwv", query, key)  # (N, h, w, w): and cells (h, v)
        itself = torch.eye(height, dtype=torch.bool, device=x.device)[:, None]  # (h, 1, h): counted in the row
        column = column.masked_fill(itself, -torch.inf)
        column, row = torch.cat([column, row], 3).softmax(3).split([height, width], 3)
        seen = torch.einsum("nhwg,ncgw->nchw", column, value) + torch.einsum("nhwv,nchv->nchw", row, value)
        return self.gamma * seen + x


class CCNet(nn.Module):
    """A 3x3, criss-cross attention `recurrence` times, a 3x3; with the features, a 3x3 and a 1x1. Any H, W >= 1."""

    def __init__(
        self,
        encoder: encoders.Encoder,
        classes: int,
        *,
        channels: int,
        recurrence: int,
        dropout: float,
        aux: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(recurrence, int) or recurrence < 1:
            raise ModelError(f"recurrence {recurrence!r} of ccnet must be a whole number from 1 on (2 in the paper)")
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        self.recurrence, deep = recurrence, encoder.channels[-1]
        self.before, self.after = conv_bn_relu(deep, channels), conv_bn_relu(channels, channels)
        self.attention = CrissCross(channels)
        self.head = nn.Sequential(
            *conv_bn_relu(deep + channels, channels), nn.Dropout(dropout), nn.Conv2d(channels, classes, 1)
        )
        self.aux = fcn_head(encoder.channels[-2], classes) if aux else None
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits, tail = self.logits_at_stride(image)  # (N, K, H/s, W/s)
        return tail.apply(logits)  # (N, K, H, W)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Logits (N, K, H/s, W/s) and the resize to the image."""
        return self._decode(self.encoder(image)[-1]), Tail((image.shape[2], image.shape[3]))

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, then the auxiliary ones where asked for, all (N, K, H, W)."""
        *_, middle, deep = self.encoder(image)
        logits = [self._decode(deep)] + ([self.aux(middle)] if self.aux is not None else [])
        return tuple(Tail((image.shape[2], image.shape[3])).apply(one) for one in logits)

    def _decode(self, feature: torch.Tensor) -> torch.Tensor:
        x = self.before(feature)  # (N, 512, H/s, W/s)
        for _ in range(self.recurrence):
            x = self.attention(x)
        return self.head(torch.cat([feature, self.after(x)], 1))  # (N, K, H/s, W/s)


def ccnet(
    classes: int = 21,
    encoder: str = "resnet50",
    in_channels: int = 3,
    pretrained: bool | str | Path = False,
    stride: int = 8,
    *,
    channels: int = 512,
    recurrence: int = 2,
    dropout: float = 0.1,
    aux: bool = False,
) -> CCNet:
    """CCNet on any encoder; stride 8 is the paper's. aux: an FCN head on the features before the deepest."""
    net = encoders.encoder(encoder, in_channels=in_channels, stride=stride, pretrained=pretrained)
    return CCNet(net, classes, channels=channels, recurrence=recurrence, dropout=dropout, aux=aux)
