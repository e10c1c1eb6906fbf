"""One HTML page per run: results, curves, images and settings."""

from decomprec.report.record import read_run
from decomprec.report.render import write_report

__all__ = ["read_run", "write_report"]
