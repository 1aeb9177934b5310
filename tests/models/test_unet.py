from polyp.layers import operator_entries
from tests.models.model_tester import ModelTester


class TestUNet(ModelTester):
    config = "unet"
    parameters = 1_965_049
    equivariant = False


class TestP4UNet(ModelTester):
    config = "p4unet"
    parameters = 1_963_453
    equivariant = True


class TestSE2UNet(ModelTester):
    config = "se2unet"
    parameters = 16_350_589
    equivariant = True

    def test_operator_entries_make_up_the_published_count(self):
        assert self.parameters + operator_entries(self.make()) == 16_493_089
