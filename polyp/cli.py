"""The command line: mistakes of the user are reported in one line, without a traceback."""

import errno
import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from polyp.cli_paths import quote_path_overrides
from polyp.errors import UserError
from polyp.files import FULL
from polyp.runs.processes import first_process

FULL_ERROR = "HYDRA_FULL_ERROR"

# Faults of the machine, not of the program, and the file's name says which.
DISK_ERRORS = FULL | {errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR}

# Keys whose values are paths, taken as they are pasted.
PATHS = {
    *("run", "runs", "input", "output", "maps", "archive", "resume"),
    *("data.root", "data.split_file", "data.cache", "hydra.run.dir", "hydra.sweep.dir"),
}

# How lines of messages begin that tell of Hydra's insides, not of what to do.
INSIDES = ("object_type=", "Set the environ", "Config search path:", "provider=")

# Hydra's groups of configs that come with the packages of the extra `sweeps`.
PLUGINS = ("hydra/launcher/", "hydra/sweeper/")


def command_line(
    config_name: str, around: Callable[[], AbstractContextManager] = nullcontext
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Decorates a function of a config as `hydra.main` does, and ends its errors in one line.

    The line goes to standard error and the exit status is 1. HYDRA_FULL_ERROR=1 shows the whole
    traceback instead, and a mistake of the program's own always does.

    Args:
        config_name: one of the configs of the package.
        around: what surrounds the whole command, with all jobs of a sweep.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        asked = os.environ.get(FULL_ERROR, "0")

        @functools.wraps(function)
        def task(config: DictConfig) -> Any:
            try:
                with _environment(asked):  # for processes that the function starts
                    return function(config)
            except Exception as error:
                # In a sweep Hydra must see the error, to go on with the other jobs.
                if asked != "0" or HydraConfig.get().mode is not RunMode.RUN:
                    raise
                _end(error)

        main = hydra.main(
            version_base="1.3", config_path=str(configs_folder()), config_name=config_name
        )(task)

        @functools.wraps(function)
        def command() -> None:
            sys.argv[1:] = quote_path_overrides(sys.argv[1:], PATHS)
            if not first_process():
                _write_no_files()
            try:
                # Else Hydra prints its own account of an error, and exits.
                with _environment("1"), around():
                    main()
            except KeyboardInterrupt:
                print("Interrupted.", file=sys.stderr)
                sys.exit(128 + signal.SIGINT)
            except Exception as error:
                if asked != "0":
                    raise
                _end(error)

        return command

    return decorate


def configs_folder() -> Path:
    """Where the YAMLs are: within the installed package, and beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def told() -> list[str]:
    """The command and its arguments, as a user would type them."""
    script = Path(sys.argv[0])
    if script.resolve().parent == Path(__file__).resolve().parent / "commands":
        return ["polyp", script.stem, *sys.argv[1:]]
    return ["python", *sys.argv]


def key_of(override: str) -> str:
    """The key that an override is of: "data.root" of "+data.root=/data"."""
    return override.split("=")[0].lstrip("+")


def named_keys() -> set[str]:
    """The keys that the user gave on the command line, such as {"run", "data.root"}."""
    return {key_of(override) for override in HydraConfig.get().overrides.task}


def _write_no_files() -> None:
    """Leaves the run's folder and its log to the first of the processes that train together."""
    overrides = [a for a in sys.argv[1:] if "=" in a and not a.startswith("-")]
    quiet = ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    # Where no folder is named, each process would make one of its own, named by its own second.
    if not any(override.startswith("hydra.run.dir=") for override in overrides):
        quiet.append("hydra.run.dir=.")
    # Hydra wants all overrides in one place.
    place = sys.argv.index(overrides[-1]) + 1 if overrides else len(sys.argv)
    sys.argv[place:place] = quiet


@contextmanager
def _environment(full_error: str) -> Iterator[None]:
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = full_error
    try:
        yield
    finally:
        if before is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = before


def _end(error: Exception) -> NoReturn:
    message = user_message(error)
    if message is None:
        raise error
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def user_message(error: BaseException) -> str | None:
    """One line for a mistake that a user can mend; None for a mistake of the program's own."""
    chain = []
    cause: BaseException | None = error
    while cause is not None:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    for outer, cause in zip([None, *chain], chain, strict=False):
        if isinstance(cause, UserError):
            return one_line(_with_key(str(cause), outer))
        if isinstance(cause, OSError) and cause.errno in DISK_ERRORS:
            return one_line(f"{cause.filename or 'writing a file'}: {cause.strerror}")
    for cause in chain:
        if isinstance(cause, MissingConfigException) and _is_plugin(cause.missing_cfg_file):
            more = "the extra `sweeps` installs more"
            return one_line(f"{cause}\n{more}")
        if isinstance(cause, HydraException | OmegaConfBaseException):
            return one_line(str(cause))
    return None


def _with_key(message: str, outer: BaseException | None) -> str:
    """The message of a class about an argument, with the config's key of the class in front.

    "kernel_size=2: …" becomes "model.layers.kernel_size=2: …".
    """
    key = re.search(r"^full_key: (.+)$", str(outer), re.MULTILINE)
    named = isinstance(outer, InstantiationException) and re.match(r"\w+=", message)
    return f"{key[1]}.{message}" if key and named else message


def _is_plugin(config: str | None) -> bool:
    return config is not None and config.startswith(PLUGINS)


def one_line(text: str) -> str:
    """The lines of a message in one."""
    lines = (line.strip() for line in text.splitlines())
    return "; ".join(line for line in lines if line and not line.startswith(INSIDES))
