"""What was found, for people: one self-contained HTML page per run, and text for a terminal."""

from atrous.report.page import Case, Report, write_report
from atrous.report.run import report_run
from atrous.report.terminal import print_comparisons, print_evaluation

__all__ = ["Case", "Report", "print_comparisons", "print_evaluation", "report_run", "write_report"]
