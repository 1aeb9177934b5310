"""Makes sure that a run with an error in its config leaves no files: no log, no empty folder.

configs/hydra/callbacks/folder.yaml uses the callback, configs/hydra/job_logging/run.yaml the log.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from polyp.runs.processes import in_sweep


class HeldFileHandler(logging.FileHandler):
    """Keeps messages in memory until `release_logs`, so that a failed start leaves no file."""

    def __init__(self, filename: str):
        super().__init__(filename, delay=True)
        self.held: list[logging.LogRecord] | None = []

    def emit(self, record: logging.LogRecord) -> None:
        if self.held is None:
            super().emit(record)
        else:
            self.held.append(record)

    def write_held(self) -> None:
        """Writes the kept messages, and from now on each message at once."""
        held, self.held = self.held or [], None
        for record in held:
            super().emit(record)


def release_logs() -> None:
    """Writes the kept messages of all logs."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, HeldFileHandler):
            handler.write_held()


class FolderCallback(Callback):
    """Called by Hydra before it creates any folder: stores which folders exist."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        HydraConfig.instance().set_config(config)  # for ${hydra:…}; Hydra does it next
        self._note(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._note(Path(config.hydra.sweep.dir))

    def _note(self, folder: Path) -> None:
        folder = folder.absolute()
        while not folder.exists():
            folder = folder.parent
        _existing.append(folder)


_existing: list[Path] = []  # the last is the deepest folder that existed before this command


@contextmanager
def no_empty_folder(folder: Path) -> Iterator[None]:
    """After the block, removes the folder that Hydra has created if it is empty."""
    try:
        yield
    finally:
        # A job of a sweep may run in its own process, which knows only its own folder.
        before = _existing[-1] if _existing else folder.parent if in_sweep() else folder
        while folder != before and before in folder.parents and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
