"""One run: from its config to its folder."""

import json
import logging
import pickle
import platform
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from hydra.utils import instantiate
from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import nn
from tqdm.contrib.logging import logging_redirect_tqdm

from polyp.errors import UserError
from polyp.evaluation import check_angles, evaluate
from polyp.files import atomic_path
from polyp.models import multiply_adds
from polyp.training import (
    Checkpoints,
    EquivarianceMonitor,
    RunProgress,
    Segmentation,
    ValidationImages,
)

log = logging.getLogger(__name__)


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
    """
    resume = _resumed_checkpoint(config, folder)
    angles = _angles(config, "angles")
    _seed(config.seed)
    model: nn.Module = instantiate(config.model)
    data: LightningDataModule = instantiate(config.data)
    try:
        model.check_size(data.image_size, data.image_size)
    except ValueError as error:
        raise UserError(f"data.image_size={data.image_size}: {error}") from error
    data.setup()
    data.write_split(folder / "split.json")
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    log.info(
        "%s, %s parameters; %s: %s",
        choices["model"],
        f"{parameters:,}",
        choices["data"],
        ", ".join(f"{len(ids)} {part}" for part, ids in data.ids.items()),
    )

    provenance = _provenance()
    checkpoints = Checkpoints(folder / "checkpoints", resume)
    logger = TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)
    trainer: Trainer = instantiate(
        config.trainer,
        default_root_dir=str(folder),
        logger=logger,
        callbacks=[RunProgress(), ValidationImages(), *_optional_callbacks(config), checkpoints],
    )
    module = Segmentation(
        model,
        loss=instantiate(config.loss),
        optimizer=instantiate(config.optimizer),
        schedule=instantiate(config.schedule),
    )
    if resume is not None:
        _check_resumable(module, resume)
    started = time.monotonic()
    try:
        with logging_redirect_tqdm():
            trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        raise UserError(
            f"interrupted; resume={checkpoints.last} hydra.run.dir={folder} goes on from the last "
            "whole epoch, if there was one"
        ) from error
    provenance["training_seconds"] = round(time.monotonic() - started, 1)
    if not trainer.is_global_zero:
        return checkpoints.best_score

    best = torch.load(checkpoints.best, map_location="cpu", weights_only=True)
    module.load_state_dict(best["state_dict"])
    started = time.monotonic()
    results = evaluate(
        model.to(trainer.strategy.root_device),
        data.test_dataloader(),
        angles,
        trainer.strategy.root_device,
        folder,
        title=f"{choices['model']} on {choices['data']}",
    )
    provenance["evaluation_seconds"] = round(time.monotonic() - started, 1)
    metrics = {
        **{name: choices[name] for name in ("model", "data", "augmentation")},
        "split": "file" if config.data.split_file else config.data.split,
        "seed": config.seed,
        "parameters": parameters,
        "multiply_adds": multiply_adds(model, data.image_size),
        "image_size": data.image_size,
        "epochs": trainer.current_epoch,
        "best_epoch": checkpoints.best_epoch,
        "val": {"dice": checkpoints.best_score},
        **results,
    }
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "provenance.json", provenance)
    _to_tensorboard(logger, config, metrics, folder)
    _log_summary(metrics)
    log.info("run written to %s", folder)
    return checkpoints.best_score


def _log_summary(metrics: dict[str, Any]) -> None:
    test, equivariance = metrics["test"], metrics["equivariance"]
    log.info(
        "%s: %s parameters, %.2f G multiply-adds an image of %d pixels",
        metrics["model"],
        f"{metrics['parameters']:,}",
        metrics["multiply_adds"] / 1e9,
        metrics["image_size"],
    )
    log.info(
        "test Dice %.4f (95%% interval %.4f to %.4f, median %.4f), IoU %.4f on %d images",
        test["dice"]["mean"],
        *test["dice"]["ci95"],
        test["dice"]["median"],
        test["iou"]["mean"],
        test["images"],
    )
    log.info(
        "equivariance %.4f on average, %.4f at the worst angle (ceiling %.4f); split %s",
        equivariance["mean"],
        equivariance["min"],
        equivariance["ceiling"],
        metrics["split"],
    )


def write_json(path: Path, value: dict) -> None:
    """Writes a JSON file, indented."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _resumed_checkpoint(config: DictConfig, folder: Path) -> Path | None:
    if config.resume is not None:
        resume = Path(config.resume)
        if not resume.is_file():
            raise UserError(
                f"resume={resume}: no such file; it names a checkpoint, as "
                "outputs/…/checkpoints/last.ckpt"
            )
        return resume
    earlier = folder / "checkpoints" / "last.ckpt"
    if earlier.exists():
        raise UserError(
            f"hydra.run.dir={folder} already holds a run: resume={earlier} continues it, another "
            "hydra.run.dir starts a new one"
        )
    return None


def _check_resumable(module: Segmentation, resume: Path) -> None:
    """Before training, for a message of one line: Lightning would fail with the same faults."""
    try:
        checkpoint = torch.load(resume, map_location="cpu", weights_only=True)
        module.load_state_dict(checkpoint["state_dict"])
    except (pickle.UnpicklingError, OSError, EOFError, KeyError) as error:
        raise UserError(f"resume={resume}: not a checkpoint of a run, or damaged") from error
    except RuntimeError as error:  # what both torch.load and load_state_dict raise
        reason = str(error).splitlines()[-1].strip()
        raise UserError(
            f"resume={resume}: damaged, or of a run with another model= ({reason})"
        ) from error


def _seed(seed: int) -> None:
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UserError(f"seed={seed}: must be a whole number from 0 to {2**32 - 1}")
    lightning.seed_everything(seed, verbose=False)


def _angles(config: DictConfig, key: str) -> list[float]:
    try:
        return check_angles(config.evaluation[key])
    except (TypeError, ValueError) as error:
        raise UserError(f"evaluation.{key}={config.evaluation[key]}: {error}") from error


def _optional_callbacks(config: DictConfig) -> list[lightning.Callback]:
    callbacks: list[lightning.Callback] = []
    if config.evaluation.every_n_epochs:
        angles = _angles(config, "drift_angles")
        callbacks.append(EquivarianceMonitor(config.evaluation.every_n_epochs, angles))
    if config.early_stopping_patience is not None:
        patience = config.early_stopping_patience
        callbacks.append(EarlyStopping(Checkpoints.monitor, mode="max", patience=patience))
    return callbacks


def _provenance() -> dict[str, Any]:
    """What, beside the config, a reader needs to believe the numbers or to make them again."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,  # an installed package has no repository
    )
    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": commit.stdout.strip() or None,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


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
