"""Loggers, chosen by `logger=tensorboard`, `logger=[tensorboard,csv]` and so on."""

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import get_class, instantiate
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import loggers as lightning
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from polyp.errors import UserError


class CSVLogger(lightning.CSVLogger):
    """Lightning's logger, which would delete the values from before a run was resumed.

    Args:
        save_dir, name, version: as of Lightning's.
        purge_step: the step that a resumed run continues from; the values of later steps are
            deleted. None if no run is resumed.
    """

    def __init__(self, save_dir: str, name: str, version: str, purge_step: int | None = None):
        super().__init__(save_dir, name, version)
        self.purge_step = purge_step

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is not None:
            return self._experiment
        earlier = self._earlier()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*Previous log files in this directory will be del")
            writer = super().experiment
        writer.metrics += earlier
        writer.save()
        return writer

    def _earlier(self) -> list[dict[str, Any]]:
        """The rows of earlier steps. Values that were measured after training have no epoch."""
        file = Path(self.log_dir) / "metrics.csv"
        if self.purge_step is None or not file.is_file():
            return []
        with file.open(newline="", encoding="utf-8") as lines:
            rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(lines)]
        return [row for row in rows if "epoch" in row and int(row["step"]) < self.purge_step]


def make_loggers(configs: Mapping[str, Any] | None, folder: Path, step: int | None) -> list[Logger]:
    """The loggers of a run.

    Args:
        configs: a partial config per logger, by name; it is called with `save_dir`.
        folder: the run's folder.
        step: the one that a resumed run continues from; the values of later steps are hidden by
            TensorBoard, and deleted from CSV files. None if no run is resumed.

    Raises:
        UserError: the package of a logger is missing, or its options are wrong.
    """
    loggers = []
    for name, config in (configs or {}).items():
        options: dict[str, Any] = {"save_dir": str(folder)}
        try:
            if issubclass(get_class(config["_target_"]), TensorBoardLogger | CSVLogger):
                options["purge_step"] = step
            loggers.append(instantiate(config)(**options))
        except ModuleNotFoundError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"logger={name}: {reason}; its package is an optional extra") from error
        except Exception as error:  # whatever a logger's own checks raise
            raise UserError(f"logger={name}: {' '.join(str(error).split())}") from error
    return loggers


def log_image(loggers: Sequence[Logger], name: str, pictures: np.ndarray, step: int) -> None:
    """Logs images, float [N, H, W, 3] in [0, 1], to loggers that can show them."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_images(name, pictures, step, dataformats="NHWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, list(pictures), step)
        elif isinstance(logger, MLFlowLogger):
            for index, picture in enumerate(pictures):
                file = f"{name.replace('/', '-')}-{step}-{index}.png"
                logger.experiment.log_image(logger.run_id, picture, file)
