"""One step of training and of validation."""

from collections.abc import Callable

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from polyp.errors import UserError
from polyp.evaluation import dice
from polyp.tasks import Task

Batch = dict[str, Tensor]


class Segmentation(LightningModule):
    """Trains a model on batches of `polyp.data.DataModule`.

    Args:
        model: image [B, C, H, W] → logits [B, task.channels, H, W].
        task: the meaning of the logits.
        loss: (logits, class indices [B, 1, H, W]) → scalar.
        optimizer: parameters → optimiser.
        schedule: (optimiser, steps of the whole run) → schedule, advanced after every step.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        loss: nn.Module,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
    ):
        super().__init__()
        self.model, self.task, self.loss = model, task, loss
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.val_dice = MeanMetric()
        self.val_loss = MeanMetric()

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = self.loss(self.model(batch["image"]), batch["mask"])
        if not torch.isfinite(loss):
            kept = "; the checkpoints of the epochs before are kept" if self.current_epoch else ""
            raise UserError(
                f"the training loss became {loss.item()} in epoch {self.current_epoch + 1}{kept}: "
                "try a smaller optimizer.lr, trainer.gradient_clip_val=1, or "
                "trainer.precision=32-true"
            )
        images = len(batch["image"])
        self.log("train/loss", loss, on_epoch=True, sync_dist=True, batch_size=images)
        self.log("train/learning_rate", self.lr_schedulers().get_last_lr()[0], batch_size=1)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        logits = self.model(batch["image"])
        # Without the blank images that make the shares of several processes equal.
        real = batch["valid"].flatten(1).any(1)
        logits, mask, valid = logits[real], batch["mask"][real], batch["valid"][real]
        images = len(logits)
        if images:
            self.val_loss.update(self.loss(logits, mask), weight=images)
            self.val_dice.update(dice(self.task.masks(logits), self.task.one_hot(mask), valid))
        # Metrics, not numbers: they are summed over the processes before they are divided.
        self.log("val/loss", self.val_loss, batch_size=images)
        self.log("val/dice", self.val_dice, batch_size=images)

    def configure_optimizers(self) -> dict:
        steps = int(self.trainer.estimated_stepping_batches)
        try:
            optimizer = self.make_optimizer(self.model.parameters())
            schedule = self.make_schedule(optimizer, steps)
        except (TypeError, ValueError) as error:
            raise UserError(f"optimizer or schedule: {error}") from error
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
