"""Refiners: what sharpens a network's scores with the colours of the image."""

from importlib import import_module
from typing import Any

_HOME = {
    "as_refiner": "atrous.refine.inputs",
    "bilateral_solver": "atrous.refine.cheap",
    "fill_holes": "atrous.refine.cheap",
    "grabcut": "atrous.refine.cutout",
    "graph_cut": "atrous.refine.graphcut",
    "guided_filter": "atrous.refine.cheap",
    "icm": "atrous.refine.iterated_modes",
    "keep_largest": "atrous.refine.cheap",
    "minimum_size": "atrous.refine.cheap",
    "potts_energy": "atrous.refine.potts",
    "trws": "atrous.refine.iterated_modes",
    "PRESETS": "atrous.refine.densecrf",
    "Kernel": "atrous.refine.meanfield",
    "MeanField": "atrous.refine.meanfield",
    "dense_crf": "atrous.refine.densecrf",
    "unary_from_labels": "atrous.refine.unary",
    "unary_from_logits": "atrous.refine.unary",
    "unary_from_probabilities": "atrous.refine.unary",
    "CRFRNN": "atrous.refine.crfrnn",
    "ConvCRF": "atrous.refine.crfrnn",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'atrous.refine' has no attribute {name!r}")
