"""Progress of a run: one bar for the whole run, and one line in the log per epoch."""

import logging
import time

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

log = logging.getLogger(__name__)

SHOWN = ("train/loss_epoch", "val/loss", "val/dice")


class RunProgress(Callback):
    """Bar over all steps of the run, with the loss, the last validation Dice and the time left.

    It is shown on a terminal only; in a file, the line for each epoch says the same.
    """

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.started = 0.0
        self.first_epoch = 0.0  # a fraction, if the run was stopped within an epoch

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        steps = trainer.num_training_batches
        done = trainer.fit_loop.total_batch_idx + 1
        self.started, self.first_epoch = time.monotonic(), done / steps
        self.bar = tqdm(
            desc="Training",
            total=steps * trainer.max_epochs,
            initial=done,
            unit="step",
            disable=None if trainer.is_global_zero else True,
            dynamic_ncols=True,
        )

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs, batch, batch_idx: int
    ) -> None:
        metrics = trainer.callback_metrics
        shown = {"loss": metrics.get("train/loss_step"), "val Dice": metrics.get("val/dice")}
        self.bar.set_postfix(
            {name: f"{float(value):.3f}" for name, value in shown.items() if value is not None},
            refresh=False,
        )
        self.bar.update()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        done = trainer.current_epoch + 1
        pace = (time.monotonic() - self.started) / (done - self.first_epoch)
        if trainer.is_global_zero:
            log.info(
                "epoch %d/%d  train loss %.3f  val loss %.3f  val Dice %.4f  %.1f s each, %s left",
                done,
                trainer.max_epochs,
                *(float(trainer.callback_metrics[metric]) for metric in SHOWN),
                pace,
                tqdm.format_interval(pace * (trainer.max_epochs - done)),
            )

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        self.teardown(trainer, module, trainer.state.fn)

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if self.bar is not None:
            self.bar.close()
