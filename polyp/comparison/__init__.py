"""From a set of run folders to tables, figures, paired tests and a page."""

from polyp.comparison.compare import compare

__all__ = ["compare"]
