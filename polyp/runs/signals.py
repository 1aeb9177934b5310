"""Signals that stop a run, and the hint on how to resume it."""

import functools
import logging
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from polyp.errors import UserError
from polyp.files import disk_full
from polyp.runs.processes import first_process, in_sweep

# Signals that stop a run: preemption by a scheduler, and Ctrl-C.
SIGNALS = {signal.SIGTERM: "Terminated", signal.SIGINT: "Interrupted"}


class Stopped(SystemExit):
    """Ends the process with status 128 + signal, as usual in shells.

    It is not an Exception, so it stops the whole sweep, not only one job.
    """

    def __init__(self, signum: int):
        super().__init__(128 + signum)
        self.signum = signum


def on_signals(handler: Any) -> None:
    """Sets the handler of the signals that stop a run, except signals that the process ignores.

    Only the main thread can set handlers; in other threads this does nothing.
    """
    if threading.current_thread() is threading.main_thread():
        for signum in SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, handler)


@contextmanager
def signals_raise() -> Iterator[None]:
    """Within the block, a signal that stops a run raises `Stopped` at once."""

    def end(signum: int, frame: Any) -> None:
        on_signals(signal.SIG_IGN)  # a second signal must not interrupt the clean-up
        raise Stopped(signum)

    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    on_signals(end)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for signum, handler in before.items():
                signal.signal(signum, handler)


def prints_resume_hint(run: Callable[..., float]) -> Callable[..., float]:
    """Decorates `polyp.runs.train.run`; when stopped or on a full disk it prints how to resume.

    Raises:
        Stopped: on SIGTERM or Ctrl-C. During training, `polyp.training.Checkpoints` stops the run
            after the current step; before and after training it stops at once.
        UserError: the disk is full.
    """

    @functools.wraps(run)
    def wrapped(config: DictConfig, folder: Path, choices: dict[str, str]) -> float:
        _raise_log_errors()
        try:
            with signals_raise(), _threads_quiet_on_full_disk():
                return run(config, folder, choices)
        except Stopped as stop:
            if not first_process():
                # Only the first process reports the status. On a status other than 0 a launcher
                # kills the other processes, maybe the first one before it has printed the hint.
                sys.exit(0)
            print(f"{SIGNALS[stop.signum]}. {resume_hint(folder)}", file=sys.stderr)
            raise
        except Exception as error:
            full = disk_full(error)
            if full is None:
                raise
            raise UserError(
                f"{full.filename or folder}: {full.strerror}. Free some space. "
                f"{resume_hint(folder)}"
            ) from error

    return wrapped


@contextmanager
def _threads_quiet_on_full_disk() -> Iterator[None]:
    """Within the block, a thread that fails because the disk is full prints no traceback.

    This is for TensorBoard's thread, whose error is raised again when the next value is logged.
    """
    before = threading.excepthook

    def hook(arguments: Any) -> None:
        if disk_full(arguments.exc_value) is None:
            before(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _raise_log_errors() -> None:
    """Raises an error if the log cannot be written, instead of printing a traceback per line."""

    def fail(handler: logging.FileHandler, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            error.filename = handler.baseFilename
        raise error

    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = functools.partial(fail, handler)


def resume_hint(folder: Path) -> str:
    """The hint on how to resume a run that was stopped."""
    last = folder / "checkpoints" / "last.ckpt"
    if not last.exists():
        return "Nothing was saved yet. To start again, repeat the command."
    if in_sweep():  # finished jobs are skipped, the others are resumed
        return "To continue, repeat the command."
    overrides = f"{_override('resume', last)} {_override('hydra.run.dir', folder)}"
    return f"To continue, repeat the command with: {overrides}"


def _override(key: str, path: Path) -> str:
    """KEY=PATH, quoted for Hydra and the shell if needed."""
    plain = re.fullmatch(r"[\w./~-]+", str(path))
    return f"{key}={path}" if plain else f"'{key}=\"{path}\"'"
