"""The mathematics: pure functions on arrays and tensors, without state.

Names are looked up on first use (PEP 562), so that the CRF alone imports no torch. `resize` has the
name of its module: `from atrous.ops.resize import resize`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atrous.ops.argmax import upsample_argmax as upsample_argmax
    from atrous.ops.argmax import upsample_confidence as upsample_confidence
    from atrous.ops.argmax import upsample_threshold as upsample_threshold
    from atrous.ops.confusion import count_pairs as count_pairs
    from atrous.ops.resize import Tail as Tail
    from atrous.ops.tiles import blend as blend
    from atrous.ops.tiles import blend_labels as blend_labels
    from atrous.ops.tiles import positions as positions
    from atrous.ops.unpool import max_unpool as max_unpool

_HOME = {
    "Tail": "resize",
    "blend": "tiles",
    "blend_labels": "tiles",
    "count_pairs": "confusion",
    "max_unpool": "unpool",
    "positions": "tiles",
    "upsample_argmax": "argmax",
    "upsample_confidence": "argmax",
    "upsample_threshold": "argmax",
}
__all__ = sorted(_HOME)


if not TYPE_CHECKING:  # else every name would exist for mypy

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
