"""Makes the random numbers of each training step those of its number."""

from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class StepSeed(Callback):
    """Seeds torch before each batch, from the run's seed, the number of the batch and the process.

    A resumed run then draws the same numbers as one without a break, for dropout and for layers
    with `offset=random`. The state of the generators need not be in the checkpoint.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        number = trainer.fit_loop.total_batch_idx  # over all epochs
        seeds = np.random.SeedSequence([self.seed, number, trainer.global_rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
