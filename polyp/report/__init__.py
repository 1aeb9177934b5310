"""From run folders to tables, figures, paired tests and a page."""

from polyp.report.compare import compare

__all__ = ["compare"]
