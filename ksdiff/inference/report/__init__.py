"""A report on a fused scene: one HTML file, to be looked at anywhere and offline."""

from ksdiff.inference.report.write import check_report, write_report

__all__ = ["check_report", "write_report"]
