"""Sweeps that can be resumed: the same command finds the same folders again.

Finished jobs are skipped, interrupted ones are resumed, and a failed job does not stop the others.
configs/train.yaml refers to the resolver and the callback here.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, ListConfig, OmegaConf

from polyp import schema
from polyp.cli import FULL_ERROR, key_of, one_line, user_message
from polyp.errors import UserError
from polyp.runs.folder import RunFolder
from polyp.runs.identity import WHERE_AND_HOW
from polyp.runs.traces import release_logs

log = logging.getLogger(__name__)

# Options that say where and how a job runs. The others come with trainer=.
NOT_IN_NAMES = {"resume", "sweep", "name", "data.root", "data.cache", "data.num_workers"}
LONGEST_NAME = 230  # bytes; file systems allow 255, and some suffixes are added
SHOWN_DIFFERENCES = 3

# Locks, and the reasons of failed jobs. Outside the jobs' folders, because the folder of a run of
# another config must not be changed.
NOTES = ".jobs"
FAILED = ".failed"


# --- a job's folder


def job_name(overrides: Sequence[str], data: str) -> str:
    """The name of a job's folder: its overrides, without options that say where and how it runs.

    Args:
        overrides: such as ["model=unet", "seed=0"], in any order.
        data: the chosen dataset.
    """
    left_out = _where_and_how(NOT_IN_NAMES, data)
    named = sorted(line for line in overrides if key_of(line) not in left_out)
    whole = ",".join(named) or "defaults"
    name = whole.replace("/", "-").encode()[:LONGEST_NAME].decode(errors="ignore")
    if name != whole:  # other names may be shortened to the same text
        name += f"~{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return name


def _where_and_how(keys: Set[str], data: str) -> Set[str]:
    """data.root only says where a dataset is, but with data=folder it is the dataset itself."""
    return keys - {"data.root"} if data == "folder" else keys


def _resolve_job_name(overrides: ListConfig, data: str) -> str:
    return job_name(list(overrides), data)


OmegaConf.register_new_resolver("job_name", _resolve_job_name, replace=True)


# --- a job


def run_job(config: DictConfig, folder: Path, choices: dict[str, str]) -> float | None:
    """One job of a sweep: skipped if it is finished, otherwise resumed or started.

    The arguments are those of polyp.runs.train.run.

    Returns:
        The best validation Dice; None if the job failed. The reason is then stored for
        `sweep_report`, and the sweep continues.

    Raises:
        Stopped: on SIGTERM or Ctrl-C, which stop the sweep.
    """
    sweep = Path(HydraConfig.get().sweep.dir).resolve()
    note = sweep / NOTES / Path(os.path.relpath(folder, sweep)).as_posix().replace("/", "-")
    failure = note.with_name(f"{note.name}{FAILED}")
    try:
        with _locked(note.with_name(f"{note.name}.lock")):
            score = _skip_or_run(config, folder, choices)
    except Exception as error:
        failure.write_text(f"{folder}: {_reason(error)}", encoding="utf-8")
        if os.environ.get(FULL_ERROR, "0") != "0":
            traceback.print_exception(error)
        return None
    failure.unlink(missing_ok=True)
    return score


def _skip_or_run(config: DictConfig, folder: Path, choices: dict[str, str]) -> float:
    schema.check("train", config, "see configs/train.yaml")
    found = RunFolder(folder)
    if found.begun:
        _check_same_config(config, found, choices["data"])
    if found.finished and (folder / "provenance.json").exists():
        score = _objective(found)
        print(f"{folder}: already finished, best validation Dice {score:.4f}")
        return score
    if found.last.exists():
        config.resume = str(found.last)
    else:  # not started, or stopped before its first checkpoint: its curves are removed
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)

    from polyp.runs.train import (
        run,
    )  # imports torch, which takes seconds and is not needed to skip a job

    try:
        return run(config, folder, choices)
    except Exception as error:
        if str(error).startswith(f"resume={found.last}"):
            error = UserError(f"{_reason(error)}; delete the folder to start the job again")
        own = user_message(error) is None  # a bug in the program: keep its traceback
        if own:
            release_logs()
        log.error("%s", _reason(error), exc_info=error if own else None)
        raise error


def _check_same_config(config: DictConfig, folder: RunFolder, data: str) -> None:
    ignored = _where_and_how(WHERE_AND_HOW, data)
    found = folder.differences(config, ignored.__contains__)
    if found:
        shown = [
            f"{key} is {json.dumps(there)} there and {json.dumps(here)} here"
            for key, (there, here) in list(found.items())[:SHOWN_DIFFERENCES]
        ]
        if len(found) > SHOWN_DIFFERENCES:
            shown.append(f"{len(found) - SHOWN_DIFFERENCES} more")
        raise UserError(
            f"has a run of another config ({', '.join(shown)}): choose another hydra.sweep.dir= "
            "to keep both, or delete the folder to start the job again"
        )


def _objective(folder: RunFolder) -> float:
    try:
        return float(folder.json("metrics.json")["val"]["dice"])
    except (ValueError, KeyError, TypeError) as error:
        path = folder.path / "metrics.json"
        raise UserError(f"{path}: damaged; delete the folder to start the job again") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Locks the folder, so that the same job of another or a queued sweep does not use it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError("another process is running this job; wait for it to finish") from error
    try:
        yield
    finally:
        lock.release()


def _reason(error: Exception) -> str:
    return user_message(error) or one_line(f"{type(error).__name__}: {error}")


# --- the whole command


class SweepCallback(Callback):
    """Called by Hydra in the process that the user started, before the first job."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        notes = Path(config.hydra.sweep.dir) / NOTES
        try:
            notes.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            return  # not a valid folder: Hydra raises an error next
        started = notes / ".started"
        started.touch()
        _started[notes] = (
            started.stat().st_mtime_ns
        )  # by the clock of the file system, which also dates the notes


_started: dict[Path, int] = {}  # the start of this command's sweep, by the folder of its notes


@contextmanager
def sweep_report() -> Iterator[None]:
    """Around a command: if jobs of a sweep failed, prints the reasons and exits with status 1.

    The jobs may have run in other processes or on other machines, so their notes are read.
    """
    _started.clear()
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if _started:
            _print_failures()
            _print("The sweep was stopped. To continue, repeat the command.")
        raise
    except Exception as error:
        if not _print_failures():
            raise
        _print(f"error: {_reason(error)}")  # such as Optuna's error that no trial succeeded
        raise SystemExit(1) from error
    if failures := _print_failures():
        jobs = "one job" if failures == 1 else f"{failures} jobs"
        _print(f"error: {jobs} of the sweep failed; repeat the command to try again")
        raise SystemExit(1)


def _print_failures() -> int:
    """Prints the failed jobs with the reasons, and returns their number."""
    failures = [
        failure
        for notes, started in _started.items()
        for failure in sorted(notes.glob(f"*{FAILED}"))
        if failure.stat().st_mtime_ns >= started
    ]
    for failure in failures:
        _print(f"failed: {failure.read_text(encoding='utf-8')}")
    return len(failures)


def _print(line: str) -> None:
    print(line, file=sys.stderr)
