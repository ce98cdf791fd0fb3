"""Receptive fields in theory and as measured, sizes, costs, and the halo with which tiles equal the whole image."""

from atrous.inspect.inspection import FieldCheck, Inspection, Reach, StageRow, inspect_model
from atrous.inspect.plots import write_plots
from atrous.inspect.seams import Halo, NoHalo, halo
from atrous.inspect.text import print_inspection

__all__ = [
    "FieldCheck",
    "Halo",
    "Inspection",
    "NoHalo",
    "Reach",
    "StageRow",
    "halo",
    "inspect_model",
    "print_inspection",
    "write_plots",
]
