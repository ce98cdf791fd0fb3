"""The mathematics: pure functions on arrays and tensors, no state."""

from atrous.ops.argmax import upsample_argmax
from atrous.ops.confusion import count_pairs
from atrous.ops.resize import Tail, resize
from atrous.ops.stats import bootstrap_miou
from atrous.ops.tiles import blend, gaussian_window, positions
from atrous.ops.unpool import max_unpool

__all__ = [
    "Tail",
    "blend",
    "bootstrap_miou",
    "count_pairs",
    "gaussian_window",
    "max_unpool",
    "positions",
    "resize",
    "upsample_argmax",
]
