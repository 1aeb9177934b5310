"""Learning-rate schedules over a whole run: each takes the optimiser and the number of steps."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR


def one_cycle(optimizer: Optimizer, total_steps: int, warmup: float = 0.3) -> LRScheduler:
    """Up to the optimiser's learning rate and down to almost nothing (Smith & Topin 2019).

    Args:
        warmup: part of the run on the way up.
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, peaks, total_steps=total_steps, pct_start=warmup)


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
