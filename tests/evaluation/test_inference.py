"""In which state a model is evaluated, and that it is left as it was."""

import pytest
import torch
from torch import nn

from polyp.evaluation import evaluation_mode


def precisions() -> list[str]:
    cudnn = torch.backends.cudnn
    return [o.fp32_precision for o in (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul)]


def test_float32_is_not_rounded_while_evaluating():
    before = precisions()
    assert "tf32" in before  # torch's own default, for convolutions
    with evaluation_mode(nn.Identity()):
        assert precisions() == ["ieee"] * 3
    assert precisions() == before
    with pytest.raises(RuntimeError, match="inside"), evaluation_mode(nn.Identity()):
        raise RuntimeError("inside")
    assert precisions() == before


def test_modules_are_left_in_their_modes():
    model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
        assert torch.is_inference_mode_enabled()
    assert [module.training for module in model] == [True, False]
