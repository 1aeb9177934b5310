"""What every model must satisfy: one tester, of which each model's test is a subclass.

class TestP4UNet(ModelTester):
    config = "p4unet"
    parameters = 1_963_453
    equivariant = True
"""

import copy
import io
from collections.abc import Sequence
from pathlib import Path

import hydra
import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from torch import Tensor, nn

from polyp.errors import UserError
from polyp.layers import ExpandedConv, Norm
from polyp.models import collapse

CONFIGS = Path(__file__).parents[2] / "configs" / "model"


class ModelTester:
    config: str  # configs/model/{config}.yaml
    parameters: int  # trainable, with the config as it stands
    equivariant: bool  # under rotations by 90°
    widths: tuple[int, ...] = (4, 4, 6)  # small, for all other tests
    multiple: int = 4  # of the height and width, with these widths
    valid_sizes = ((4, 4), (8, 8), (16, 16), (20, 20), (24, 8), (4, 16), (12, 28))
    # Size → what the error has to name.
    invalid_sizes = {  # noqa: RUF012
        (33, 32): "33×32.* multiples of 4; nearest valid: height 32 or 36$",
        (32, 30): "32×30.* nearest valid: width 28 or 32$",
        (2, 7): "2×7.* nearest valid: height 4 and width 4 or 8$",
        (0, 8): "0×8.* nearest valid: height 4$",
    }

    def make(self, **overrides) -> nn.Module:
        """The model of the config, with some of its keys (`widths`, `layers`) changed."""
        torch.manual_seed(0)
        config = OmegaConf.load(CONFIGS / f"{self.config}.yaml")
        config = OmegaConf.merge(config, OmegaConf.create(overrides))
        # In its place, as it refers to keys at the root of a run's config.
        return hydra.utils.instantiate(OmegaConf.create({"model": config}).model)

    def small(self, widths: Sequence[int] | None = None) -> nn.Module:
        """A small model in evaluation mode whose parameters and statistics are not the initial
        ones, as after some training."""
        model = self.make(widths=list(widths or self.widths))
        with torch.no_grad():
            for parameter in model.parameters():
                # Scales and biases, and a head with a prior, which start as ones and zeros.
                if parameter.ndim == 1 or not parameter.any():
                    parameter.add_(0.1 * torch.randn_like(parameter))
            for _ in range(10):
                model(2 * torch.randn(4, 3, 16, 16) + 1)
        return model.eval()

    @staticmethod
    @torch.no_grad()
    def output(model: nn.Module, height: int = 16, width: int = 16) -> Tensor:
        image = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))
        return model(image)

    def test_parameter_count(self):
        model = self.make()
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == self.parameters

    def test_training_changes_every_parameter(self):
        model = self.make(widths=list(self.widths))
        before = copy.deepcopy(model.state_dict())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):  # where the head starts at 0, the first step changes only the head
            optimizer.zero_grad()
            model(torch.randn(2, 3, 16, 16)).square().mean().backward()
            optimizer.step()
        for name, parameter in model.named_parameters():
            assert torch.isfinite(parameter).all(), name
            assert not torch.equal(parameter, before[name]), name

    @pytest.mark.parametrize("size", valid_sizes)
    def test_valid_size(self, size):
        assert self.output(self.small(), *size).shape == (2, 1, *size)

    @pytest.mark.parametrize("size", invalid_sizes)
    def test_invalid_size_names_the_nearest_valid_ones(self, size):
        with pytest.raises(UserError, match=self.invalid_sizes[size]):
            self.output(self.small(), *size)

    @pytest.mark.parametrize("shape", [(3, 16, 16), (1, 4, 16, 16), (1, 1, 16, 16)])
    def test_invalid_shape(self, shape):
        with pytest.raises(UserError, match=r"needs \[B, 3, H, W\]"):
            self.small()(torch.zeros(shape))

    @pytest.mark.parametrize("size", valid_sizes)
    def test_rotation_by_90_degrees(self, size):
        """The rotated image has the rotated output, in float32, if the model is equivariant."""
        model = self.small()
        image = torch.randn(2, 3, *size)
        with torch.no_grad():
            rotated, output = model(image.rot90(1, (2, 3))), model(image)
        error = (rotated - output.rot90(1, (2, 3))).abs().max()
        if self.equivariant:
            assert error < 1e-4
        else:
            assert error > 1e-2

    @pytest.mark.parametrize("size", [64, 96, 128])
    def test_quarter_turns_at_full_depth(self, size):
        model = self.small(widths=[2, 2, 2, 4, 4])
        image = torch.randn(1, 3, size, size)
        with torch.no_grad():
            output = model(image)
            for turns in (1, 2, 3):
                error = (model(image.rot90(turns, (2, 3))) - output.rot90(turns, (2, 3))).abs()
                if self.equivariant:
                    assert error.max() < 1e-5 * output.abs().max()
                else:
                    assert error.max() > 1e-2 * output.abs().max()

    def test_save_and_load(self):
        model = self.small()
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        file.seek(0)
        loaded = self.make(widths=list(self.widths))
        loaded.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(self.output(loaded.eval()), self.output(model))

    def test_saved_in_training_mode_loads_in_evaluation_mode(self):
        model = self.small()
        expected = self.output(model)
        loaded = self.make(widths=list(self.widths)).eval()
        self.output(loaded)
        loaded.load_state_dict(model.train().state_dict())
        assert torch.equal(self.output(loaded), expected)

    def test_evaluation_after_training_sees_the_new_weights(self):
        model = self.small()
        before = self.output(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model.train()(torch.randn(2, 3, 16, 16)).square().mean().backward()
        optimizer.step()
        after = self.output(model.eval())
        assert not torch.equal(after, before)
        assert torch.equal(self.output(model.train().eval()), after)

    def test_deepcopy_is_equal_and_independent(self):
        model = self.small()
        before = self.output(model)
        twin = copy.deepcopy(model)
        assert torch.equal(self.output(twin), before)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.mul_(2)
        assert not torch.equal(self.output(twin), before)
        assert torch.equal(self.output(model), before)

    def test_collapsed_it_is_ordinary_convolutions_of_equal_output(self):
        model = self.small()
        state = copy.deepcopy(model.state_dict())
        plain = collapse(model)
        output = self.output(model)
        assert (self.output(plain) - output).abs().max() < 1e-5 * output.abs().max()
        for module in plain.modules():
            assert not isinstance(module, ExpandedConv | Norm | nn.BatchNorm2d)
        convs = [m for m in model.modules() if isinstance(m, nn.Conv2d | ExpandedConv)]
        assert sum(isinstance(m, nn.Conv2d) for m in plain.modules()) == len(convs)
        assert all(torch.equal(model.state_dict()[key], state[key]) for key in state)
        # Collapsed in the middle of training, it does what the model does in evaluation.
        assert torch.equal(self.output(collapse(model.train())), self.output(plain))
        assert model.training

    @pytest.mark.parametrize("widths", [[], [3, 4], [4, 0], [4, 4.5], [-2]])
    def test_invalid_widths(self, widths):
        with pytest.raises(InstantiationException, match="widths=") as error:
            self.make(widths=widths)
        assert isinstance(error.value.__cause__, UserError)
