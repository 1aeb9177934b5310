from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from polyp.layers import P4Layers, PlainLayers, operator_entries
from polyp.models import UNet, multiply_adds
from tests.models.model_tester import CONFIGS, ModelTester


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


def test_multiply_adds_by_hand():
    """Two levels of widths 4 and 6, 3×3 kernels, at 8×8 pixels; pooled once, to 4×4."""
    fine = 3 * 2 + 2 * 4 + 4 * 4 + (6 + 4) * 4 + 4 * 4  # lift, encoder, decoder
    coarse = 4 * 6 + 6 * 6
    head = 4 * 64
    plain = 9 * (64 * fine + 16 * coarse) + head
    assert multiply_adds(UNet([4, 6], PlainLayers()), 8) == plain
    # p4: 4 orientations of each field out, and 4 in but for the image.
    p4 = 9 * (64 * (16 * fine - 12 * 3 * 2) + 16 * 16 * coarse) + head
    assert multiply_adds(UNet([4, 6], P4Layers()), 8) == p4


def of_config(*overrides):
    with initialize_config_dir(str(CONFIGS.parent), version_base="1.3"):
        return instantiate(compose("train", list(overrides)).model)


def test_the_small_models_have_about_equal_parameters():
    counts = {
        name: sum(p.numel() for p in of_config(f"model={name}_small").parameters())
        for name in (
            "unet",
            "p4unet",
            "p4munet",
            "se2unet",
            "se2unet_bilinear",
            "steerableunet",
            "steerableunet_matched",
            "so2unet",
            "isounet",
        )
    }
    assert counts.pop("steerableunet") < 0.45 * counts["se2unet"]
    assert counts == {
        "unet": 492_061,
        "p4unet": 491_263,
        "p4munet": 491_664,
        "se2unet": 489_948,
        "se2unet_bilinear": 489_948,
        "steerableunet_matched": 489_214,
        "so2unet": 492_190,
        "isounet": 490_139,
    }


def test_p4munet_has_about_the_parameters_of_p4unet():
    assert sum(p.numel() for p in of_config("model=p4munet").parameters()) == 1_968_898


def test_unet_wide_has_the_multiply_adds_of_p4unet():
    wide, p4 = (multiply_adds(of_config(f"model={name}"), 256) for name in ("unet_wide", "p4unet"))
    assert p4 <= wide < 1.001 * p4


def test_pooling_is_chosen_by_config():
    model = of_config("model=p4unet_small", "model.pool=blur", "model.upsample=lowpass")
    assert "FilteredPool" in str(model.pool)
    assert "LowpassUpsample" in str(model.upsample)
