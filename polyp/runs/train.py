"""One run: from its config to its folder."""

import atexit
import logging
import signal
import time
from pathlib import Path

import lightning
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import nn
from tqdm.contrib.logging import logging_redirect_tqdm

from polyp.errors import UserError
from polyp.files import write_json
from polyp.runs.measure import log_summary, measure, provenance, split_name, sweep_angles
from polyp.runs.record import write_record
from polyp.runs.saved import load_checkpoint
from polyp.runs.signals import says_how_to_go_on
from polyp.training import (
    Checkpoints,
    EarlyStopping,
    EquivarianceMonitor,
    RunProgress,
    Segmentation,
    ValidationImages,
)

log = logging.getLogger(__name__)


@says_how_to_go_on
def run(config: DictConfig, folder: Path, choices: dict[str, str]) -> float:
    """Trains, evaluates the best checkpoint on the test set, and writes the run.

    Args:
        config: the composed config.
        folder: the run's folder; outputs/README.md says what it then holds.
        choices: names of the chosen configs, such as {"model": "p4unet", "data": "kvasir"}.

    Returns:
        The best validation Dice, for a sweep to maximise.

    Raises:
        UserError: for everything that a user can mend.
        Stopped: SIGTERM or Ctrl-C came.
    """
    resume = _resumed_checkpoint(config, folder)
    angles = sweep_angles(config, "angles")
    _seed(config.seed)
    model: nn.Module = instantiate(config.model)
    data: LightningDataModule = instantiate(config.data)
    try:
        model.check_size(data.image_size, data.image_size)
    except ValueError as error:
        raise UserError(f"data.image_size={data.image_size}: {error}") from error
    data.setup()
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    log.info(
        "%s, %s parameters; %s: %s",
        choices["model"],
        f"{parameters:,}",
        choices["data"],
        ", ".join(f"{len(ids)} {part}" for part, ids in data.ids.items()),
    )

    record = provenance()
    checkpoints = Checkpoints(folder / "checkpoints", resume)
    logger = TensorBoardLogger(
        folder,
        name="",
        version="tensorboard",
        default_hp_metric=False,
        # What the steps that are repeated had written is not shown beside their repetition.
        purge_step=None if resume is None else _steps_done(model, resume),
    )

    def take_folder(trainer: Trainer, module: LightningModule) -> None:
        """From here on it is this run's. Not before a resumed checkpoint has been accepted."""
        if trainer.is_global_zero:
            (folder / "metrics.json").unlink(missing_ok=True)  # of fewer epochs, if it is resumed
            write_record(config, folder)
            data.write_split(folder / "split.json")

    trainer: Trainer = instantiate(
        config.trainer,
        default_root_dir=str(folder),
        logger=logger,
        callbacks=[
            LambdaCallback(on_train_start=take_folder),
            RunProgress(),
            ValidationImages(),
            *_optional_callbacks(config),
            checkpoints,
        ],
    )
    _check_sweep(trainer)
    if trainer.strategy.launcher is not None:
        # The processes that it starts wait for this one for ever, when this one has failed.
        atexit.register(trainer.strategy.launcher.kill, signal.SIGKILL)
    module = Segmentation(
        model,
        loss=instantiate(config.loss),
        optimizer=instantiate(config.optimizer),
        schedule=instantiate(config.schedule),
    )
    with logging_redirect_tqdm():
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    take_folder(trainer, module)  # if no epoch was left to be trained
    record["training_seconds"] = round(checkpoints.seconds, 1)
    if not trainer.is_global_zero:
        return checkpoints.best_score

    load_checkpoint(model, checkpoints.best)
    started = time.monotonic()
    metrics = measure(
        model,
        data,
        angles,
        trainer.strategy.root_device,
        folder,
        title=f"{choices['model']} on {choices['data']}",
        facts={
            **{name: choices[name] for name in ("model", "data", "augmentation")},
            "split": split_name(config),
            "seed": config.seed,
        },
        training={
            "epochs": trainer.fit_loop.epoch_progress.current.processed,
            "best_epoch": checkpoints.best_epoch,
            "val": {"dice": checkpoints.best_score},
        },
    )
    record["evaluation_seconds"] = round(time.monotonic() - started, 1)
    _to_tensorboard(logger, config, metrics, folder)
    write_json(folder / "provenance.json", record)
    write_json(folder / "metrics.json", metrics)  # last: where it is, the run is finished
    log_summary(metrics)
    log.info("run written to %s", folder)
    return checkpoints.best_score


def _resumed_checkpoint(config: DictConfig, folder: Path) -> Path | None:
    if config.resume is not None:
        resume = Path(config.resume)
        if not resume.is_file():
            raise UserError(
                f"resume={resume}: no such file; it names a checkpoint, as "
                "outputs/…/checkpoints/last.ckpt"
            )
        return resume
    last = folder / "checkpoints" / "last.ckpt"
    if last.exists():
        raise UserError(
            f"hydra.run.dir={folder} already holds a run: resume={last} continues it, another "
            "hydra.run.dir starts a new one"
        )
    if (folder / "metrics.json").exists():
        raise UserError(f"hydra.run.dir={folder} already holds a run: name another hydra.run.dir")
    return None


def _check_sweep(trainer: Trainer) -> None:
    in_sweep = HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN
    if in_sweep and trainer.world_size > 1 and not SLURMEnvironment.detect():
        # Each process would make the sweep by itself, and a sampler propose other values in each.
        raise UserError(
            f"a sweep (-m) trains each run in one process, and here are {trainer.world_size}: "
            "trainer=auto, or these runs one by one"
        )


def _steps_done(model: nn.Module, resume: Path) -> int:
    """Of training, up to the checkpoint; or why it cannot be resumed.

    Before training, for a message of one line: Lightning would fail with the same faults.
    """
    try:
        load_checkpoint(model, resume)
    except UserError as error:
        raise UserError(f"resume={error}") from error
    return torch.load(resume, map_location="cpu", weights_only=True).get("global_step", 0)


def _seed(seed: int) -> None:
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UserError(f"seed={seed}: must be a whole number from 0 to {2**32 - 1}")
    lightning.seed_everything(seed, verbose=False)


def _optional_callbacks(config: DictConfig) -> list[lightning.Callback]:
    callbacks: list[lightning.Callback] = []
    if config.evaluation.every_n_epochs:
        angles = sweep_angles(config, "drift_angles")
        callbacks.append(EquivarianceMonitor(config.evaluation.every_n_epochs, angles))
    if config.early_stopping_patience is not None:
        callbacks.append(EarlyStopping(Checkpoints.monitor, config.early_stopping_patience))
    return callbacks


def _to_tensorboard(
    logger: TensorBoardLogger, config: DictConfig, metrics: dict, folder: Path
) -> None:
    """The final metrics beside the hyperparameters, the equivariance curve and the figures."""
    hyperparameters = {
        **{name: metrics[name] for name in ("model", "data", "augmentation", "split", "seed")},
        "parameters": metrics["parameters"],
        "image_size": metrics["image_size"],
        "batch_size": config.data.batch_size,
        "epochs": metrics["epochs"],
        "optimizer": OmegaConf.to_container(config.optimizer, resolve=True),
        "schedule": OmegaConf.to_container(config.schedule, resolve=True),
        "layers": OmegaConf.to_container(config.model, resolve=True),
    }
    finals = {
        "test/dice": metrics["test"]["dice"]["mean"],
        "test/iou": metrics["test"]["iou"]["mean"],
        "equivariance/mean": metrics["equivariance"]["mean"],
        "equivariance/min": metrics["equivariance"]["min"],
    }
    logger.log_hyperparams(hyperparameters, finals)
    curve = metrics["equivariance"]["curve"]
    for angle, dice in zip(curve["angles"], curve["dice"], strict=True):
        logger.experiment.add_scalar("equivariance/dice_by_angle", dice, round(angle))
    for name in ("equivariance", "predictions"):
        with Image.open(folder / f"{name}.png") as figure:
            picture = np.asarray(figure.convert("RGB"))
        logger.experiment.add_image(f"test/{name}", picture, metrics["epochs"], dataformats="HWC")
    logger.finalize("success")
