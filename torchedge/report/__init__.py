"""What an export was found to be: verified, counted, weighed, timed, and written down."""

from torchedge.exporting.stages import Stage
from torchedge.report.diagnostics import Diagnostics
from torchedge.report.render import to_json, to_markdown, to_table
from torchedge.report.report import Report
from torchedge.report.verify import verify

__all__ = ["Diagnostics", "Report", "Stage", "to_json", "to_markdown", "to_table", "verify"]
