"""The mathematics: pure functions on arrays and tensors, no state.

Names are looked up on first use, so that the CRF alone imports no torch. `resize` has its module's name and is imported
from there.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Tail": "atrous.ops.resize",
    "blend": "atrous.ops.tiles",
    "blend_labels": "atrous.ops.tiles",
    "count_pairs": "atrous.ops.confusion",
    "max_unpool": "atrous.ops.unpool",
    "positions": "atrous.ops.tiles",
    "upsample_argmax": "atrous.ops.argmax",
    "upsample_confidence": "atrous.ops.argmax",
    "upsample_threshold": "atrous.ops.argmax",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'atrous.ops' has no attribute {name!r}")
