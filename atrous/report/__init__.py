"""One self-contained HTML page per run: opens anywhere, loads nothing, can be mailed."""

from atrous.report.page import Case, Report, write_report
from atrous.report.run import report_run

__all__ = ["Case", "Report", "report_run", "write_report"]
