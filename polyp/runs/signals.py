"""How a run ends when it is stopped from outside, and the hint that it prints: how to resume it."""

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
from polyp.runs.processes import first_process

# What stops a run: a scheduler that takes the machine back, and Ctrl-C.
SIGNALS = {signal.SIGTERM: "Terminated", signal.SIGINT: "Interrupted"}


class Stopped(SystemExit):
    """Ends the process with status 128 + signal, as a shell says of one that a signal has killed.

    As it is no Exception, it ends a whole sweep and not only one job of it.
    """

    def __init__(self, signum: int):
        super().__init__(128 + signum)
        self.signum = signum


def on_signals(handler: Any) -> None:
    """Sets the handler of the signals that stop a run, but of those that the process ignores.

    A thread other than the main one can set none: there nothing is changed.
    """
    if threading.current_thread() is threading.main_thread():
        for signum in SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, handler)


@contextmanager
def signals_raise() -> Iterator[None]:
    """Within the block, a signal that stops a run raises `Stopped` wherever the program is."""

    def end(signum: int, frame: Any) -> None:
        on_signals(signal.SIG_IGN)  # a second one must not disturb what the first one unwinds
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
    """Decorates `polyp.runs.train.run`; when stopped or on a full disk it logs how to resume.

    Raises:
        Stopped: SIGTERM or Ctrl-C came. In training, `polyp.training.Checkpoints` ends the run at
            the next step; before and after it, it ends at once.
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
                # One status is enough. A launcher that meets another in any process kills the
                # rest, and with it, perhaps, the first before it has said its line.
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
    """Within the block, a thread that a full disk ends prints no traceback.

    TensorBoard's thread is meant: its error is raised again where the next value is logged.
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
    """Makes a log that cannot be written an error, and not a traceback in place of each line."""

    def fail(handler: logging.FileHandler, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            error.filename = handler.baseFilename
        raise error

    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = functools.partial(fail, handler)


def resume_hint(folder: Path) -> str:
    """What to add to the command of a run that has ended early."""
    last = folder / "checkpoints" / "last.ckpt"
    if not last.exists():
        return "Nothing was saved yet. To start again, repeat the command."
    overrides = f"{_override('resume', last)} {_override('hydra.run.dir', folder)}"
    return f"To continue, repeat the command with: {overrides}"


def _override(key: str, path: Path) -> str:
    """KEY=PATH, in the quotes of Hydra and of the shell where it needs them."""
    plain = re.fullmatch(r"[\w./~-]+", str(path))
    return f"{key}={path}" if plain else f"'{key}=\"{path}\"'"
