"""The report as a page: one HTML file without scripts that needs nothing from elsewhere.

It takes a :class:`nmcore.report.report.Report` and nothing else.
"""

from nmcore.report.html.page import page

__all__ = ["page"]
