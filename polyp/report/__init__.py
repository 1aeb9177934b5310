"""From run folders to tables, figures, differences and a page."""

from polyp.report.compare import compare

__all__ = ["compare"]
