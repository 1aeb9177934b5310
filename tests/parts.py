"""Parts of a run that tests name in a config, for train.py in a process of its own."""

import os
import signal
import time

from torch import Tensor, nn

from polyp.layers.plain import PlainLayers
from polyp.training import BCEDiceLoss


class WithoutNorm(PlainLayers):
    """Layers of a network that treats each image by itself: the batches make no difference."""

    def norm(self, fields: int) -> nn.Module:
        return nn.Identity()


class TerminatingLoss(BCEDiceLoss):
    """With TERMINATE in the environment, sends SIGTERM to the second process in the second step."""

    steps = 0

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        self.steps += 1
        second = os.environ["LOCAL_RANK"] == "1"
        if self.steps == 2 and second and "TERMINATE" in os.environ:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(logits, mask)


class StallingLoss(BCEDiceLoss):
    """Waits for a minute in the second step of the second epoch, if an epoch has 4 and 1 steps."""

    steps = 0

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        self.steps += 1
        if self.steps == 7:
            time.sleep(60)
        return super().forward(logits, mask)
