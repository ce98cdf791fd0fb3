"""PointRend: segmentation as rendering. Where a page is in doubt, a small head decides again, point by point.

    network    year  arXiv       what is in it
    PointRend  2020  1912.08193  a page for coarse logits, a point head on fine features and coarse logits, training on
                                 sampled points, inference by subdivision: double the map, redo its most doubtful cells

The page is any of MODELS on images, by name. Fine features are those of its encoder at stride 4, or its finest; where
it has no encoder, or does not run it as a whole, they are the image itself. `forward` subdivides, in training too, and
nothing in it is random; `pairs` has the training of section 3.2, and `Objective` calls it. The coarse logits of a point
are taken from the page's logits at the image's size.

Axes: N images, C channels, H x W pixels, h x w cells of a map, P points (x, y) in 0..1 of the image, K classes.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch import nn

from atrous import models
from atrous.encoders import Encoder
from atrous.errors import ModelError
from atrous.layers import gaussian
from atrous.models.options import Count, Options, Pretrained, Stride
from atrous.models.page import outputs_of
from atrous.ops.resize import low_logits, resize

OVERSAMPLE, IMPORTANT = 3, 0.75
"""k and beta of section 3.2: candidates for each point, and the share of points that are the most doubtful ones."""

_SEEN: ContextVar[list[tuple[torch.Tensor, ...]] | None] = ContextVar("_SEEN", default=None)
"""Where the features of encoders go while a page runs under `_listening`, in this thread."""


class PointHead(nn.Module):
    """Fine (N, F, P), coarse (N, K, P) -> logits (N, K, P): three layers of `width` and a last one, the same for every
    point; each of them sees the coarse logits anew (section 4.1)."""

    def __init__(self, fine: int, classes: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(channels + classes, width, 1) for channels in (fine, width, width))
        self.score = nn.Conv1d(width + classes, classes, 1)
        for layer in self.layers:
            nn.init.kaiming_normal_(cast(nn.Conv1d, layer).weight, nonlinearity="relu")
            nn.init.zeros_(cast(torch.Tensor, cast(nn.Conv1d, layer).bias))
        gaussian(self.score, std=0.001)

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        x = fine
        for layer in self.layers:
            x = layer(torch.cat([x, coarse], 1)).relu()  # (N, width, P)
        return self.score(torch.cat([x, coarse], 1))  # (N, K, P)


class PointRend(nn.Module):
    """A page and a point head. Any H, W >= 1.

    points: sampled in each image while training. cells: redone in each step of the subdivision. width: of the head.
    """

    def __init__(self, base: nn.Module, *, points: int, cells: int, width: int) -> None:
        super().__init__()
        page = cast(Any, base)
        self.base, self.classes, self.in_channels = base, page.classes, page.in_channels
        self.points, self.cells = points, cells
        self.fine, self.doublings = _tried(page)
        if self.fine is not None:
            page.encoder.register_forward_hook(_remember)
        self.stride = 1 if self.fine is None else page.encoder.strides[self.fine]
        fine = page.in_channels if self.fine is None else page.encoder.channels[self.fine]
        self.head = PointHead(fine, page.classes, width)

    @property
    def encoder(self) -> nn.Module:
        """The page's, where it has one; its parameters are `base.encoder...`."""
        return cast(nn.Module, self.base.encoder)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with _listening() as seen:
            dense, x = _coarse(self.base, image)
        (height, width), fine = image.shape[2:], self._fine(image, seen)
        for step in reversed(range(self.doublings)):
            part = 2**step  # of sides rounded up; exporters divide towards zero
            x = resize(x, ((height + part - 1) // part, (width + part - 1) // part))
            cells = torch.sym_min(self.cells, x.shape[2] * x.shape[3])
            doubtful = _doubt(x).flatten(1).topk(cells, 1).indices  # (N, P)
            redone = self._render(dense, fine, _centres(doubtful, x))  # (N, K, P)
            places = doubtful[:, None].expand(-1, self.classes, -1)
            x = x.flatten(2).scatter(2, places, redone.to(x.dtype)).unflatten(2, x.shape[2:])
        return x  # (N, K, H, W)

    def logits_at_stride(self, image: torch.Tensor) -> None:
        """None: the last step of the subdivision is at the image's size."""

    def pairs(self, image: torch.Tensor, labels: torch.Tensor) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        """What training compares, (logits, labels): at sampled points (N, K, P) and (N, P), then the page's outputs.

        labels: (N, H, W). Of k P points drawn evenly the beta P most doubtful are kept, the rest are drawn evenly
        (section 3.2). The paper weighs points and page alike.
        """
        with _listening() as seen:
            outputs = outputs_of(self.base, image)
        points = _important(outputs[0].detach(), self.points)  # (N, P, 2)
        logits = self._render(outputs[0], self._fine(image, seen), points)  # (N, K, P)
        height, width = labels.shape[1:]
        columns, rows = (points * points.new_tensor([width, height])).long().unbind(2)
        return (logits, labels.flatten(1).gather(1, rows * width + columns)), *((one, labels) for one in outputs)

    def _fine(self, image: torch.Tensor, seen: list[tuple[torch.Tensor, ...]]) -> torch.Tensor:
        return image if self.fine is None else seen[-1][self.fine]

    def _render(self, dense: torch.Tensor, fine: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Logits (N, K, P) of the head. A cell of the fine map is `stride` pixels, whatever part of it is image."""
        sides = [points.new_full((1,), side) for side in (*dense.shape[2:], *fine.shape[2:])]  # exporters follow these
        height, width, rows, columns = sides
        scale = torch.cat([width / (self.stride * columns), height / (self.stride * rows)])
        return self.head(_sample(fine, scale * points), _sample(dense, points))


def pointrend(
    classes: Count = 21,
    *,
    encoder: str | None = None,
    in_channels: Count = 3,
    pretrained: Pretrained = False,
    stride: Stride | None = None,
    base: str = "deeplabv3plus",
    base_options: Options | None = None,
    points: Count = 2048,
    cells: Count = 8196,
    channels: Count = 256,
) -> PointRend:
    """PointRend: any other network for images, with a small head that decides its doubtful pixels again.

    base: the network's name. encoder, stride, base_options: its options; its own defaults if not given. points:
    sampled in each image while training. cells: redone in each step of the subdivision. channels: of the head.
    """
    if base == "pointrend":
        raise ModelError("pointrend cannot render itself; give base another page, such as 'deeplabv3plus'")
    own = {"encoder": encoder, "stride": stride}
    options = {key: value for key, value in own.items() if value is not None} | dict(base_options or {})
    page = models.build_model(base, classes, in_channels=in_channels, pretrained=pretrained, **options)
    return PointRend(page, points=points, cells=cells, width=channels)


@contextmanager
def _listening() -> Iterator[list[tuple[torch.Tensor, ...]]]:
    """The features of every encoder that runs inside, in order."""
    seen: list[tuple[torch.Tensor, ...]] = []
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def _remember(encoder: nn.Module, inputs: tuple[torch.Tensor, ...], features: tuple[torch.Tensor, ...]) -> None:
    if (seen := _SEEN.get()) is not None:
        seen.append(features)


def _coarse(page: nn.Module, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A page's logits (N, K, H, W), and those that the subdivision starts from, (N, K, h, w) over the same field."""
    start, tail = low_logits(page, image)
    dense = tail.apply(start)
    return dense, start if tail.plain else dense


@torch.no_grad()
def _tried(page: Any) -> tuple[int | None, int]:
    """What running the page on a small image shows.

    The index of the features at stride 4, or the finest; None where running the page does not run its encoder as a
    whole. The steps of two from the page's logits to the image, one at least.
    """
    encoder, weight, training = getattr(page, "encoder", None), next(page.parameters()), page.training
    handle = encoder.register_forward_hook(_remember) if isinstance(encoder, Encoder) else None
    with _listening() as seen:
        image = torch.zeros(1, page.in_channels, 64, 64, device=weight.device, dtype=weight.dtype)
        _, start = _coarse(page.eval(), image)
    if handle is not None:
        handle.remove()
    page.train(training)
    doublings = max(1, math.ceil(math.log2(64 / min(start.shape[2:]))))
    if not isinstance(encoder, Encoder) or not seen:
        return None, doublings
    strides = encoder.strides
    return strides.index(4 if 4 in strides else min(strides)), doublings


def _doubt(x: torch.Tensor) -> torch.Tensor:
    """(N, K, ...) logits -> (N, ...): how near the second class comes to the first; of a single class, how near 0."""
    if x.shape[1] == 1:
        return -x[:, 0].abs()
    first, second = x.topk(2, 1).values.unbind(1)
    return second - first


def _centres(index: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Cells (N, P), counted along the rows of x (N, K, h, w) -> their centres (N, P, 2)."""
    height, width = x.shape[2:]
    row = index.new_full((1,), width)  # ONNX takes no remainder by a number that depends on a size
    columns, rows = (part.to(torch.promote_types(x.dtype, torch.float32)) for part in (index % row, index // row))
    return torch.stack([(columns + 0.5) / width, (rows + 0.5) / height], 2)


def _sample(x: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w), points (N, P, 2) -> (N, C, P), bilinearly: at the centres of pixels what `resize` gives them."""
    grid = (2 * points - 1)[:, :, None]  # (N, P, 1, 2)
    x = x.to(points.dtype)
    return nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False).squeeze(3)


def _important(logits: torch.Tensor, count: int) -> torch.Tensor:
    """(N, K, H, W) -> points (N, count, 2): the most doubtful of three times as many, and a quarter at random."""
    batch, kept = logits.shape[0], round(IMPORTANT * count)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    drawn = torch.rand(batch, OVERSAMPLE * count, 2, device=logits.device, dtype=dtype)
    order = _doubt(_sample(logits, drawn)).topk(kept, 1).indices  # (N, kept)
    most = drawn.gather(1, order[:, :, None].expand(-1, -1, 2))
    return torch.cat([most, torch.rand(batch, count - kept, 2, device=logits.device, dtype=dtype)], 1)
