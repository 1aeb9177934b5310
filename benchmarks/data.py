"""Measures the time of preparing a dataset, and of waiting for data in training."""

import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from hydra.utils import instantiate
from lightning.pytorch.profilers import SimpleProfiler
from omegaconf import DictConfig

from benchmarks.result import Result, Skipped
from polyp.data import DataModule, KvasirSEG, Synthetic
from polyp.data.prepared import prepare
from polyp.errors import UserError
from polyp.tasks import Binary
from polyp.training import BCEDiceLoss, Segmentation, constant, make_trainer

WAIT_TARGET = 2.0
FIRST_TARGET, NEXT_TARGET = 30.0, 1.0
EPOCHS = 3


def measure(config: DictConfig) -> list[Result | Skipped]:
    """Waiting for data in training, and the preparation of Kvasir-SEG, if the dataset is there."""
    return [_waiting(config), *_preparation(config)]


def _waiting(config: DictConfig) -> Result:
    """The part of training, after its first epoch, in which the trainer asks for the next batch."""
    options = config.data
    with tempfile.TemporaryDirectory() as folder:
        dataset = Synthetic(options.images, options.image_size)
        data = DataModule(dataset, options.image_size, batch_size=8, cache=folder)
        module = Segmentation(
            instantiate(config.models[options.model]),
            Binary(),
            BCEDiceLoss(),
            partial(torch.optim.AdamW, lr=1e-3),
            constant,
        )
        profiler = _Silent()
        trainer = make_trainer(
            accelerator="cpu" if config.device == "cpu" else "gpu",
            devices=1,
            max_epochs=EPOCHS,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            profiler=profiler,
        )
        trainer.fit(module, data)
    taken = profiler.recorded_durations
    waits = taken["[_TrainingEpochLoop].train_dataloader_next"]
    waited = sum(waits[len(waits) // EPOCHS :])
    total = sum(taken["run_training_epoch"][1:])
    return Result(
        "data",
        f"{options.model}: waiting for data after the first epoch, {options.image_size} px",
        100 * waited / total,
        "%",
        WAIT_TARGET,
        detail=f"{waited:.3f} s of {total:.1f} s",
    )


class _Silent(SimpleProfiler):
    """Measures times."""

    def describe(self) -> None:
        pass


def _preparation(config: DictConfig) -> list[Result | Skipped]:
    """Reading Kvasir-SEG at 256 px, and again from the cache."""
    dataset = KvasirSEG(config.data.kvasir)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for _ in range(2):
                started = time.perf_counter()
                prepared = prepare(dataset, 256, "pad", Path(folder))
                seconds.append(time.perf_counter() - started)
        except UserError as error:
            return [Skipped("data", "preparation of Kvasir-SEG", str(error))]
        images = f"{len(prepared.samples)} images to 256 px"
        return [
            Result("data", f"preparing Kvasir-SEG {time_}", value, "s", target, detail=images)
            for time_, value, target in zip(
                ("the first time", "from the cache"),
                seconds,
                (FIRST_TARGET, NEXT_TARGET),
                strict=True,
            )
        ]
