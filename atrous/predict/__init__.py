"""Using a trained network: raw image in, prediction out.

Names are looked up on first use, so that `loading` recognises a path without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atrous.predict.prediction import Prediction as Prediction
    from atrous.predict.predictor import Predictor as Predictor
    from atrous.predict.windows import Cutting as Cutting

_HOME = {
    "Cutting": "atrous.predict.windows",
    "Prediction": "atrous.predict.prediction",
    "Predictor": "atrous.predict.predictor",
}

__all__ = sorted(_HOME)


if not TYPE_CHECKING:  # else every name would exist for mypy

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            return getattr(import_module(_HOME[name]), name)
        raise AttributeError(f"module 'atrous.predict' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
