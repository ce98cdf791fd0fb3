"""Refiners: they sharpen a network's scores by the colours of the image.

Names are looked up on first use (PEP 562), so that the CRF alone imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atrous.refine.cheap import bilateral_solver as bilateral_solver
    from atrous.refine.cheap import fill_holes as fill_holes
    from atrous.refine.cheap import guided_filter as guided_filter
    from atrous.refine.cheap import keep_largest as keep_largest
    from atrous.refine.cheap import minimum_size as minimum_size
    from atrous.refine.crfrnn import CRFRNN as CRFRNN
    from atrous.refine.crfrnn import ConvCRF as ConvCRF
    from atrous.refine.cutout import grabcut as grabcut
    from atrous.refine.densecrf import PRESETS as PRESETS
    from atrous.refine.densecrf import dense_crf as dense_crf
    from atrous.refine.graphcut import graph_cut as graph_cut
    from atrous.refine.inputs import as_refiner as as_refiner
    from atrous.refine.iterated_modes import icm as icm
    from atrous.refine.iterated_modes import trws as trws
    from atrous.refine.meanfield import Kernel as Kernel
    from atrous.refine.meanfield import MeanField as MeanField
    from atrous.refine.potts import potts_energy as potts_energy
    from atrous.refine.unary import unary_from_labels as unary_from_labels
    from atrous.refine.unary import unary_from_logits as unary_from_logits
    from atrous.refine.unary import unary_from_probabilities as unary_from_probabilities

_HOME = {
    "CRFRNN": "crfrnn",
    "ConvCRF": "crfrnn",
    "Kernel": "meanfield",
    "MeanField": "meanfield",
    "PRESETS": "densecrf",
    "as_refiner": "inputs",
    "bilateral_solver": "cheap",
    "dense_crf": "densecrf",
    "fill_holes": "cheap",
    "grabcut": "cutout",
    "graph_cut": "graphcut",
    "guided_filter": "cheap",
    "icm": "iterated_modes",
    "keep_largest": "cheap",
    "minimum_size": "cheap",
    "potts_energy": "potts",
    "trws": "iterated_modes",
    "unary_from_labels": "unary",
    "unary_from_logits": "unary",
    "unary_from_probabilities": "unary",
}
__all__ = sorted(_HOME)


if not TYPE_CHECKING:  # else every name would exist for mypy

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
