"""The permutohedral lattice in torch: a Gaussian filter over points in any feature space, with its gradient.

The same filter as `atrous.ops.lattice`, on any device and in the values' own precision. The gradient goes to the
values, through the exact adjoint, and none to the features. N points, d features, C channels, M lattice points.
"""

from collections.abc import Iterable

import torch

from atrous.errors import DataError

LARGEST_DIMENSION = 8


class Lattice:
    """Where N points lie in the permutohedral lattice; built once for a set of features, used for any values.

    features: (N, d) floating, d = 1..8, each already divided by its standard deviation: the kernel between two points
    is exp(-|f_i - f_j|^2 / 2), the point itself included. DataError where not finite, empty or of another shape.

    weights: (N, d + 1), barycentric, each row sums to 1. vertices: (N, d + 1) int64, 0..M-1. neighbours:
    (d + 1, 2, M + 1) int64, of each lattice point those before and behind it in each direction; M where none is.
    """

    def __init__(self, features: torch.Tensor) -> None:
        features = features.detach()
        if features.ndim != 2 or not 1 <= features.shape[1] <= LARGEST_DIMENSION or not len(features):
            raise DataError(
                f"features have shape {tuple(features.shape)}; expected (points, 1..{LARGEST_DIMENSION}), points >= 1"
            )
        if not features.is_floating_point() or not (features.abs() < 2**40).all():
            raise DataError(f"features are {features.dtype}, some not finite or beyond 2^40; expected finite floats")
        coordinates, order, self.weights = _enclosing_simplex(features)
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
        """(N, C) -> (N, C): the sum over all points j of kernel(i, j) values_j, as the lattice has it."""
        return filter(values, self)

    def adjoint(self, values: torch.Tensor) -> torch.Tensor:
        """(N, C) -> (N, C): the transposed filter, with <a, filter(b)> = <adjoint(a), b>."""
        return filter(values, self, transposed=True)


def filter(values: torch.Tensor, lattice: Lattice, *, transposed: bool = False) -> torch.Tensor:
    """(N, C) -> (N, C), differentiable in the values as often as one likes; device and dtype are those of the values.

    The lattice is not symmetric (the order of its blurs matters); `transposed` filters with the exact adjoint.
    """
    if values.ndim != 2 or len(values) != len(lattice.weights):
        raise DataError(f"values have shape {tuple(values.shape)}; expected ({len(lattice.weights)}, channels)")
    return _Filter.apply(values, lattice, transposed)


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: torch.Tensor, lattice: Lattice, transposed: bool) -> torch.Tensor:  # type: ignore[no-untyped-def]
        ctx.lattice, ctx.transposed = lattice, transposed
        return _filter(values, lattice, transposed)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):  # type: ignore[no-untyped-def]
        return _Filter.apply(gradient, ctx.lattice, not ctx.transposed), None, None


def _filter(values: torch.Tensor, lattice: Lattice, transposed: bool) -> torch.Tensor:
    """Splat, blur along every direction with (1/2, 1, 1/2), slice (Adams, Baek and Davis 2010, section 3)."""
    weights = lattice.weights.to(values.dtype)
    corners = list(zip(lattice.vertices.unbind(1), weights[..., None].unbind(1), strict=True))
    points = values.new_zeros(
        lattice.size + 1, values.shape[1]
    )  # the last one stays zero: the neighbour that is not there
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
    """(first vertex (N, d) int64, order (N, d + 1) int64, weights (N, d + 1)) of the simplex around each point.

    Elevated into the hyperplane of zero sum in d + 1 dimensions, a lattice point is d + 1 integers that leave one
    remainder when divided by d + 1. Those less the last one, divided by d + 1, are d free integers; they are what is
    kept. In them a step of the lattice along axis j < d adds one to integer j, and along axis d takes one from all.
    order: the axes by rank. Vertex k + 1 of the simplex lies one step before vertex k along axis order[d - k].
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
    shift = (rank < 0).long() - (rank > d).long()
    rank += shift * (d + 1)
    order = order.scatter_(1, rank, torch.arange(d + 1, device=order.device).expand(n, -1))
    quotient = quotient.long() + shift
    offset = (elevated - quotient * (d + 1)) / (d + 1)
    by_rank = offset.gather(1, order).flip(1)  # (N, d + 1), lowest first
    weights = by_rank - torch.nn.functional.pad(by_rank[:, :-1], (1, 0))
    weights[:, 0] = 1 + by_rank[:, 0] - by_rank[:, -1]
    return quotient[:, :-1] - quotient[:, -1:], order, weights


def _steps(coordinates: torch.Tensor) -> torch.Tensor:
    """(d + 1,) int64: what a step along each axis adds to a point's key, the sum of its coordinates times their steps.

    Coordinates are digits of mixed radix where that fits into 63 bits, and else random multipliers (collisions of a
    million points: one chance in ten million).
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
    """(M + 1,): the place of each key among the sorted points, M where it is not there and for the point M itself."""
    place = torch.searchsorted(points, keys).clamp_(max=len(points) - 1)
    place[points[place] != keys] = len(points)
    return torch.nn.functional.pad(place, (0, 1), value=len(points))
