"""Layer families, which make a network equivariant under a group."""

from polyp.layers.expanded_conv import ExpandedConv
from polyp.layers.family import LayerFamily, Norm
from polyp.layers.group_conv import operator_entries
from polyp.layers.isotropic import IsotropicLayers
from polyp.layers.lie import LieLayers
from polyp.layers.p4 import P4Layers
from polyp.layers.plain import PlainLayers
from polyp.layers.se2 import SE2Layers
from polyp.layers.separable import SeparableSE2Layers
from polyp.layers.steerable import SteerableLayers

__all__ = [
    "ExpandedConv",
    "IsotropicLayers",
    "LayerFamily",
    "LieLayers",
    "Norm",
    "P4Layers",
    "PlainLayers",
    "SE2Layers",
    "SeparableSE2Layers",
    "SteerableLayers",
    "operator_entries",
]
