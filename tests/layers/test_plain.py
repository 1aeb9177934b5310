from polyp.layers import PlainLayers
from tests.layers.definition import rotations
from tests.layers.family_tester import FamilyTester


class TestPlain(FamilyTester):
    group = rotations(1)

    def make(self, kernel_size=3):
        return PlainLayers(kernel_size)
