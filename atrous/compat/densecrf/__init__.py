"""pydensecrf's interface (pydensecrf.densecrf): a program changes its imports and nothing else.

    import atrous.compat.densecrf as dcrf
    from atrous.compat.densecrf.utils import unary_from_softmax

    d = dcrf.DenseCRF2D(width, height, labels)
    d.setUnaryEnergy(unary_from_softmax(probabilities))
    d.addPairwiseGaussian(sxy=3, compat=3)
    d.addPairwiseBilateral(sxy=80, srgb=13, rgbim=image, compat=10)
    labels = np.argmax(d.inference(5), axis=0).reshape(height, width)

Names and conventions are the package's: energies are (L, N) float32, a pixel is y * width + x,
width comes before height, the self term is included, and NO_NORMALIZATION normalises nothing (the
package computes a mean there and does not use it).

Three things differ. Q is a numpy array. Arrays of other types and layouts are converted, not
refused. Kernel types (CONST, DIAG, FULL) do nothing: they matter only where parameters are learned,
which the package's Python interface does not do.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from atrous.errors import DataError
from atrous.refine.densecrf import pixel_features
from atrous.refine.inputs import judge_colours, refuse_probabilities
from atrous.refine.meanfield import Kernel, MeanField, Normalisation


class KernelType(IntEnum):
    """How a kernel's parameters would be learned; without effect here."""

    CONST_KERNEL = 0
    DIAG_KERNEL = 1
    FULL_KERNEL = 2


class NormalizationType(IntEnum):
    """Which normalisation of `atrous.refine.Kernel` a kernel has."""

    NO_NORMALIZATION = 0
    NORMALIZE_BEFORE = 1
    NORMALIZE_AFTER = 2
    NORMALIZE_SYMMETRIC = 3


CONST_KERNEL, DIAG_KERNEL, FULL_KERNEL = KernelType
NO_NORMALIZATION, NORMALIZE_BEFORE, NORMALIZE_AFTER, NORMALIZE_SYMMETRIC = NormalizationType

_NAMES: dict[int, Normalisation] = {0: "none", 1: "before", 2: "after", 3: "symmetric"}

Compatibility = float | Sequence[float] | np.ndarray
"""A weight (Potts), (L,) or (L, L), see `atrous.refine.Kernel`. A matrix is made symmetric."""


class Unary:
    """Energies (L, N)."""

    def __init__(self, energies: np.ndarray) -> None:
        self.energies = np.asarray(energies, np.float32)


class ConstUnary(Unary):
    """Energies (L, N) as they are given."""


class LogisticUnary(Unary):
    """Energies that are a product: L (L, F) times features f (F, N)."""

    def __init__(self, L: np.ndarray, f: np.ndarray) -> None:
        super().__init__(np.asarray(L, np.float32) @ np.asarray(f, np.float32))


class DenseCRF:
    """A CRF of `nvar` variables with `nlabels` labels each.

    Example:
        >>> d = DenseCRF(3, 2)
        >>> d.setUnaryEnergy(-np.log([[0.9, 0.4, 0.4], [0.1, 0.6, 0.6]]))
        >>> d.addPairwiseEnergy(np.array([[0.0, 0.5, 9.0]]), compat=3)
        >>> d.inference(5).argmax(0).tolist()
        [0, 0, 1]
    """

    def __init__(self, nvar: int, nlabels: int) -> None:
        self._pixels, self._labels = int(nvar), int(nlabels)
        self._unary: np.ndarray | None = None
        self._kernels: list[Kernel] = []
        self._field: MeanField | None = None
        self._shape: tuple[int, ...] = (self._pixels,)

    def setUnary(self, unary: Unary) -> None:
        self._set(unary.energies)

    def setUnaryEnergy(self, u: np.ndarray, f: np.ndarray | None = None) -> None:
        """u: energies (L, N); with features f (F, N) u is (L, F), and the product is energies."""
        self._set(np.asarray(u, np.float32) if f is None else LogisticUnary(u, f).energies)

    def addPairwiseEnergy(
        self,
        features: np.ndarray,
        compat: Compatibility,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Add a kernel over features (d, N), each divided by its standard deviation."""
        array = np.asarray(features, np.float32)
        if array.ndim != 2 or array.shape[1] != self._pixels:
            raise DataError(f"features have shape {array.shape}; expected (dimensions, {self._pixels})")
        self._add(np.ascontiguousarray(array.T), compat, kernel, normalization)

    def inference(self, niter: int) -> np.ndarray:
        """Marginals (L, N) float32 after `niter` iterations, starting from the unary energies."""
        field = self._begin()
        field.run(niter)
        return field.marginals

    def startInference(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(Q, empty, empty) for `stepInference`; Q (L, N) are the marginals of the unary alone."""
        q = self._begin().marginals
        return q, np.empty((0, 0), np.float32), np.empty((0, 0), np.float32)

    def stepInference(self, Q: np.ndarray, tmp1: np.ndarray, tmp2: np.ndarray) -> None:
        """Do one iteration from Q, and write the result into it."""
        field = self._at(Q)
        field.run(1)
        Q[...] = field.marginals

    def klDivergence(self, Q: np.ndarray) -> float:
        """KL(Q || P) without log Z; as in the package, each pair counts twice."""
        entropy, unary, pairwise = self._at(Q).parts()
        return unary + pairwise - entropy

    def _set(self, energies: np.ndarray) -> None:
        if energies.shape != (self._labels, self._pixels):
            raise DataError(f"unary energies have shape {energies.shape}; expected {(self._labels, self._pixels)}")
        refuse_probabilities(energies, "unary energies")
        self._unary, self._field = energies, None

    def _add(self, features: np.ndarray, compat: Compatibility, kernel: int, normalization: int) -> None:
        KernelType(kernel)
        weight = np.asarray(compat, np.float32)
        if weight.ndim == 2:
            weight = np.float32(0.5) * (weight + weight.T)
        self._kernels.append(Kernel(features, weight, _NAMES[NormalizationType(normalization)]))
        self._field = None

    def _begin(self) -> MeanField:
        if self._unary is None:
            raise DataError("no unary energies; call setUnaryEnergy first")
        self._field = MeanField(self._unary, self._kernels, shape=self._shape)
        return self._field

    def _at(self, q: np.ndarray) -> MeanField:
        field = self._field or self._begin()
        field.marginals = q
        return field


class DenseCRF2D(DenseCRF):
    """A CRF of the pixels of an image, width first."""

    def __init__(self, w: int, h: int, nlabels: int) -> None:
        super().__init__(w * h, nlabels)
        self._shape = (int(h), int(w))

    def addPairwiseGaussian(
        self,
        sxy: float | Sequence[float],
        compat: Compatibility,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Add the kernel of position; sxy: pixels, one number or (x, y)."""
        self._add(pixel_features(self._shape, _steps(sxy)), compat, kernel, normalization)

    def addPairwiseBilateral(
        self,
        sxy: float | Sequence[float],
        srgb: float | Sequence[float],
        rgbim: np.ndarray,
        compat: Compatibility,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Add the kernel of position and colour.

        sxy: pixels, one number or (x, y). srgb: one number or (r, g, b). rgbim: (h, w, 3), 0..255.
        Raises a DataError for colours in 0..1 that srgb tells nothing of, and for NaN.
        """
        image = np.asarray(rgbim)
        if image.ndim != 3 or image.shape[:2] != self._shape:
            raise DataError(f"rgbim has shape {image.shape}; expected {(*self._shape, 3)}")
        judge_colours(image, float(np.min(srgb)))
        colours = image / np.broadcast_to(np.asarray(srgb, np.float32), image.shape[-1:])
        self._add(pixel_features(self._shape, _steps(sxy), colours), compat, kernel, normalization)


def _steps(sxy: float | Sequence[float]) -> np.ndarray:
    """(y, x): what places are multiplied by to become features."""
    x, y = np.broadcast_to(np.asarray(sxy, float), 2)
    return 1 / np.array([y, x])
