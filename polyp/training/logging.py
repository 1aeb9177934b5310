"""Loggers, chosen by `logger=tensorboard`, `logger=[tensorboard,csv]` and so on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import get_class, instantiate
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from polyp.errors import UserError


def make_loggers(configs: Mapping[str, Any] | None, folder: Path, step: int | None) -> list[Logger]:
    """The loggers of a run.

    Args:
        configs: a partial config per logger, by name; it is called with `save_dir`.
        folder: the run's folder.
        step: the one that a resumed run continues from; TensorBoard's values of later
            steps are hidden. None if no run is resumed.

    Raises:
        UserError: the package of a logger is missing, or its options are wrong.
    """
    loggers = []
    for name, config in (configs or {}).items():
        options: dict[str, Any] = {"save_dir": str(folder)}
        try:
            if issubclass(get_class(config["_target_"]), TensorBoardLogger):
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
