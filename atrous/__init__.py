"""atrous: semantic segmentation from FCN to DeepLab and beyond.

    import atrous
    segmenter = atrous.load("runs/demo")          # a run folder or a .safetensors bundle
    prediction = segmenter.predict("road.jpg")    # .labels (H, W), .probabilities (K, H, W), .overlay(), .save(...)

Names are looked up on first use (PEP 562), so that `import atrous` costs milliseconds and imports no torch.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atrous import errors as errors
    from atrous import inspect as inspect
    from atrous import labels as labels
    from atrous import losses as losses
    from atrous import metrics as metrics
    from atrous import models as models
    from atrous import ops as ops
    from atrous import refine as refine
    from atrous.labels import LabelSet as LabelSet
    from atrous.models import create_model as create_model
    from atrous.models import from_classifier as from_classifier
    from atrous.models import list_models as list_models
    from atrous.predict import Prediction as Prediction
    from atrous.predict import Predictor as Predictor
    from atrous.segmenter import Segmenter as Segmenter
    from atrous.segmenter import load as load
    from atrous.zoo.describe import describe_model as describe_model

__version__ = "0.1.0"

_HOME = {
    "LabelSet": "atrous.labels",
    "Prediction": "atrous.predict",
    "Predictor": "atrous.predict",
    "Segmenter": "atrous.segmenter",
    "create_model": "atrous.models",
    "describe_model": "atrous.zoo.describe",
    "from_classifier": "atrous.models",
    "list_models": "atrous.models",
    "load": "atrous.segmenter",
}
_SUBPACKAGES = ("errors", "inspect", "labels", "losses", "metrics", "models", "ops", "refine")

__all__ = ["__version__", *sorted(_HOME), *_SUBPACKAGES]


if not TYPE_CHECKING:  # else every name would exist for mypy

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            return getattr(import_module(_HOME[name]), name)
        if name in _SUBPACKAGES:
            return import_module(f"atrous.{name}")
        raise AttributeError(f"module 'atrous' has no attribute {name!r}")


_KERNELS = Path(__file__).parent / "ops" / "__pycache__"

if "NUMBA_CACHE_DIR" not in os.environ and not (os.access(_KERNELS, os.W_OK) and any(_KERNELS.glob("*.nbc"))):
    from atrous.files import keep_kernels  # before numba is imported, which reads that variable once

    keep_kernels(_KERNELS)


def __dir__() -> list[str]:
    return sorted(__all__)
