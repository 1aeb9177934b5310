"""Test images that turn in the browser, with the masks of trained networks."""

from polyp.viewer.view import view

__all__ = ["view"]
