import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from polyp.errors import UserError
from polyp.evaluation.shifts import shift_batch
from polyp.geometry import shift
from polyp.layers import (
    IsotropicLayers,
    LieLayers,
    P4Layers,
    PlainLayers,
    SE2Layers,
    SeparableSE2Layers,
    SteerableLayers,
    operator_entries,
)
from polyp.models import UNet, collapse, multiply_adds
from polyp.tasks import Binary
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


FAMILIES = {
    "plain": PlainLayers(3),
    "p4": P4Layers(3),
    "p4m": P4Layers(3, reflections=True),
    "se2": SE2Layers(3, 4),
    "separable": SeparableSE2Layers(3, 4),
    "lie": LieLayers(3, 4),
    "steerable": SteerableLayers(3, 4),
    "mirrored": SteerableLayers(3, 4, reflections=True),
    "continuous": SteerableLayers(3, "continuous"),
    "isotropic": IsotropicLayers(3),
}


def random_network(family, **arguments) -> UNet:
    """Of two levels, with statistics; its outputs depend on 12 pixels in each direction."""
    torch.manual_seed(0)
    model = UNet([4, 4], family, **arguments)
    for _ in range(10):
        model(torch.rand(4, 3, 16, 16))
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_with_a_margin_shifts_by_the_stride_are_exact(name):
    """The image lies in zeros, and is moved by 2^depth = 2 pixels."""
    image = torch.zeros(2, 3, 24, 24)
    image[..., 6:18, 6:18] = torch.rand(2, 3, 12, 12)
    errors = []
    for margin in (0, 12):
        model = random_network(FAMILIES[name], margin=margin)
        before, after = model(image), model(shift(image, 2, -2))
        assert before.shape == (2, 1, 24, 24)
        inside = (..., slice(2, None), slice(None, -2))
        difference = (after - shift(before, 2, -2))[inside].abs().max()
        errors.append(float(difference / before.abs().max()))
    assert errors[0] > 1e-2
    assert errors[1] < 1e-5


def test_with_a_margin_the_measured_consistency_is_1():
    model = random_network(SE2Layers(3, 4), margin=12)
    with torch.no_grad():
        logits = model(torch.rand(2, 3, 24, 24))
        model.head.bias.sub_(logits.median())  # the masks are neither empty nor full
    torch.manual_seed(1)
    batch = {"image": torch.rand(4, 3, 16, 16), "valid": torch.ones(4, 1, 16, 16, dtype=torch.bool)}
    with torch.no_grad():
        shifts = shift_batch(model, Binary(), batch | {"id": list("abcd")}, 2, [(2, 2), (1, 0)])
    assert (shifts.dice[:, 0] == 1).all()
    assert (shifts.dice[:, 1] < 1).any()


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "plain"])
def test_with_a_margin_quarter_turns_stay_exact(name):
    model, image = random_network(FAMILIES[name], margin=4), torch.rand(2, 3, 16, 12)
    y = model(image)
    assert not torch.allclose(y, random_network(FAMILIES[name])(image))
    error = model(image.rot90(1, (2, 3))) - y.rot90(1, (2, 3))
    assert error.abs().max() < 1e-5 * y.abs().max()
    torch.testing.assert_close(collapse(model)(image), y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("margin", [-2, 1, 3, 2.0, "wide"])
def test_bad_margin(margin):
    with pytest.raises(UserError, match=f"^margin={margin}: must be a multiple of 2 pixels, or 0"):
        UNet([4, 4], P4Layers(), margin=margin)


def test_cost_of_a_margin():
    costs = [multiply_adds(UNet([4, 4], P4Layers(), margin=margin), 16) for margin in (0, 8)]
    assert costs[1] == 4 * costs[0]


@torch.no_grad()
@pytest.mark.parametrize(
    "name", [name for name in FAMILIES if name not in ("plain", "isotropic", "continuous")]
)
@pytest.mark.parametrize("project", ["mean", "none"])
def test_what_is_done_with_the_orientations_before_the_head(name, project):
    model, image = random_network(FAMILIES[name], project=project), torch.rand(2, 3, 12, 12)
    order = model.head.in_channels // random_network(FAMILIES[name]).head.in_channels
    assert order == (1 if project == "mean" else FAMILIES[name].order)
    y = model(image)
    error = (model(image.rot90(1, (2, 3))) - y.rot90(1, (2, 3))).abs().max() / y.abs().max()
    assert error < 1e-5 if project == "mean" else error > 1e-2


def test_mean_and_maximum_over_orientations():
    x = torch.tensor([1.0, 2, 3, 6, -1, 0, 0, 5]).reshape(1, 8, 1, 1)
    family = P4Layers()
    for kind, expected in (("max", [6, 5]), ("mean", [3, 1]), ("none", x.flatten().tolist())):
        assert family.project(2, kind)(x).flatten().tolist() == expected
    with pytest.raises(UserError, match=r"^project=min: must be one of max, mean, none"):
        UNet([4, 4], P4Layers(), project="min")
    with pytest.raises(UserError, match=r"^project=mean: irreps have no orientations"):
        UNet([4, 4], SteerableLayers(3, "continuous"), project="mean")


@pytest.mark.parametrize("prior", [0.1, 0.5])
def test_prior_is_the_probability_of_the_foreground_at_first(prior):
    binary = UNet([4, 4], P4Layers(), prior=prior)
    several = UNet([4, 4], P4Layers(), out_channels=3, prior=prior)
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert binary(image).sigmoid() == pytest.approx(torch.full((1, 1, 8, 8), prior), abs=1e-6)
        shares = several(image).softmax(1)[0, :, 0, 0]
    assert shares.tolist() == pytest.approx([1 - prior, prior / 2, prior / 2], abs=1e-6)


def test_without_a_prior_the_network_is_as_before():
    networks = []
    for options in ({}, {"prior": None}, {"prior": 0.1}):
        torch.manual_seed(0)
        networks.append(UNet([4, 4], P4Layers(), **options).state_dict())
    plain, none, prior = networks
    assert {k for k in plain if not plain[k].equal(none[k])} == set()
    assert {k for k in plain if not plain[k].equal(prior[k])} == {"head.bias", "head.weight"}


@pytest.mark.parametrize("prior", [0, 1, -0.1, 1.5])
def test_bad_prior(prior):
    with pytest.raises(UserError, match=f"^prior={prior}: must be above 0 and below 1"):
        UNet([4, 4], P4Layers(), prior=prior)
