"""The report as a page: one HTML file without scripts that needs nothing from elsewhere.

It takes a :class:`nmcore.report.Report` and nothing else; what is not in there cannot be shown.
"""

from nmcore.page.document import page

__all__ = ["page"]
