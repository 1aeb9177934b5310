"""The fast maximum against torch's own: values, gradients, second derivatives, export."""

import pytest
import torch
from torch.nn import functional

from polyp.layers.corner_maximum import corner_maximum


def expected(x: torch.Tensor) -> torch.Tensor:
    return functional.max_pool2d(x, 2, stride=1)


def random(shape, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(shape).to(dtype).requires_grad_()


def with_ties(shape, dtype=torch.float64) -> torch.Tensor:
    return torch.randint(-1, 2, shape).to(dtype).requires_grad_()


@pytest.mark.parametrize("values", [random, with_ties])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 2, 5, 7), (1, 1, 2, 2), (0, 2, 4, 4)])
def test_same_values_and_gradients(values, dtype, shape):
    torch.manual_seed(0)
    x = values(shape, dtype)
    y = corner_maximum(x)
    assert torch.equal(y, expected(x))
    weight = torch.randint(1, 9, y.shape).to(dtype)  # sums of few of them are exact
    ours, torchs = (
        torch.autograd.grad((f(x) * weight).sum(), x) for f in (corner_maximum, expected)
    )
    assert torch.equal(ours[0], torchs[0])


def test_first_and_second_derivatives():
    torch.manual_seed(0)
    x = random((1, 2, 4, 5))
    assert torch.autograd.gradcheck(corner_maximum, x)
    assert torch.autograd.gradgradcheck(lambda x: corner_maximum(x).square(), x)


def test_channels_last_and_parts_of_a_map():
    torch.manual_seed(0)
    x = torch.randn(2, 6, 8, 8)
    for view in (x.to(memory_format=torch.channels_last), x[:, ::2], x[..., 1:-1], x.mT):
        assert torch.equal(corner_maximum(view), expected(view))


def test_not_a_number_stays():
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 0, 0] = torch.nan
    assert corner_maximum(x).isnan().sum() == 1


def test_export_has_torchs_own_operation():
    class Maximum(torch.nn.Module):
        def forward(self, x):
            return corner_maximum(x)

    graph = torch.export.export(Maximum(), (torch.randn(1, 2, 4, 4),)).graph
    assert any("max_pool2d" in str(node.target) for node in graph.nodes)
