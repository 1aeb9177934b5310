"""TensorBoard shows the validation set during training."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from polyp.data import DataModule, Synthetic
from polyp.evaluation import overlay, rotation_sweep
from polyp.tasks import Binary
from polyp.training import EquivarianceMonitor, ValidationImages
from tests.evaluation.helpers import Shifted


class Recorder(TensorBoardLogger):
    """Keeps what a TensorBoard logger is told."""

    def __init__(self):
        self.scalars: dict[tuple[str, int], float] = {}
        self.images: dict[tuple[str, int], np.ndarray] = {}

    @property
    def experiment(self) -> "Recorder":
        return self

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.scalars |= {(tag, step): value for tag, value in metrics.items()}

    def add_images(self, tag: str, images: np.ndarray, step: int, dataformats: str) -> None:
        assert dataformats == "NHWC"
        self.images[tag, step] = images


@pytest.fixture
def trainer() -> SimpleNamespace:
    """At the end of the third epoch of ten steps each, the masks in batches of two."""
    data = DataModule(Synthetic(images=30, size=32, seed=0), image_size=32, batch_size=2)
    data.setup()
    return SimpleNamespace(
        datamodule=data,
        loggers=[Recorder()],
        is_global_zero=True,
        current_epoch=2,
        global_step=30,
    )


@pytest.fixture
def module() -> SimpleNamespace:
    return SimpleNamespace(model=Shifted(), task=Binary(), device=torch.device("cpu"))


def test_drift_is_that_of_the_whole_validation_set(trainer, module):
    angles = [30.0, 90.0]
    EquivarianceMonitor(3, angles).on_validation_end(trainer, module)
    curves = {
        part: rotation_sweep(Shifted(), trainer.datamodule.loader(part), angles, "cpu").curve()
        for part in ("train", "val", "test")
    }
    expected = dict(zip(angles, curves["val"]["dice"], strict=True))
    assert trainer.loggers[0].scalars == {
        ("val/equivariance_30", 29): pytest.approx(expected[30]),
        ("val/equivariance_90", 29): pytest.approx(expected[90]),
    }
    # Another set, or the other score, would show.
    others = [curves["train"]["dice"], curves["test"]["dice"], curves["val"]["dice_truth"]]
    assert all(abs(np.subtract(other, curves["val"]["dice"])).min() > 1e-6 for other in others)


@pytest.mark.parametrize(("epoch", "process", "measured"), [(1, 0, 0), (2, 0, 2), (2, 1, 0)])
def test_drift_is_measured_every_n_epochs_by_one_process(trainer, module, epoch, process, measured):
    trainer.current_epoch, trainer.is_global_zero = epoch, process == 0
    EquivarianceMonitor(3, [30, 90]).on_validation_end(trainer, module)
    assert len(trainer.loggers[0].scalars) == measured


class RedIn(nn.Module):
    """Finds a polyp where red is above its mean; in training mode it finds none."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = image[:, :1] - image[:, :1].mean(dim=(2, 3), keepdim=True)
        return -torch.ones_like(logits) if self.training else logits


def test_pictures_are_of_the_first_validation_images(trainer, module):
    module.model = RedIn().train()
    ValidationImages(images=3).on_validation_end(trainer, module)
    (place,) = trainer.loggers[0].images
    assert place == ("val/masks", 29)
    pictures = trainer.loggers[0].images[place]
    part = trainer.datamodule.part("val")
    assert len(pictures) == 3
    for picture, i in zip(pictures, range(3), strict=True):
        red = part[i]["image"][0]
        expected = overlay(
            part[i]["image"].permute(1, 2, 0).numpy(),
            (red > red.mean()).numpy()[None],
            part[i]["mask"].bool().numpy(),
            part[i]["valid"][0].numpy(),
        )
        assert np.array_equal(picture, expected)
    assert module.model.training


def test_one_process_shows_pictures_and_no_more_than_there_are(trainer, module):
    ValidationImages(images=100).on_validation_end(trainer, module)
    (pictures,) = trainer.loggers[0].images.values()
    assert len(pictures) == len(trainer.datamodule.ids["val"])
    trainer.loggers[0].images.clear()
    trainer.is_global_zero = False
    ValidationImages().on_validation_end(trainer, module)
    assert not trainer.loggers[0].images
