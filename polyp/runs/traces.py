"""A run that is refused leaves no traces: no log, and not the folder that Hydra makes for it.

configs/hydra/callbacks/folder.yaml refers to the callback, and configs/hydra/job_logging/run.yaml
to the log.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig


class HeldFileHandler(logging.FileHandler):
    """Keeps what is said until `release_logs`: a run that is refused leaves no file."""

    def __init__(self, filename: str):
        super().__init__(filename, delay=True)
        self.held: list[logging.LogRecord] | None = []

    def emit(self, record: logging.LogRecord) -> None:
        if self.held is None:
            super().emit(record)
        else:
            self.held.append(record)

    def write_held(self) -> None:
        """Writes what was held, and from now on everything at once."""
        held, self.held = self.held or [], None
        for record in held:
            super().emit(record)


def release_logs() -> None:
    """Has all files of logs written that are held back."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, HeldFileHandler):
            handler.write_held()


class FolderCallback(Callback):
    """Hydra calls it before it makes any folder: notes which are there."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        HydraConfig.instance().set_config(config)  # for ${hydra:…}; Hydra does it next
        self._note(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._note(Path(config.hydra.sweep.dir))

    def _note(self, folder: Path) -> None:
        folder = folder.absolute()
        while not folder.exists():
            folder = folder.parent
        _there.append(folder)


_there: list[Path] = []  # the last is the deepest folder that was there before this command


@contextmanager
def no_empty_folder(folder: Path) -> Iterator[None]:
    """Removes, after the block, a folder that Hydra has made and nothing was written to."""
    try:
        yield
    finally:
        # A job of a sweep may run in a process of its own, which knows its own folder alone.
        job = HydraConfig.get().mode is RunMode.MULTIRUN
        before = _there[-1] if _there else folder.parent if job else folder
        while folder != before and before in folder.parents and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
