"""The kept kernel is never one of other weights. (Equality with `expand` needs no tolerance.)"""

import copy
import io

import pytest
import torch
from torch import nn

from polyp.layers import ExpandedConv, P4Layers, SE2Layers, SteerableLayers

FAMILIES = {
    "p4": lambda: P4Layers(3),
    "se2": lambda: SE2Layers(5, rotations=8),
    "steerable": lambda: SteerableLayers(3, rotations=4),
}


@pytest.fixture(params=FAMILIES)
def conv(request) -> nn.Module:
    """A convolution in evaluation mode that has kept its kernel."""
    torch.manual_seed(0)
    family = FAMILIES[request.param]()
    conv = family.conv(2, 3).eval()
    with torch.no_grad():
        conv(torch.zeros(1, 2 * family.order, 8, 8))
    assert conv._kept is not None
    return conv


def assert_right(conv: nn.Module) -> None:
    with torch.no_grad():
        assert torch.equal(conv.kernel(), conv.expand())


def sgd_step(conv):
    optimizer = torch.optim.SGD(conv.parameters(), lr=0.1)
    conv.expand().square().sum().backward()
    optimizer.step()


def training_step(conv):
    conv.train()
    sgd_step(conv)
    conv.eval()


def replace_parameter(conv):
    conv.weight = nn.Parameter(torch.randn_like(conv.weight))


def replace_data(conv):
    conv.weight.data = torch.randn_like(conv.weight)


def change_through_numpy(conv):
    conv.weight.detach().numpy()[:] *= 2


def load(conv, **options):
    conv.load_state_dict({"weight": torch.randn_like(conv.weight)}, **options)


CHANGES = {
    "optimiser step": sgd_step,
    "training step": training_step,
    "in place": lambda conv: nn.init.normal_(conv.weight),
    "in place, one value": lambda conv: nn.init.zeros_(conv.weight.view(-1)[7:8]),
    "data in place": lambda conv: conv.weight.data.mul_(2),
    "data": replace_data,
    "parameter": replace_parameter,
    "numpy": change_through_numpy,
    "load_state_dict": load,
    "load_state_dict, assigned": lambda conv: load(conv, assign=True),
    "float64": lambda conv: conv.double(),
    "bfloat16": lambda conv: conv.bfloat16(),
    "bfloat16 and back": lambda conv: conv.bfloat16().float(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_follows_the_weight(conv, change):
    with torch.no_grad():
        before = conv.kernel()
    with torch.set_grad_enabled("step" in change):
        CHANGES[change](conv)
    assert_right(conv)
    with torch.no_grad():
        kernel = conv.kernel()
    assert kernel.dtype == conv.weight.dtype
    assert kernel.dtype != before.dtype or not torch.equal(kernel, before)


def test_is_kept_while_the_weight_stays(conv):
    with torch.no_grad():
        kernel = conv.kernel()
        assert conv.kernel() is kernel
        conv.eval()
        assert conv.kernel() is kernel


def test_training_frees_it(conv):
    kernel = conv.train().kernel()
    assert conv._kept is None
    assert kernel.requires_grad
    conv.eval()
    assert_right(conv)


def test_gradients_flow_in_evaluation_mode(conv):
    for _ in range(2):  # with a kept kernel the second backward would fail
        conv.weight.grad = None
        conv.kernel().sum().backward()
        assert conv.weight.grad.abs().sum() > 0


def test_frozen_weight_lets_gradients_through_to_the_input(conv):
    with torch.inference_mode():
        conv.kernel()
    conv.weight.requires_grad_(False)
    x = torch.randn(1, conv.kernel().shape[1], 8, 8, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_autocast_does_not_lower_its_precision(conv):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        conv.weight.mul_(1.1)
        kernel = conv.kernel()
        assert kernel.dtype == torch.float32
        assert conv(torch.zeros(1, kernel.shape[1], 8, 8)).dtype == torch.bfloat16
    assert_right(conv)


def test_inference_mode_then_no_grad(conv):
    with torch.inference_mode():
        conv.weight.data = conv.weight.data.clone()
        conv(torch.zeros(1, conv.kernel().shape[1], 8, 8))
    assert_right(conv)
    assert_right(copy.deepcopy(conv))


def test_copy_has_its_own(conv):
    twin = copy.deepcopy(conv)
    with torch.no_grad():
        twin.weight.mul_(2)
    assert_right(twin)
    assert_right(conv)
    with torch.no_grad():
        assert not torch.equal(twin.kernel(), conv.kernel())


def test_is_not_in_the_state_dict(conv):
    assert list(conv.state_dict()) == ["weight"]
    file = io.BytesIO()
    torch.save(conv.state_dict(), file)
    assert file.tell() < conv.weight.nbytes + 2048


def test_functional_call_uses_the_given_weight(conv):
    weight = torch.randn_like(conv.weight)
    x = torch.randn(1, conv.kernel().shape[1], 8, 8)
    with torch.no_grad():
        y = torch.func.functional_call(conv, {"weight": weight}, (x,))
        assert not torch.equal(conv(x), y)
        conv.weight.copy_(weight)
        assert torch.equal(conv(x), y)


class ScaledConv(ExpandedConv):
    """A kernel that follows from two parameters and a buffer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 2, 3, 3))
        self.scale = nn.Parameter(torch.ones(2, 1, 1, 1))
        self.register_buffer("mask", torch.ones(3, 3))

    def expand(self):
        return self.scale * self.weight * self.mask


@pytest.mark.parametrize("name", ["weight", "scale", "mask"])
def test_follows_all_parameters_and_buffers(name):
    conv = ScaledConv().eval()
    with torch.no_grad():
        before = conv.kernel()
        assert conv.kernel() is before
        getattr(conv, name).mul_(2)
        torch.testing.assert_close(conv.kernel(), 2 * before)
