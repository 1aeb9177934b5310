"""Rotation-equivariant segmentation of polyps in colonoscopy images."""

import os

# Set before albumentations is first imported: it asks the network for a newer version of itself.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
