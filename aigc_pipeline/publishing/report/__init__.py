"""The HTML report of a run: one offline page, the verdict first. Nothing is fetched and no script runs."""

from aigc_pipeline.publishing.report.content import ReportContent
from aigc_pipeline.publishing.report.page import render_report, write_report

__all__ = ["ReportContent", "render_report", "write_report"]
