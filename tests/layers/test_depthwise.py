"""The depthwise convolution and all its derivatives are those of torch."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from polyp.layers import ExpandedConv, SeparableSE2Layers, depthwise, expanded_conv
from polyp.layers.depthwise import depthwise_conv2d, pays


def reference(x: Tensor, kernel: Tensor) -> Tensor:
    return functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2, groups=len(kernel))


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, dtype=dtype, requires_grad=True)


@pytest.fixture(params=["whole", "pieces"])
def pieces(request, monkeypatch) -> None:
    """Both all at a time, and an image and 16 channels of it."""
    torch.manual_seed(0)
    if request.param == "pieces":
        monkeypatch.setattr(depthwise, "CACHED", 1)
        monkeypatch.setattr(depthwise, "CONVOLVED", 1)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("size", [3, 5, 7, 9])
@pytest.mark.parametrize("channels", [1, 16, 72])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_output_and_gradients_are_those_of_torch(size, channels, layout):
    x, kernel = random(2, channels, 9, 7), random(channels, 1, size, size)
    upstream = torch.randn(2, channels, 9, 7).contiguous(memory_format=layout)
    found, expected = (f(x, kernel) for f in (depthwise_conv2d, reference))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, (x, kernel), upstream),
        torch.autograd.grad(expected, (x, kernel), upstream),
        atol=1e-4,  # of sums of 126 products
        rtol=1e-4,
    )


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("size", [5, 7])
def test_first_and_second_derivatives(size, monkeypatch):
    monkeypatch.setattr(depthwise, "CHANNELS", 2)
    arguments = random(2, 3, 4, 3, dtype=torch.float64), random(3, 1, size, size).double()
    assert torch.autograd.gradcheck(depthwise_conv2d, arguments)
    assert torch.autograd.gradgradcheck(depthwise_conv2d, arguments)


def test_a_penalty_on_gradients_is_that_of_torch():
    x, kernel = random(2, 20, 9, 7), random(20, 1, 5, 5)

    def penalty(convolve) -> tuple[Tensor, ...]:
        (of_x,) = torch.autograd.grad(convolve(x, kernel).sin().sum(), x, create_graph=True)
        return torch.autograd.grad(of_x.square().sum(), (x, kernel))

    torch.testing.assert_close(penalty(depthwise_conv2d), penalty(reference), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("needed", [0, 1])
def test_only_what_needs_a_gradient_gets_one(needed):
    arguments = [random(2, 4, 8, 8), random(4, 1, 5, 5)]
    arguments[1 - needed].requires_grad_(False)
    depthwise_conv2d(*arguments).sum().backward()
    assert arguments[needed].grad is not None
    assert arguments[1 - needed].grad is None


@pytest.mark.usefixtures("pieces")
def test_autocast_computes_in_bfloat16_as_torch_does():
    x, kernel, upstream = random(2, 72, 9, 7), random(72, 1, 5, 5), torch.randn(2, 72, 9, 7)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = (f(x, kernel) for f in (depthwise_conv2d, reference))
    assert found.dtype == expected.dtype == torch.bfloat16
    assert torch.equal(found, expected)
    for mine, torchs, exact in zip(
        *(
            torch.autograd.grad(output, (x, kernel), upstream.to(output.dtype))
            for output in (found, expected, reference(x, kernel))
        ),
        strict=True,
    ):
        assert mine.dtype == torchs.dtype == torch.float32
        error = (mine - exact).norm() / exact.norm()
        assert error < 0.01  # bfloat16 has 8 bits
        assert error < 2 * (torchs - exact).norm() / exact.norm()


def test_where_it_is_used(monkeypatch):
    monkeypatch.setattr(depthwise, "X86", True)
    x, kernel = random(2, 4, 8, 8), random(4, 1, 5, 5)
    assert pays(x, kernel, stride=1, groups=4)
    assert pays(x.bfloat16(), kernel, stride=1, groups=4)
    assert not pays(x, kernel, stride=2, groups=4)
    assert not pays(x, random(4, 4, 5, 5), stride=1, groups=1)
    assert not pays(x[:0], kernel, stride=1, groups=4)
    assert not pays(x, random(8, 1, 5, 5), stride=1, groups=4)
    assert not pays(x, random(4, 1, 3, 3), stride=1, groups=4), "torch is fast"
    assert not pays(x.double(), kernel, stride=1, groups=4)
    assert not pays(x.to("meta"), kernel, stride=1, groups=4)
    assert not pays(x, kernel.detach(), stride=1, groups=4)
    with torch.no_grad():
        assert not pays(x, kernel, stride=1, groups=4)
    monkeypatch.setattr(depthwise, "X86", False)
    assert not pays(x, kernel, stride=1, groups=4)


@pytest.fixture
def calls(monkeypatch) -> list[torch.Size]:
    """The shapes of what the layers convolve by it, on any processor."""
    shapes = []

    def spy(x: Tensor, kernel: Tensor) -> Tensor:
        shapes.append(x.shape)
        return depthwise_conv2d(x, kernel)

    monkeypatch.setattr(depthwise, "X86", True)
    monkeypatch.setattr(expanded_conv, "depthwise_conv2d", spy)
    return shapes


def test_the_separable_family_trains_with_it_and_gets_the_same_gradients(calls, monkeypatch):
    torch.manual_seed(0)
    conv = SeparableSE2Layers(5, rotations=4).conv(3, 2)
    x = torch.randn(2, 12, 8, 8)

    def gradients() -> list[Tensor]:
        conv.zero_grad()
        conv(x).square().sum().backward()
        return [parameter.grad.clone() for parameter in conv.parameters()]

    found = gradients()
    assert calls == [x.shape]
    monkeypatch.setattr(expanded_conv, "pays", lambda *_: False)
    torch.testing.assert_close(found, gradients(), atol=1e-3, rtol=1e-4)


def test_evaluation_compilation_and_export_use_torchs_own(calls):
    conv = SeparableSE2Layers(5, rotations=4).conv(3, 2)
    assert all(isinstance(part, ExpandedConv) for part in conv)
    x = torch.randn(2, 12, 8, 8)
    exported = torch.export.export(conv, (x,))
    torch.testing.assert_close(exported.module()(x), conv.eval()(x).detach())
    with torch.no_grad():
        conv(x)
    assert calls == [x.shape], "the forward pass with gradients alone"
