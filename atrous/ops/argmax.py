"""Labels straight from low-resolution logits: bilinear upsampling and argmax in one pass.

No (K, H, W) tensor is ever made: each output row needs two rows of logits, lerped once vertically into a (K, w) buffer,
then compared class by class along the row. Ties go to the lowest class.
"""

import numba
import numpy as np
import torch
from numba import njit, prange

from atrous.ops.resize import resize

try:  # numba's fallback threading layer aborts the process under concurrent calls: one thread where OpenMP is not there
    from numba.np.ufunc import omppool  # type: ignore[attr-defined]  # noqa: F401

    PARALLEL = True
    numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]  # type: ignore[attr-defined]
except ImportError:
    PARALLEL = False


def upsample_argmax(
    logits: torch.Tensor,
    size: tuple[int, int],
    *,
    align_corners: bool = False,
    crop: tuple[int, int, int, int] | None = None,
) -> torch.Tensor:
    """The class of every pixel of bilinearly resized logits: (N, K, h, w) -> (N, H, W) uint8 (uint16 when K > 256).

    size: (H, W) of the resized logits; crop: (top, left, height, width) of the part wanted, counted in resized pixels.
    Equals `interpolate(logits, size, mode="bilinear", align_corners=...).argmax(1)` apart from ties at rounding.
    """
    if logits.ndim != 4 or 0 in logits.shape:
        raise ValueError(f"logits have shape {tuple(logits.shape)}; expected (N, K, h, w) with no empty axis")
    top, left, height, width = crop or (0, 0, *size)
    if not (top >= 0 and left >= 0 and top + height <= size[0] and left + width <= size[1]):
        raise ValueError(f"crop {crop} leaves the resized logits of size {tuple(size)}")
    dtype = torch.uint8 if logits.shape[1] <= 256 else torch.uint16
    if logits.device.type != "cpu":
        return torch.stack([_by_row_bands(one, size, align_corners, (top, left, height, width)) for one in logits]).to(
            dtype
        )
    source = logits.detach().float().contiguous().numpy()
    rows = _taps(logits.shape[2], size[0], align_corners, top, height)
    columns = _taps(logits.shape[3], size[1], align_corners, left, width)
    out = np.empty((len(source), height, width), np.uint8 if dtype == torch.uint8 else np.uint16)
    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    for one, labels in zip(source, out, strict=True):
        _rows(one, *rows, *columns, labels)
    if torch.get_num_threads() != threads:  # numba's first launch sets OpenMP's count, which is torch's too
        torch.set_num_threads(threads)
    return torch.from_numpy(out)


def _taps(n: int, size: int, align_corners: bool, start: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per output position: lower and upper source index and the weight of the upper one, in torch's convention."""
    index = np.arange(start, start + count, dtype=np.float32)
    if align_corners:
        centre = index * np.float32((n - 1) / (size - 1) if size > 1 else 0)
    else:
        centre = np.maximum((index + np.float32(0.5)) * np.float32(n / size) - np.float32(0.5), 0)
    low = np.minimum(centre.astype(np.int64), n - 1)
    return low, np.minimum(low + 1, n - 1), (centre - low).astype(np.float32)


@njit(nogil=True, cache=True, fastmath={"contract"}, parallel=PARALLEL)
def _rows(logits, row0, row1, rweight, col0, col1, cweight, out):  # type: ignore[no-untyped-def]
    classes, _, source_width = logits.shape
    height, width = out.shape
    for y in prange(height):
        band = np.empty((classes, source_width), np.float32)
        a, b, t = row0[y], row1[y], rweight[y]
        for k in range(classes):
            for x in range(source_width):
                band[k, x] = logits[k, a, x] + t * (logits[k, b, x] - logits[k, a, x])
        best = np.empty(width, np.float32)
        winner = np.zeros(width, np.uint16)
        for x in range(width):
            best[x] = band[0, col0[x]] + cweight[x] * (band[0, col1[x]] - band[0, col0[x]])
        for k in range(1, classes):
            for x in range(width):
                value = band[k, col0[x]] + cweight[x] * (band[k, col1[x]] - band[k, col0[x]])
                better = value > best[x]
                best[x] = value if better else best[x]
                winner[x] = k if better else winner[x]
        for x in range(width):
            out[y, x] = winner[x]


def _by_row_bands(
    logits: torch.Tensor,
    size: tuple[int, int],
    align_corners: bool,
    box: tuple[int, int, int, int],
    budget: int = 1 << 26,
) -> torch.Tensor:
    """The same in plain torch on any device, a band of classes at a time: at most `budget` values exist at once."""
    top, left, height, width = box
    step = max(1, budget // (size[0] * size[1]))
    best = winner = None
    for first in range(0, len(logits), step):
        part = resize(logits[None, first : first + step].float(), size, align_corners=align_corners)[0]
        value, index = part[:, top : top + height, left : left + width].max(0)
        if best is None or winner is None:
            best, winner = value, index
        else:
            better = value > best
            best, winner = torch.where(better, value, best), torch.where(better, index + first, winner)
    assert winner is not None
    return winner
