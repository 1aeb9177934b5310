"""Learning-rate schedules over a whole run: each takes the optimiser and the number of steps."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from polyp.errors import UserError


def one_cycle(optimizer: Optimizer, total_steps: int, warmup: float = 0.3) -> LRScheduler:
    """Rises to the optimiser's learning rate and falls to almost 0 (Smith & Topin 2019).

    Args:
        warmup: share of the run in which the learning rate rises.
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    return _OneCycle(optimizer, peaks, total_steps=total_steps, pct_start=warmup)


class _OneCycle(OneCycleLR):
    def load_state_dict(self, state_dict: dict) -> None:
        """Raises UserError for a cycle of another length, which would end in mid-run."""
        if state_dict["total_steps"] != self.total_steps:
            raise UserError(
                f"resume: the checkpoint is of a one-cycle schedule of {state_dict['total_steps']} "
                f"steps, this run has {self.total_steps}: it can only be resumed with the same "
                "trainer.max_epochs, data.batch_size and training images"
            )
        super().load_state_dict(state_dict)


def cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05) -> LRScheduler:
    """Linear warm-up, then half a cosine down to 0 (Loshchilov & Hutter 2017), no restarts."""
    rising = max(1, round(warmup * total_steps))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total_steps - rising)))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """The optimiser's learning rate throughout."""
    return LambdaLR(optimizer, lambda step: 1.0)
