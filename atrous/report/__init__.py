"""Results for people: one self-contained HTML page, and text for a terminal."""

from atrous.report.build import EvaluatedRun, make_report, report_run, train_command
from atrous.report.page import Report, ReportedRun, write_report
from atrous.report.pictures import ImageCase
from atrous.report.terminal import print_calibration, print_comparisons, print_evaluation, print_tuning, verdict

__all__ = [
    "EvaluatedRun",
    "ImageCase",
    "Report",
    "ReportedRun",
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
