"""CRFs that learn: modules (raw image, logits) -> logits, differentiable in logits and parameters.

    CRFRNN   2015  arXiv 1502.03240  mean field unrolled; every pixel with every other, by a lattice
    ConvCRF  2018  arXiv 1805.04777  mean field in a window, exactly; kernels' widths learn too

Both start as a dense CRF with a Potts model, so that they sharpen from the first step on.
`atrous train --refine` trains them behind a network (`models.refined.Refined`). Images are raw,
0..255, with any number of channels; distances in colour are in those units, distances in position
in pixels. A pixel is its own neighbour. No gradient goes to the image. Under autocast both compute
in float32.

Axes: N images, C channels, H x W pixels, K classes; h x w cells of ConvCRF's coarse map, T places
of its window.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal
from warnings import warn

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from atrous.errors import DataError, ModelError
from atrous.ops import lattice, lattice_torch
from atrous.ops.resize import resize
from atrous.refine.inputs import are_small

Normalisation = Literal["symmetric", "none"]


class CRFRNN(nn.Module):
    """CRF as recurrent neural network: logits U of a network -> logits of the CRF.

    Repeats, from x = U:

        q = softmax(x)
        m = W_s (K_s q) + W_b (K_b q)
        x = U + M m

    K_s filters by distance in position, exp(-|p_i - p_j|^2 / 2 sxy^2), K_b by position and colour,
    exp(-|p_i - p_j|^2 / 2 sxy^2 - |I_i - I_j|^2 / 2 srgb^2); each is divided by its filter of ones.
    W_s, W_b and M (`spatial`, `bilateral`, `compatibility`), all K x K, learn: what a class near by
    says for another, and what the message for one adds to another. Widths are fixed.

    Args:
        classes: K, at least 2.
        gaussian: (sxy, weight). W_s starts at weight times the identity.
        bilateral: (sxy, srgb, weight). W_b starts at weight times the identity; M at the identity,
            which makes a Potts model.
        iterations: (in training, otherwise).

    Raises:
        ModelError: an option does not fit.

    Source:
        Zheng et al., ICCV 2015.

    Example:
        >>> crf = CRFRNN(classes=2)
        >>> crf(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 2, 8, 8)).shape
        torch.Size([1, 2, 8, 8])
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
        if len(iterations) != 2:
            raise ModelError(f"iterations is {tuple(iterations)}; expected two numbers, in training and otherwise")
        self.classes, self.iterations = classes, tuple(iterations)
        self.spatial_width, self.bilateral_widths = gaussian[0], bilateral[:2]
        self.spatial = nn.Parameter(gaussian[1] * torch.eye(classes))
        self.bilateral = nn.Parameter(bilateral[2] * torch.eye(classes))
        self.compatibility = nn.Parameter(torch.eye(classes))

    def forward(self, image: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Sharpen logits.

        Args:
            image: (N, C, H, W), raw 0..255, any dtype, up to 6 channels.
            logits: (N, K, H, W).

        Returns:
            (N, K, H, W) logits, float32, or float64 if they were.

        Raises:
            DataError: image and logits do not fit each other or this CRF.
            ModelError: it is exported, which a lattice cannot be.
        """
        _check_inputs(image, logits, self.classes)
        if image.shape[1] + 2 > lattice.LARGEST_DIMENSION:
            raise DataError(
                f"the image has {image.shape[1]} channels, and CRFRNN filters by {lattice.LARGEST_DIMENSION - 2} at "
                "most; use ConvCRF, or give it the channels that matter"
            )
        if torch.compiler.is_exporting():
            raise ModelError(
                "CRFRNN builds a lattice from the image's values, which an exported graph cannot; export a network "
                "with ConvCRF, or without a CRF"
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
        # M (W_s f + W_b g) = (M W_s) f + (M W_b) g: two products an iteration, not three.
        x, compatibility = unary, self.compatibility.to(unary)
        near, alike = (compatibility @ weights.to(unary) for weights in (self.spatial, self.bilateral))  # (K, K)
        for _ in range(self.iterations[0 if self.training else 1]):
            q = x.softmax(1)
            x = unary + spatial(q) @ near.T + bilateral(q) @ alike.T
        return x


class _Filter:
    """The mean of values (points, K) by the Gaussian of features (points, d).

    In float32 on a CPU by numba's lattice, some ten times as fast as torch's there; both give the
    same up to rounding.
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
    """numba's filter with its gradient, the transposed filter."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, table: lattice.Lattice, transposed: bool) -> torch.Tensor:
        ctx.table, ctx.transposed = table, transposed
        apply = table.adjoint if transposed else table.filter
        return torch.from_numpy(apply(values.detach().numpy(), threads=torch.get_num_threads()))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _ByNumba.apply(gradient, ctx.table, not ctx.transposed), None, None


class ConvCRF(nn.Module):
    """Convolutional CRF: logits of a network -> logits of the CRF.

    Mean field whose messages come from a window around each pixel, on a map of coarse cells. With
    u = log softmax(logits) it repeats, from q = softmax(u):

        x = (1 - w) u + w (s_1 G_1 q + s_2 G_2 q)
        q = softmax(x)

    G_1 is a Gaussian of position, G_2 one of colour, and of position too if bilateral has an sxy.
    w (`weight`, one for each class), s (`strength`) and the widths (`log_widths`) learn.

    Args:
        classes: K, at least 2.
        window: side of the window in cells, odd.
        blur: side of a cell in pixels.
        iterations: how often.
        gaussian: (sxy, s_1) at the start.
        bilateral: (sxy or None, srgb, s_2) at the start; None is the authors' default.
        weight: w at the start.
        normalisation: "symmetric", D^-1/2 G D^-1/2 with D the sums of G's rows, or "none".

    Raises:
        ModelError: an option does not fit.

    Source:
        Teichmann & Cipolla, BMVC 2019.

    Example:
        >>> crf = ConvCRF(classes=2, window=5)
        >>> crf(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 2, 8, 8)).shape
        torch.Size([1, 2, 8, 8])
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
            raise ModelError(f"window is {window}; expected an odd number of cells, such as 11")
        if normalisation not in ("symmetric", "none"):
            raise ModelError(f"normalisation is {normalisation!r}; ConvCRF takes 'symmetric' or 'none'")
        _check_widths("gaussian", gaussian, 2)
        _check_widths("bilateral", bilateral if bilateral[0] is not None else bilateral[1:], 3 - (bilateral[0] is None))
        self.classes, self.window, self.blur, self.iterations = classes, window, blur, iterations
        self.normalisation = normalisation
        self.weight = nn.Parameter(torch.full((classes,), float(weight)))
        self.strength = nn.Parameter(torch.tensor([gaussian[1], bilateral[2]]))
        widths = [gaussian[0], bilateral[1], *([bilateral[0]] if bilateral[0] is not None else [])]
        self.log_widths = nn.Parameter(torch.tensor(widths).log())

    def forward(self, image: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Sharpen logits.

        Args:
            image: (N, C, H, W), raw 0..255, any dtype and number of channels.
            logits: (N, K, H, W).

        Returns:
            (N, K, H, W) logits, float32, or float64 if they were.

        Raises:
            DataError: image and logits do not fit each other or this CRF.
        """
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
        """s_1 G_1 + s_2 G_2 of an image (N, C, H, W).

        (N, T, h, w): for each cell the T places of its window, row by row.
        """
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
    """For each cell the sum over its window of kernel times values; values outside the map are 0.

    Windows are not copied: on a CPU that takes a fraction of the time and memory of `unfold`.

    Args:
        kernel: (N, window^2, h, w), for each cell the places of its window, row by row.
        values: (N, K, h, w).
        window: side of the window, odd.

    Returns:
        (N, K, h, w); differentiable once, in kernel and values.
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
        # Cell j is place T - 1 - t in the window of i if i is place t in the window of j.
        to_values = torch.zeros_like(values)
        backwards = _moved(kernel, ctx.window), _moved(gradient, ctx.window)
        for place, (weight, moved) in enumerate(zip(*backwards, strict=True)):
            mirrored = kernel.shape[1] - 1 - place
            to_values.addcmul_(weight[:, mirrored : mirrored + 1], moved)
        return to_kernel, to_values, None


def _moved(x: torch.Tensor, window: int) -> Iterator[torch.Tensor]:
    """The map (..., h, w) moved to each place of a window, row by row, 0 beyond its border."""
    height, width, reach = x.shape[-2], x.shape[-1], window // 2
    x = functional.pad(x, (reach, reach, reach, reach))
    for place in range(window**2):
        top, left = divmod(place, window)
        yield x[..., top : top + height, left : left + width]


def _places(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """(H W, 2): x and y of every pixel, row by row."""
    y, x = torch.meshgrid(
        torch.arange(height, device=like.device), torch.arange(width, device=like.device), indexing="ij"
    )
    return torch.stack([x.flatten(), y.flatten()], 1).to(like.dtype)


def _full_precision(x: torch.Tensor) -> AbstractContextManager[object]:
    """Turns autocast off, if it is on: exporters do not like a context that does nothing."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def _wide(x: torch.Tensor) -> torch.Tensor:
    """In float32, or in float64 if it is."""
    return x if x.dtype == torch.float64 else x.float()


def _check_inputs(image: torch.Tensor, logits: torch.Tensor, classes: int) -> None:
    if image.ndim != 4 or logits.ndim != 4 or 0 in image.shape:
        raise DataError(
            f"the image has shape {tuple(image.shape)} and the logits have shape {tuple(logits.shape)}; "
            "expected (N, C, H, W) and (N, K, H, W), with at least one pixel"
        )
    if logits.shape[0] != image.shape[0] or logits.shape[2:] != image.shape[2:]:
        raise DataError(
            f"logits have shape {tuple(logits.shape)} and the image has shape {tuple(image.shape)}; "
            "give both the same N, H and W"
        )
    if logits.shape[1] != classes:
        raise DataError(f"logits of {logits.shape[1]} classes were given to a CRF of {classes}; build it for as many")
    if image.is_floating_point() and not torch.compiler.is_compiling() and not image.isfinite().all():
        raise DataError("the image holds values that are not finite (nan or inf); replace them")
    if image.is_floating_point() and not torch.compiler.is_compiling():
        low, high = (float(value) for value in image.detach().aminmax())
        if low < high and are_small(low, high, lambda: bool((image == image.round()).all())):
            warn(f"the image's colours lie in {low:.3g}..{high:.3g}, but are taken in 0..255", stacklevel=3)


def _check_classes(classes: int) -> None:
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 2:
        raise ModelError(f"a CRF of {classes!r} classes was asked for; give a whole number of them, at least 2")


def _check_widths(what: str, values: tuple[float | None, ...], count: int) -> None:
    """All numbers but the last are widths, above 0; the last is a weight, finite."""
    numbers = [v for v in values if isinstance(v, int | float) and math.isfinite(v)]
    if len(numbers) != len(values) or len(values) != count or not all(v > 0 for v in numbers[:-1]):
        raise ModelError(f"{what} is {tuple(values)}; expected widths above 0, then a finite weight")


def _check_counts(what: str, *counts: int) -> None:
    if not all(isinstance(count, int) and count >= 1 for count in counts):
        raise ModelError(f"{what}: {counts} was given; expected whole numbers, at least 1")
