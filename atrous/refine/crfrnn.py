"""CRFs that learn: modules (raw image, logits) -> logits, differentiable in the logits and in their own parameters.

    CRFRNN   2015  arXiv 1502.03240  mean field unrolled; every pixel with every other, by the permutohedral lattice
    ConvCRF  2018  arXiv 1805.04777  mean field in a window, exactly; the widths of its kernels learn too

Both start as a dense CRF with a Potts model would, sharpen from the first step on, and are trained behind a network by
`atrous train --refine` (`models.refined.Refined`). Images are raw, 0..255, any number of channels; distances in colour
are in those units, distances in position in pixels. A pixel is its own neighbour (the self term is in). No gradient
goes to the image. Under autocast both compute in float32.

Axes: N images, C channels, H x W pixels, K classes; h x w cells of ConvCRF's coarse map, T places of its window.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from atrous.errors import DataError, ModelError
from atrous.ops import lattice, lattice_torch
from atrous.ops.resize import resize

Normalisation = Literal["symmetric", "none"]


class CRFRNN(nn.Module):
    """CRF as recurrent neural network (Zheng et al., ICCV 2015): logits U of the network -> logits of the CRF.

    Repeats, from x = U: q = softmax(x); m = W_s (K_s q) + W_b (K_b q); x = U + M m. K_s filters by distance in
    position, exp(-|p_i - p_j|^2 / 2 sxy^2), K_b by that and distance in colour, exp(-... - |I_i - I_j|^2 / 2 srgb^2),
    each divided by its filter of ones. W_s, W_b and M (`spatial`, `bilateral`, `compatibility`), all K x K, learn:
    what a class near by says for another, and what the message for one adds to another. Widths are fixed.

    gaussian: (sxy, weight) and bilateral: (sxy, srgb, weight); W start at weight times the identity, M at the identity,
    which is a Potts model. iterations: in training, and else. At most 6 channels.
    """

    def __init__(
        self,
        classes: int,
        *,
        gaussian: tuple[float, float] = (3.0, 3.0),
        bilateral: tuple[float, float, float] = (160.0, 3.0, 5.0),
        iterations: tuple[int, int] = (5, 10),
    ) -> None:
        super().__init__()
        _check_classes(classes)
        _check_widths("gaussian", gaussian, 2)
        _check_widths("bilateral", bilateral, 3)
        _check_counts("iterations", *iterations)
        self.classes, self.iterations = classes, tuple(iterations)
        self.spatial_width, self.bilateral_widths = gaussian[0], bilateral[:2]
        self.spatial = nn.Parameter(gaussian[1] * torch.eye(classes))
        self.bilateral = nn.Parameter(bilateral[2] * torch.eye(classes))
        self.compatibility = nn.Parameter(torch.eye(classes))

    def forward(self, image: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """image (N, C, H, W), raw 0..255, any dtype; logits (N, K, H, W) -> logits (N, K, H, W), float32 at least."""
        _check_inputs(image, logits, self.classes)
        if image.shape[1] + 2 > lattice.LARGEST_DIMENSION:
            raise DataError(
                f"an image of {image.shape[1]} channels is more than CRFRNN filters by; use ConvCRF, or give it the "
                f"channels that matter, {lattice.LARGEST_DIMENSION - 2} at most"
            )
        if torch.compiler.is_exporting():
            raise ModelError(
                "CRFRNN builds its lattice from the image's values, which no exported graph can; export a ConvCRF, or "
                "the network without"
            )
        with _full_precision(logits):
            unary = _wide(logits).flatten(2).mT.contiguous()  # (N, HW, K)
            pixels = image.detach().to(unary.dtype).flatten(2).mT  # (N, HW, C)
            places = _places(image.shape[2], image.shape[3], unary)  # (HW, 2)
            sxy, srgb = self.bilateral_widths
            spatial = _Filter(places / self.spatial_width)
            refined = [
                self._mean_field(one, spatial, _Filter(torch.cat([places / sxy, colours / srgb], 1)))
                for one, colours in zip(unary, pixels, strict=True)
            ]
            return torch.stack(refined).mT.unflatten(2, logits.shape[2:])

    def _mean_field(self, unary: torch.Tensor, spatial: "_Filter", bilateral: "_Filter") -> torch.Tensor:
        """(HW, K) -> (HW, K), of one image."""
        x, compatibility = unary, self.compatibility.to(unary)
        near, alike = (compatibility @ weights.to(unary) for weights in (self.spatial, self.bilateral))  # (K, K)
        for _ in range(self.iterations[0 if self.training else 1]):
            q = x.softmax(1)
            x = unary + spatial(q) @ near.T + bilateral(q) @ alike.T
        return x


class _Filter:
    """Values (points, K) -> their mean by the lattice's kernel over features (points, d), normalised after.

    In float32 on a CPU the lattice is numba's, some ten times as fast as torch's there; both give the same to rounding.
    """

    def __init__(self, features: torch.Tensor) -> None:
        self.lattice: lattice.Lattice | lattice_torch.Lattice
        if features.device.type == "cpu" and features.dtype == torch.float32:
            self.lattice = lattice.build_lattice(features.numpy(), threads=torch.get_num_threads())
        else:
            self.lattice = lattice_torch.Lattice(features)
        self.scale = 1 / self._filter(torch.ones_like(features[:, :1]))  # a point counts itself: never 1 / 0

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return self.scale * self._filter(values)

    def _filter(self, values: torch.Tensor) -> torch.Tensor:
        if isinstance(self.lattice, lattice.Lattice):
            return _ByNumba.apply(values, self.lattice, False)
        return self.lattice.filter(values)


class _ByNumba(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, table: lattice.Lattice, transposed: bool) -> torch.Tensor:
        ctx.table, ctx.transposed = table, transposed
        apply = table.adjoint if transposed else table.filter
        return torch.from_numpy(apply(values.detach().numpy(), threads=torch.get_num_threads()))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _ByNumba.apply(gradient, ctx.table, not ctx.transposed), None, None


class ConvCRF(nn.Module):
    """Convolutional CRF (Teichmann & Cipolla, BMVC 2019): logits of the network -> logits of the CRF.

    Mean field whose messages come from a window of `window` x `window` cells of `blur` x `blur` pixels. Repeats, with
    u = log softmax(logits), from q = softmax(u): x = (1 - w) u + w (s_1 G_1 q + s_2 G_2 q); q = softmax(x). G_1 is a
    Gaussian of position, G_2 one of colour, and of position too where bilateral has an sxy; w, one for each class
    (`weight`, 0.2 at the start), s (`strength`) and the widths (`log_widths`) learn.

    gaussian: (sxy, s_1). bilateral: (sxy or None, srgb, s_2); None as the authors' default. window: in cells, odd.
    normalisation: "symmetric", D^-1/2 G D^-1/2 with D the sums of G's rows, or "none".
    """

    def __init__(
        self,
        classes: int,
        *,
        window: int = 11,
        blur: int = 4,
        iterations: int = 5,
        gaussian: tuple[float, float] = (3.0, 3.0),
        bilateral: tuple[float | None, float, float] = (None, 13.0, 10.0),
        weight: float = 0.2,
        normalisation: Normalisation = "symmetric",
    ) -> None:
        super().__init__()
        _check_classes(classes)
        _check_counts("window, blur and iterations", window, blur, iterations)
        if window % 2 == 0:
            raise ModelError(f"window {window} has no middle; use an odd number of cells, such as 11")
        if normalisation not in ("symmetric", "none"):
            raise ModelError(f"normalisation {normalisation!r} is unknown to ConvCRF; use 'symmetric' or 'none'")
        _check_widths("gaussian", gaussian, 2)
        _check_widths("bilateral", bilateral if bilateral[0] is not None else bilateral[1:], 3 - (bilateral[0] is None))
        self.classes, self.window, self.blur, self.iterations = classes, window, blur, iterations
        self.normalisation = normalisation
        self.weight = nn.Parameter(torch.full((classes,), float(weight)))
        self.strength = nn.Parameter(torch.tensor([gaussian[1], bilateral[2]]))
        widths = [gaussian[0], bilateral[1], *([bilateral[0]] if bilateral[0] is not None else [])]
        self.log_widths = nn.Parameter(torch.tensor(widths).log())

    def forward(self, image: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """image (N, C, H, W), raw 0..255, any dtype; logits (N, K, H, W) -> logits (N, K, H, W), float32 at least."""
        _check_inputs(image, logits, self.classes)
        with _full_precision(logits):
            unary = _wide(logits).log_softmax(1)
            kernel = self.kernel(image.detach().to(unary.dtype))  # (N, T, h, w)
            size = (image.shape[2], image.shape[3])
            weight, x = self.weight.to(unary)[:, None, None], unary
            for _ in range(self.iterations):
                q = resize(x.softmax(1), (kernel.shape[2], kernel.shape[3]), mode="area")  # (N, K, h, w)
                message = resize(window_sum(kernel, q, self.window), size)  # (N, K, H, W)
                x = (1 - weight) * unary + weight * message
            return x

    def kernel(self, image: torch.Tensor) -> torch.Tensor:
        """Image (N, C, H, W) -> s_1 G_1 + s_2 G_2 (N, T, h, w): of each cell the places of its window, rows first."""
        height, width = image.shape[2:]
        cells = (math.ceil(height / self.blur), math.ceil(width / self.blur))
        colours = resize(image, cells, mode="area")  # (N, C, h, w)
        position, colour, *joint = (-2 * self.log_widths.to(image)).exp() / 2
        steps = torch.arange(self.window, device=image.device) - self.window // 2
        rows, columns = steps * (height / cells[0]), steps * (width / cells[1])  # in pixels
        apart = (rows[:, None].square() + columns.square()).flatten()[:, None, None].to(image)  # (T, 1, 1)
        unlike = torch.stack([(other - colours).square().sum(1) for other in _moved(colours, self.window)], 1)
        inside = torch.stack(list(_moved(torch.ones_like(colours[:1, 0]), self.window)), 1)  # (1, T, h, w)
        near = (-position * apart).exp() * inside
        alike = (-colour * unlike - (joint[0] * apart if joint else 0)).exp() * inside  # (N, T, h, w)
        s_1, s_2 = self.strength.to(image).unbind()
        return s_1 * self._normalised(near) + s_2 * self._normalised(alike)

    def _normalised(self, kernel: torch.Tensor) -> torch.Tensor:
        if self.normalisation == "none":
            return kernel
        scale = kernel.sum(1).rsqrt()  # (N, h, w); a cell counts itself: never 1 / 0
        return kernel * scale[:, None] * torch.stack(list(_moved(scale, self.window)), 1)


def window_sum(kernel: torch.Tensor, values: torch.Tensor, window: int) -> torch.Tensor:
    """kernel (N, window^2, h, w), values (N, K, h, w) -> (N, K, h, w): of each cell its window's sum of both's product.

    Places of the window go rows first; outside the map values are 0. Differentiable once in both. No window is copied:
    against `unfold`, it takes a fraction of the time and memory on a CPU.
    """
    return _WindowSum.apply(kernel, values, window)


class _WindowSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: torch.Tensor, values: torch.Tensor, window: int) -> torch.Tensor:
        ctx.save_for_backward(kernel, values)
        ctx.window = window
        total = torch.zeros_like(values)
        for weight, moved in zip(kernel.split(1, 1), _moved(values, window), strict=True):
            total.addcmul_(weight, moved)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        kernel, values = ctx.saved_tensors
        to_kernel = torch.stack([(gradient * moved).sum(1) for moved in _moved(values, ctx.window)], 1)
        to_values = torch.zeros_like(values)  # cell j is place T - 1 - t of cell i where i is place t of j
        backwards = _moved(kernel, ctx.window), _moved(gradient, ctx.window)
        for place, (weight, moved) in enumerate(zip(*backwards, strict=True)):
            mirrored = kernel.shape[1] - 1 - place
            to_values.addcmul_(weight[:, mirrored : mirrored + 1], moved)
        return to_kernel, to_values, None


def _moved(x: torch.Tensor, window: int) -> Iterator[torch.Tensor]:
    """The map (..., h, w) as it lies under every place of the window, rows first, 0 beyond its border; views."""
    height, width, reach = x.shape[-2], x.shape[-1], window // 2
    x = functional.pad(x, (reach, reach, reach, reach))
    for place in range(window**2):
        top, left = divmod(place, window)
        yield x[..., top : top + height, left : left + width]


def _places(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """(H W, 2): x and y of every pixel, along the rows."""
    y, x = torch.meshgrid(
        torch.arange(height, device=like.device), torch.arange(width, device=like.device), indexing="ij"
    )
    return torch.stack([x.flatten(), y.flatten()], 1).to(like.dtype)


def _full_precision(x: torch.Tensor) -> AbstractContextManager[object]:
    """No autocast inside; nothing at all where there is none outside, which exporters like better."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def _wide(x: torch.Tensor) -> torch.Tensor:
    """In float32, or float64 where it was."""
    return x if x.dtype == torch.float64 else x.float()


def _check_inputs(image: torch.Tensor, logits: torch.Tensor, classes: int) -> None:
    if image.ndim != 4 or logits.ndim != 4 or 0 in image.shape:
        raise DataError(
            f"an image of shape {tuple(image.shape)} and logits of shape {tuple(logits.shape)} do not make a CRF; "
            "expected (N, C, H, W) and (N, K, H, W), of one pixel at least"
        )
    if logits.shape[0] != image.shape[0] or logits.shape[2:] != image.shape[2:]:
        raise DataError(
            f"logits of shape {tuple(logits.shape)} do not lie on an image of shape {tuple(image.shape)}; "
            "give both one N, H and W"
        )
    if logits.shape[1] != classes:
        raise DataError(f"logits of {logits.shape[1]} classes were given to a CRF of {classes}; build it for as many")
    if image.is_floating_point() and not torch.compiler.is_compiling() and not image.isfinite().all():
        raise DataError("the image holds values that are not finite (nan or inf); replace them")


def _check_classes(classes: int) -> None:
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 2:
        raise ModelError(f"a CRF of {classes!r} classes has nothing to decide; give a whole number from 2 on")


def _check_widths(what: str, values: tuple[float | None, ...], count: int) -> None:
    """Widths, all but the last, are above 0, the weight is finite."""
    numbers = [v for v in values if isinstance(v, int | float) and math.isfinite(v)]
    if len(numbers) != len(values) or len(values) != count or not all(v > 0 for v in numbers[:-1]):
        raise ModelError(f"{what} {tuple(values)} are no widths above 0 and a weight; see the defaults")


def _check_counts(what: str, *counts: int) -> None:
    if not all(isinstance(count, int) and count >= 1 for count in counts):
        raise ModelError(f"{what} {counts} are not whole numbers from 1 on")
