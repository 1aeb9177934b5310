"""Equivariance between the pixels, of random networks. Expected values are measured ones."""

import pytest
import torch

from polyp.layers import P4Layers, PlainLayers, SE2Layers
from polyp.layers.rotation_error import rotation_error

ANGLES = (15, 30, 45)


def test_bilinear_interpolation_is_as_far_from_equivariant_as_known():
    error = rotation_error(SE2Layers(5, 12, "bilinear"), ANGLES)
    torch.testing.assert_close(error, torch.tensor([0.215, 0.237, 0.265]), rtol=0.1, atol=0)


@pytest.mark.parametrize(
    ("interpolation", "limits"),
    [("bspline", (0.14, 0.08, 0.14)), ("gaussian", (0.12, 0.06, 0.12))],
)
def test_smooth_bases_halve_the_error(interpolation, limits):
    error = rotation_error(SE2Layers(5, 12, interpolation), ANGLES)
    assert (error <= torch.tensor(limits)).all(), error


def test_wider_gaussians_are_more_equivariant():
    errors = [rotation_error(SE2Layers(5, 8, sigma=s), [30], seeds=1) for s in (0.4, 0.6, 0.8)]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("family", [P4Layers(3), SE2Layers(5, 4)], ids=["p4", "se2"])
def test_no_error_at_90_degrees(family):
    assert (rotation_error(family, [0, 90, 180, -90], seeds=1) < 1e-5).all()


def test_plain_convolutions_are_not_equivariant():
    assert (rotation_error(PlainLayers(3), [30, 90], seeds=1) > 0.5).all()


def test_a_random_offset_is_that_of_training_alone():
    fixed, random = (SE2Layers(5, 8, offset=offset) for offset in ("fixed", "random"))
    expected = rotation_error(fixed, [30], seeds=1)
    torch.testing.assert_close(rotation_error(random, [30], seeds=1), expected)


def test_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    rotation_error(P4Layers(3), [30], seeds=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_script_draws_and_prints(script, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script("rotation_error", "output=error.png", "angles=[0,45,90]", "seeds=1")
    assert [path.name for path in tmp_path.iterdir()] == ["error.png"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert all("45°: 0." in line for line in lines)
