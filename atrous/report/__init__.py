"""What was found, for people: one self-contained HTML page, and text for a terminal."""

from atrous.report.build import Shown, make_report, report_run, train_command
from atrous.report.page import Report, Run, write_report
from atrous.report.pictures import Case
from atrous.report.terminal import print_calibration, print_comparisons, print_evaluation, print_tuning, verdict

__all__ = [
    "Case",
    "Report",
    "Run",
    "Shown",
    "make_report",
    "print_calibration",
    "print_comparisons",
    "print_evaluation",
    "print_tuning",
    "report_run",
    "train_command",
    "verdict",
    "write_report",
]
