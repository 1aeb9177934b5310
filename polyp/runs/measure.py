"""The final measurement of a run: made at the end of training, and again by scripts/evaluate.py."""

import logging
import platform
import shlex
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from omegaconf import DictConfig
from torch import nn

import polyp
from polyp.cli import told
from polyp.errors import UserError
from polyp.evaluation import check_angles, evaluate
from polyp.models import collapse, multiply_adds

log = logging.getLogger(__name__)


def measure(
    model: nn.Module,
    data: LightningDataModule,
    angles: list[float],
    device: torch.device,
    folder: Path,
    title: str,
    facts: dict[str, Any],
    training: dict[str, Any],
) -> dict[str, Any]:
    """Measures a model on the test set; writes tables and figures into `folder`.

    Args:
        model: with the weights to measure; it is left as it is.
        data: after its `setup`.
        angles: of the rotation sweep, in degrees.
        device: where the model runs, in float32.
        folder: gets what `polyp.evaluation.evaluate` writes.
        title: of the figures.
        facts: what was run: model, data, augmentation, split, seed.
        training: how it went: epochs, best_epoch, val.

    Returns:
        What metrics.json holds, see outputs/README.md.
    """
    # Collapsed, or each of the sweep's thousands of forward passes would do what one can.
    results = evaluate(
        collapse(model).to(device), data.test_dataloader(), angles, device, folder, title=title
    )
    return {
        **facts,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "multiply_adds": multiply_adds(model, data.image_size),
        "image_size": data.image_size,
        **training,
        **results,
    }


def log_summary(metrics: dict[str, Any]) -> None:
    """Says the main numbers of metrics.json."""
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


def sweep_angles(config: DictConfig, key: str) -> list[float]:
    """The angles in evaluation.KEY, in degrees."""
    try:
        return check_angles(config.evaluation[key])
    except (TypeError, ValueError) as error:
        raise UserError(f"evaluation.{key}={config.evaluation[key]}: {error}") from error


def split_name(config: DictConfig) -> str:
    """How the data was divided, as metrics.json says it."""
    return "file" if config.data.split_file else config.data.split


def provenance() -> dict[str, Any]:
    """What, beside the config, a reader needs to believe the numbers or to make them again."""
    return {
        "command": shlex.join(told()),
        "version": polyp.__version__,
        "commit": _commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _commit() -> str | None:
    """Of this checkout; None for an installed package, which may lie in another repository."""
    checkout = Path(polyp.__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or None
