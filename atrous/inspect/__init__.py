"""What can be said of a network without data: receptive fields, costs, sizes, and how to tile.

Receptive fields come twice, in theory and measured by gradients; the two share no rule.
"""

from atrous.inspect.inspection import FieldCheck, Inspection, Reach, StageRow, inspect_model
from atrous.inspect.plots import refuse_plots, write_plots
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
    "refuse_plots",
    "write_plots",
]
