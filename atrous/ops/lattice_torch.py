"""The permutohedral lattice in torch: a Gaussian filter over points, with its gradient.

The same filter as `atrous.ops.lattice`, on any device and in the values' own precision. The
gradient goes to the values, by the exact adjoint; none goes to the features. How points, keys and
neighbours are found is told in `lattice_build`; here each step is done for all points at once.

N points, d features, C channels, M lattice points.
"""

from collections.abc import Iterable

import torch

from atrous.errors import DataError
from atrous.ops.lattice import FARTHEST, LARGEST_DIMENSION, TOO_FAR


class Lattice:
    """Where N points lie in the permutohedral lattice: built from features, used for any values.

    The kernel between two points is exp(-|f_i - f_j|^2 / 2), the point itself included.

    Args:
        features: (N, d) floating, d = 1..8, each divided by its standard deviation.

    Attributes:
        weights: (N, d + 1), barycentric, each row sums to 1.
        vertices: (N, d + 1) int64, 0..M-1.
        neighbours: (d + 1, 2, M + 1) int64, for each direction the lattice points before and behind
            each; M where there is none.

    Raises:
        DataError: features are empty, not finite, beyond 2^30, or of another shape.

    Example:
        >>> lattice = Lattice(torch.tensor([[0.0], [0.5], [9.0]]))
        >>> values = torch.tensor([[1.0], [1], [0]])
        >>> (lattice.filter(values) / lattice.filter(torch.ones(3, 1))).flatten().tolist()
        [1.0, 1.0, 0.0]
    """

    def __init__(self, features: torch.Tensor) -> None:
        features = features.detach()
        if features.ndim != 2 or not 1 <= features.shape[1] <= LARGEST_DIMENSION or not len(features):
            raise DataError(
                f"features have shape {tuple(features.shape)}; expected (points, 1..{LARGEST_DIMENSION}), points >= 1"
            )
        if not features.is_floating_point():
            raise DataError(f"features are {features.dtype}; expected floats")
        largest = float(features.abs().max())
        if not largest < FARTHEST:
            raise DataError(TOO_FAR)
        exact = (
            features.double() if largest > 2**12 else features
        )  # float32 has no digits left for a place in a simplex
        coordinates, order, weights = _enclosing_simplex(exact)
        self.weights = weights.to(features.dtype)
        steps = _steps(coordinates)
        first = (coordinates * steps[:-1]).sum(1)
        keys = torch.stack([first, *(first - part for part in steps[order.flip(1)[:, :-1]].cumsum(1).unbind(1))], 1)
        points, vertices = keys.unique(return_inverse=True)
        self.vertices = vertices.reshape(keys.shape)
        self.size = len(points)
        self.neighbours = torch.stack(
            [torch.stack([_find(points, points - step), _find(points, points + step)]) for step in steps]
        )

    def filter(self, values: torch.Tensor) -> torch.Tensor:
        """(N, C) -> (N, C): the sum over all points j of kernel(i, j) values_j, by the lattice."""
        return filter(values, self)

    def adjoint(self, values: torch.Tensor) -> torch.Tensor:
        """(N, C) -> (N, C): the transposed filter, with <a, filter(b)> = <adjoint(a), b>."""
        return filter(values, self, transposed=True)


def filter(values: torch.Tensor, lattice: Lattice, *, transposed: bool = False) -> torch.Tensor:
    """Filter values by a lattice; differentiable in the values, any number of times.

    The lattice is not symmetric, since the order of its blurs matters.

    Args:
        values: (N, C) floating, on the lattice's device.
        lattice: of N points.
        transposed: filter with the exact adjoint.

    Returns:
        (N, C), of the values' device and dtype.

    Raises:
        DataError: `values` has another shape.
    """
    if values.ndim != 2 or len(values) != len(lattice.weights):
        raise DataError(f"values have shape {tuple(values.shape)}; expected ({len(lattice.weights)}, channels)")
    return _Filter.apply(values, lattice, transposed)


class _Filter(torch.autograd.Function):
    """The filter is linear: its gradient is the transposed filter, a function of this kind."""

    @staticmethod
    def forward(ctx, values: torch.Tensor, lattice: Lattice, transposed: bool) -> torch.Tensor:  # type: ignore[no-untyped-def]
        ctx.lattice, ctx.transposed = lattice, transposed
        return _filter(values, lattice, transposed)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):  # type: ignore[no-untyped-def]
        return _Filter.apply(gradient, ctx.lattice, not ctx.transposed), None, None


def _filter(values: torch.Tensor, lattice: Lattice, transposed: bool) -> torch.Tensor:
    """Splat, blur along every direction by (1/2, 1, 1/2), slice (Adams et al. 2010, section 3)."""
    weights = lattice.weights.to(values.dtype)
    corners = list(zip(lattice.vertices.unbind(1), weights[..., None].unbind(1), strict=True))
    # One row more than there are points stays zero: every neighbour that is missing is that row.
    points = values.new_zeros(lattice.size + 1, values.shape[1])
    for vertex, weight in corners:
        points.index_add_(0, vertex, weight * values)
    directions: Iterable[torch.Tensor] = lattice.neighbours.flip(0) if transposed else lattice.neighbours
    for before, behind in directions:
        points = points + 0.5 * (points[before] + points[behind])
    result = torch.zeros_like(values)
    for vertex, weight in corners:
        result += weight * points[vertex]
    return result / (1 + 0.5 ** (weights.shape[1] - 1))


def _enclosing_simplex(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(coordinates (N, d) of the first vertex, order (N, d + 1), weights (N, d + 1)) of each point.

    order: the axes by rank. Vertex k + 1 lies one step before vertex k along axis order[d - k].
    """
    n, d = features.shape
    axis = torch.arange(1, d + 1, dtype=features.dtype, device=features.device)
    scaled = features * ((2 / 3) ** 0.5 * (d + 1) / (axis * (axis + 1)).sqrt())
    above = scaled.flip(1).cumsum(1).flip(1)  # (N, d): the sum of this and later ones
    elevated = torch.cat([above, torch.zeros_like(above[:, :1])], 1)
    elevated[:, 1:] -= axis * scaled
    quotient = (elevated / (d + 1)).round()
    excess = quotient.sum(1, keepdim=True).long()
    order = (elevated - quotient * (d + 1)).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(d + 1, device=order.device).expand(n, -1)) + excess
    # Modulo d + 1 ranks stay a permutation, however large `excess` is.
    shift = -rank.div(d + 1, rounding_mode="floor")
    rank += shift * (d + 1)
    order = order.scatter_(1, rank, torch.arange(d + 1, device=order.device).expand(n, -1))
    quotient = quotient.long() + shift
    offset = (elevated - quotient * (d + 1)) / (d + 1)
    by_rank = offset.gather(1, order).flip(1)  # (N, d + 1), lowest first
    weights = by_rank - torch.nn.functional.pad(by_rank[:, :-1], (1, 0))
    weights[:, 0] = 1 + by_rank[:, 0] - by_rank[:, -1]
    return quotient[:, :-1] - quotient[:, -1:], order, weights


def _steps(coordinates: torch.Tensor) -> torch.Tensor:
    """(d + 1,) int64: what a step along each axis adds to a key, as in `lattice._steps`.

    The radices follow from the first vertices: 6 more are room for the others and their neighbours.
    """
    extent = [int(e) + 6 for e in coordinates.amax(0) - coordinates.amin(0)]
    steps, total = [], 1
    for size in extent:
        steps.append(total)
        total *= size
    if total * max(extent) >= 2**62:
        steps = torch.randint(2**62, (len(extent),), generator=torch.Generator().manual_seed(0)).tolist()
    along = torch.tensor(steps, device=coordinates.device)
    return torch.cat([along, -along.sum(0, keepdim=True)])


def _find(points: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """(M + 1,): each key's place among the sorted points, M if it is not there; then M itself."""
    place = torch.searchsorted(points, keys).clamp_(max=len(points) - 1)
    place[points[place] != keys] = len(points)
    return torch.nn.functional.pad(place, (0, 1), value=len(points))
