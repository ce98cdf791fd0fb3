"""nnU-Net: a plain U-Net whose depth, strides and kernels are planned from the data (Isensee et al. 2021, 1904.08128).

    network    year  arXiv       what is in it
    plain      2021  1904.08128  two 3x3 per stage on the way down and up, the stride in the first one of a stage
    residual   2024  2404.09556  "ResEnc": a stem and ResNet-D blocks on the way down, one 3x3 per stage on the way up

Each convolution has a bias and is followed by instance norm and LeakyReLU(0.01). A transposed convolution with kernel
and stride of the stage goes back up; the skip is concatenated behind it. Deep supervision (`aux`): a 1x1 per level.

Unlike nnU-Net: any size (an odd map is halved upwards, what comes up is cut to its skip; at sizes that the strides
divide, the same logits), and the deep outputs are resized to the image instead of the labels to them.

Axes: N images, C channels, H x W pixels (D x H x W voxels), K classes.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from atrous.errors import ModelError
from atrous.layers import InstanceNorm, cut, expect_axes
from atrous.models.model import Whole
from atrous.models.options import Count, Counts, Steps
from atrous.models.page import on
from atrous.ops.resize import resize

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
UP: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MEAN: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}

Step = int | Sequence[int]
"""A stride or kernel: for all axes, or one per axis."""


class Mean(nn.Module):
    """(N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride)): means over blocks; the border goes on past an end."""

    def __init__(self, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.stride, self.pool = stride, MEAN[len(stride)](stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        missing = [(0, -side % step) for side, step in zip(x.shape[2:], self.stride, strict=True)]
        return self.pool(functional.pad(x, [pad for pair in reversed(missing) for pad in pair], mode="replicate"))


class Residual(nn.Module):
    """ResNet-D's basic block: two convolutions, and the input (averaged over the stride, projected) added to them."""

    def __init__(self, channels: int, out: int, kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        axes = len(kernel)
        self.first = _conv(channels, out, kernel, stride)
        self.second = nn.Sequential(CONV[axes](out, out, kernel, padding=_half(kernel)), InstanceNorm(out))
        self.act = nn.LeakyReLU(0.01, inplace=True)
        self.skip = nn.Sequential()
        if max(stride) > 1:
            self.skip.append(Mean(stride))
        if channels != out:
            self.skip.extend([CONV[axes](channels, out, 1, bias=False), InstanceNorm(out)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.second(self.first(x)) + self.skip(x))


class Plan(NamedTuple):
    """What a network is built by: features to blocks per stage, the finest first; up_blocks the deepest first."""

    in_channels: int
    features: Sequence[int]
    kernels: Sequence[tuple[int, ...]]
    strides: Sequence[tuple[int, ...]]
    blocks: Sequence[int]
    up_blocks: Sequence[int]
    residual: bool


class NNUNet(Whole):
    """Down through the stages, up through the skips."""

    def __init__(self, plan: Plan, classes: int, *, aux: bool) -> None:
        super().__init__()
        in_channels, features, kernels, strides, blocks, up_blocks, residual = plan
        self.classes, self.in_channels, self.axes = classes, in_channels, len(kernels[0])
        self.stem = _conv(in_channels, features[0], kernels[0]) if residual else nn.Identity()
        self.down, self.up, self.merge = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before = features[0] if residual else in_channels
        for out, kernel, stride, count in zip(features, kernels, strides, blocks, strict=True):
            block = Residual if residual else _conv
            rest = (block(out, out, kernel, (1,) * self.axes) for _ in range(count - 1))
            self.down.append(nn.Sequential(block(before, out, kernel, stride), *rest))
            before = out
        for level, count in zip(range(len(features) - 2, -1, -1), up_blocks, strict=True):
            out, kernel, stride = features[level], kernels[level], strides[level + 1]
            self.up.append(UP[self.axes](features[level + 1], out, stride, stride=stride))
            convs = (_conv(2 * out if index == 0 else out, out, kernel) for index in range(count))
            self.merge.append(nn.Sequential(*convs))
        scored = features[-2::-1] if aux else features[:1]
        self.scores = nn.ModuleList(CONV[self.axes](width, classes, 1) for width in scored)  # the finest last
        for layer in self.modules():
            if isinstance(layer, CONV[self.axes] | UP[self.axes]):
                nn.init.kaiming_normal_(layer.weight, a=0.01)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            if isinstance(layer, Residual):
                nn.init.zeros_(layer.second[1].weight)  # type: ignore[arg-type]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.scores[-1](self._levels(image)[-1])  # (N, K, H, W)

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, then with `aux` those of the coarser levels, finest first, all (N, K, H, W)."""
        levels = self._levels(image)[-len(self.scores) :]
        scores = [score(level) for score, level in zip(self.scores, levels, strict=True)]
        return tuple(resize(one, tuple(image.shape[2:])) for one in reversed(scores))

    def _levels(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The maps of the way up, the deepest first; the last has the image's size."""
        expect_axes(image, self.axes)
        x, skips, levels = self.stem(image), [], []
        for stage in self.down:
            x = stage(x)  # (N, features, H / strides so far, W / strides so far), rounded up
            skips.append(x)
        for skip, up, merge in zip(skips[-2::-1], self.up, self.merge, strict=True):
            x = cut(up(x), skip.shape[2:])  # (N, C, of the skip)
            x = merge(torch.cat([x, skip], 1))
            levels.append(x)
        return levels


def topology(
    patch: Sequence[float], spacing: Sequence[float], least: int = 4
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """(kernels, strides) per stage for patches of so many pixels per axis with so much spacing, by nnU-Net's rules.

    An axis is halved while a half has `least` pixels or more and its spacing is less than twice the finest one's among
    such axes. Its kernel is 1 until its spacing has come within twice the finest of all, then 3. The last stage has 3.
    """
    size, step = list(patch), list(spacing)
    kernel = [1] * len(size)
    kernels, strides = [], [(1,) * len(size)]
    while True:
        large = [axis for axis, side in enumerate(size) if side >= 2 * least]
        halved = [axis for axis in large if step[axis] < 2 * min(step[other] for other in large)]
        if not halved or (len(halved) == 1 and size[halved[0]] < 3 * least):
            break
        kernel = [3 if old == 3 or own < 2 * min(step) else 1 for old, own in zip(kernel, step, strict=True)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in range(len(size))))
        for axis in halved:
            size[axis], step[axis] = -(-size[axis] // 2), 2 * step[axis]
    return [*kernels, (3,) * len(size)], strides


def on_plan(axes: int, features: Sequence[int]) -> Callable[..., Callable[..., NNUNet]]:
    """`on` the plan of a network on so many axes; `features` are those of its stages by default."""

    def make(
        *,
        in_channels: Count = 3,
        features: Counts = tuple(features),
        kernels: Count | Steps = 3,
        strides: Steps | None = None,
        blocks: Counts | None = None,
        up_blocks: Counts | None = None,
        residual: bool = False,
    ) -> Plan:
        stages = len(features)
        if stages < 2:
            raise ModelError(f"features {tuple(features)} give {stages} stages; nnU-Net needs two or more")
        kernels = (kernels,) * stages if isinstance(kernels, int) else kernels
        strides = (1,) + (2,) * (stages - 1) if strides is None else strides
        if blocks is None:
            blocks = ((1, 3, 4) + (6,) * stages)[:stages] if residual else (2,) * stages
        up_blocks = (1 if residual else 2,) * (stages - 1) if up_blocks is None else up_blocks
        for name, value in (("kernels", kernels), ("strides", strides), ("blocks", blocks), ("up_blocks", up_blocks)):
            count = stages - 1 if name == "up_blocks" else stages
            if len(value) != count:
                raise ModelError(f"{name} {tuple(value)} should be {count} for {stages} stages of features")
        own, steps = ([_per_axis(step, axes) for step in each] for each in (kernels, strides))
        if any(side % 2 == 0 for kernel in own for side in kernel) or max(steps[0]) > 1:
            raise ModelError(f"kernels {own} should be odd and the first stride of {steps} should be 1")
        return Plan(in_channels, features, own, steps, blocks, up_blocks, residual)

    return on(make)


@on_plan(2, (32, 64, 128, 256, 512, 512, 512, 512))
def nnunet2d(plan: Plan, classes: int, *, aux: bool = False) -> NNUNet:
    """nnU-Net for images: a plain or residual U-Net whose depth, kernels and strides are planned from the data.

    It has instance norm, leaky ReLU and strided convolutions. features, kernels, strides: per stage, as `topology`
    plans them; without strides 1, then 2. blocks: convolutions per stage (2), or residual blocks (1, 3, 4, 6, 6, ...).
    up_blocks: on the way up, the deepest first (2, residual 1).
    """
    return NNUNet(plan, classes, aux=aux)


@on_plan(3, (32, 64, 128, 256, 320, 320))
def nnunet3d(plan: Plan, classes: int, *, aux: bool = False) -> NNUNet:
    """nnU-Net for volumes: a plain or residual U-Net whose depth, kernels and strides are planned from the data.

    The arguments are those of `nnunet2d`; a kernel or stride may be three numbers, such as (1, 3, 3).
    """
    return NNUNet(plan, classes, aux=aux)


def _per_axis(step: Step, axes: int) -> tuple[int, ...]:
    steps = (step,) * axes if isinstance(step, int) else tuple(step)
    if len(steps) != axes or min(steps) < 1:
        raise ModelError(f"a kernel or stride of {steps} does not fit {axes} axes; give {axes} numbers from 1 on")
    return steps


def _half(kernel: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side // 2 for side in kernel)


def _conv(channels: int, out: int, kernel: tuple[int, ...], stride: tuple[int, ...] | int = 1) -> nn.Sequential:
    """A convolution with bias that keeps the size (at stride 1), instance norm, LeakyReLU."""
    convolution = CONV[len(kernel)](channels, out, kernel, stride, padding=_half(kernel))
    return nn.Sequential(convolution, InstanceNorm(out), nn.LeakyReLU(0.01, inplace=True))
