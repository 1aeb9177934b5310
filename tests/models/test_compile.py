"""torch.compile of networks as they are trained: more than one family and shape in a process."""

import pytest
import torch

from polyp.layers import LieLayers, P4Layers, SE2Layers, SeparableSE2Layers
from polyp.models import UNet


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own
def test_families_and_shapes_one_after_another():
    torch.manual_seed(0)
    torch.compiler.reset()
    families = [P4Layers(), SE2Layers(3, 8), SeparableSE2Layers(3, 4), LieLayers(3, 8)]
    for family in families:
        model = UNet([2, 4], family)
        compiled = torch.compile(model, backend="aot_eager")
        for batch, size in ((2, 16), (3, 24)):
            image = torch.randn(batch, 3, size, size)
            compiled(image).square().mean().backward()
            torch.testing.assert_close(compiled(image), model(image), atol=1e-4, rtol=1e-4)
