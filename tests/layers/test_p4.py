import numpy as np

from polyp.layers import P4Layers
from tests.layers.definition import rotations
from tests.layers.family_tester import FamilyTester


class TestP4(FamilyTester):
    group = rotations(4)

    def make(self, kernel_size=3):
        return P4Layers(kernel_size)


class TestP4M(FamilyTester):
    group = rotations(4) + [turn @ np.diag([1, -1]) for turn in rotations(4)]

    def make(self, kernel_size=3):
        return P4Layers(kernel_size, reflections=True)
