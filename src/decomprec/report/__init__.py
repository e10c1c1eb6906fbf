"""A run as one page: results, curves, images, settings."""

from decomprec.report.record import RunRecord, read_run
from decomprec.report.render import write_report

__all__ = ["RunRecord", "read_run", "write_report"]
