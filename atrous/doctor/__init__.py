"""The label doctor: every fault of a data set, named with its file and its remedy before anything is trained on it.

Nothing here imports torch.
"""

from atrous.doctor.examination import Examination, examine
from atrous.doctor.findings import KINDS, Finding
from atrous.doctor.mend import Mended, mend
from atrous.doctor.page import write_page
from atrous.doctor.text import describe, line
from atrous.doctor.witness import Witness

__all__ = [
    "KINDS",
    "Examination",
    "Finding",
    "Mended",
    "Witness",
    "describe",
    "examine",
    "line",
    "mend",
    "write_page",
]
