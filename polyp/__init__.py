"""Rotation-equivariant segmentation of polyps in colonoscopy images."""

import os
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("polyp-equivariance")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"

# Set before albumentations is first imported: it asks the network for a newer version of itself.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
