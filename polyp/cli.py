"""The command line: mistakes of the user are reported in one line, without a traceback."""

import argparse
import difflib
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
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from polyp import schema
from polyp.cli_paths import quote_path_overrides
from polyp.errors import UserError
from polyp.files import FULL
from polyp.help import command_help
from polyp.pipe import quiet_when_stdout_closes
from polyp.runs.processes import first_process
from polyp.runs.traces import no_empty_folder

FULL_ERROR = "HYDRA_FULL_ERROR"

# Faults of the machine, not of the program, and the file's name says which.
DISK_ERRORS = FULL | {
    *(errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP),
}

# Keys of folders that Hydra makes.
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")

# Keys whose values are paths, taken as they are pasted.
PATHS = {
    *("run", "runs", "input", "output", "maps", "archive"),
    *("resume", "init_from"),
    *("data.root", "data.split_file", "data.cache"),
    *FOLDERS,
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
            folder = Path(HydraConfig.get().runtime.output_dir)
            try:
                # The environment is for processes that the function starts.
                with no_empty_folder(folder), _environment(asked):
                    if HydraConfig.get().mode is RunMode.RUN:  # else each job does it
                        schema.check(config_name, config, _usage(function))
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
        @quiet_when_stdout_closes()
        def command() -> None:
            _typed[:] = sys.argv
            options = get_args_parser().parse_known_args(sys.argv[1:])[0]
            if options.help:
                print(_help(config_name, function, options))
                return
            sys.argv[1:] = quote_path_overrides(sys.argv[1:], PATHS)
            if not first_process():
                _write_no_files()
            try:
                # Else Hydra prints its own account of an error, and exits.
                with _environment("1"), around():
                    _check_overrides(sys.argv[1:])
                    main()
            except KeyboardInterrupt:
                print("Interrupted.", file=sys.stderr)
                sys.exit(128 + signal.SIGINT)
            except Exception as error:
                if asked != "0":
                    raise
                _end(error, config_name)
            finally:
                _typed.clear()

        return command

    return decorate


def _help(config_name: str, function: Callable, options: argparse.Namespace) -> str:
    try:
        return command_help(
            configs_folder(), config_name, _summary(function), options.overrides, options.config_dir
        )
    except Exception as error:
        _end(error, config_name)


def configs_folder() -> Path:
    """Where the YAMLs are: within the installed package, and beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


_typed: list[str] = []  # the command line, before paths are put in quotes


def told() -> list[str]:
    """The command and its arguments, as a user would type them."""
    script, *arguments = _typed or sys.argv
    if Path(script).resolve().parent == Path(__file__).resolve().parent / "commands":
        return ["polyp", Path(script).stem, *arguments]
    return ["python", script, *arguments]


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


def _check_overrides(arguments: list[str]) -> None:
    """Refuses what Hydra would accept or fail at, before it makes any folder.

    Raises:
        UserError: a group is given no names of files, a folder no path, or an argument cannot be
            parsed.
    """
    parser = OverridesParser.create()
    for argument in arguments:
        if "=" not in argument or argument.startswith("-"):
            continue
        try:
            override = parser.parse_override(argument)
        except HydraException as error:
            raise UserError(
                f"{argument}: cannot be parsed; a value with other characters than letters, "
                "digits and _-+./:%@?|, such as spaces and umlauts, needs quotes of its own: "
                "'KEY=\"VALUE\"'"
            ) from error
        if override.is_sweep_override():
            continue
        group, value = str(override.key_or_group), override.value()
        if group in FOLDERS:
            schema.require(group, value, schema.PLACE)
        folder = configs_folder() / group
        names = value if isinstance(value, list) else [value]
        if folder.is_dir() and not all(isinstance(name, str) for name in names):
            files = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
            raise UserError(f"{argument}: {group}= names a file of configs/{group}: {files}")


def _usage(function: Callable) -> str:
    """How a command is called."""
    return _summary(function).partition("`")[2].partition("`")[0]


def _summary(function: Callable) -> str:
    """What a command does, and how it is called: the first line of its module."""
    return (sys.modules[function.__module__].__doc__ or "").splitlines()[0]


def _end(error: Exception, config_name: str | None = None) -> NoReturn:
    message = user_message(error)
    if message is None:
        raise error
    if config_name is not None:
        message = _with_nearest_key(message, config_name)
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


def _with_nearest_key(message: str, config_name: str) -> str:
    """Hydra's message of a key that there is none of, in words that help."""
    found = re.match("Could not override '([^']+)'", message)
    if found is None:
        return message
    key = found[1]
    others = [a for a in sys.argv[1:] if "=" in a and a[0] not in "-+~" and key_of(a) != key]
    try:
        with initialize_config_dir(str(configs_folder()), version_base="1.3"):
            config = compose(config_name, others, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException):  # a second fault, told when this is mended
        return message
    plain: Any = OmegaConf.to_container(config)
    known = {*config.hydra.runtime.choices, *_keys(plain)}
    if key in known:  # and its value is a mapping
        return f"{key}: its value has a key that is not there; --cfg job shows all"
    nearest = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {nearest[0]}?" if nearest else "--cfg job shows all"
    return f"{key}: there is no such key; {hint} (with + in front a new one is added)"


def _keys(config: dict, above: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield f"{above}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{above}{key}.")


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
