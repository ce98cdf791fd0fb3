"""The label doctor: every fault of a data set, named with its file and its remedy before anything is trained on it.

Nothing here imports torch.
"""

from atrous.doctor.examination import Examination, examine_dataset
from atrous.doctor.findings import KINDS, Finding
from atrous.doctor.mend import Mended, mend
from atrous.doctor.page import write_page
from atrous.doctor.text import describe_examination, finding_line
from atrous.doctor.witness import Witness

__all__ = [
    "KINDS",
    "Examination",
    "Finding",
    "Mended",
    "Witness",
    "describe_examination",
    "examine_dataset",
    "finding_line",
    "mend",
    "write_page",
]
