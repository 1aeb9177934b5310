"""Logs images and equivariance of the validation set during training.

Values are logged at the last step of the epoch, counted from 0, like Lightning's val/dice.
"""

from collections.abc import Sequence

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from polyp.evaluation import evaluation_mode, overlay, rotation_sweep
from polyp.training.logging import log_image


class ValidationImages(Callback):
    """Shows validation images with the masks found and true, after each epoch.

    Args:
        images: their number, from the start of the validation set.
    """

    def __init__(self, images: int = 4):
        self.images = images

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        part = trainer.datamodule.part("val")
        items = [part[i] for i in range(min(self.images, len(part)))]
        image = torch.stack([item["image"] for item in items])
        with evaluation_mode(module.model):
            found = module.task.masks(module.model(image.to(module.device))).cpu()
        truth = module.task.one_hot(torch.stack([item["mask"] for item in items]))
        pictures = [
            overlay(
                item["image"].permute(1, 2, 0).numpy(),
                masks.numpy(),
                true.numpy(),
                item["valid"][0].numpy(),
            )
            for item, masks, true in zip(items, found, truth, strict=True)
        ]
        log_image(trainer.loggers, "val/masks", np.stack(pictures), trainer.global_step - 1)


class EquivarianceMonitor(Callback):
    """Measures equivariance on the validation set every n epochs.

    Args:
        every_n_epochs: how often.
        angles: in degrees, counter-clockwise.
    """

    def __init__(self, every_n_epochs: int, angles: Sequence[float]):
        self.every_n_epochs, self.angles = every_n_epochs, list(angles)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs or not trainer.is_global_zero:
            return
        batches = trainer.datamodule.loader("val")
        sweep = rotation_sweep(module.model, batches, self.angles, module.device, module.task)
        curve = sweep.curve()
        values = {
            f"val/equivariance_{angle:g}": dice
            for angle, dice in zip(curve["angles"], curve["dice"], strict=True)
            if dice is not None
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, trainer.global_step - 1)
