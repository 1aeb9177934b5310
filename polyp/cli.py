"""The command line: mistakes of the user are reported in one line, without a traceback."""

import argparse
import difflib
import errno
import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
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

# Errors of the disk, not of the program. The message names the file.
DISK_ERRORS = FULL | {
    *(errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP),
}

# Keys of folders that Hydra makes.
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")

# Groups of which Hydra accepts names that do not exist.
OPTIONAL = ("recipe",)

# Keys whose values are paths. They may hold characters that mean something to Hydra.
PATHS = {
    *("run", "runs", "input", "output", "maps", "archive"),
    *("resume", "init_from"),
    *("data.root", "data.split_file", "data.cache"),
    *FOLDERS,
}

# The first words of lines in Hydra's messages that do not help a user.
HYDRA_DETAILS = ("object_type=", "Set the environ", "Config search path:", "provider=")

# The extras of this package that bring libraries of networks, by the module that they import.
EXTRAS = {"monai": "monai", "segmentation_models_pytorch": "smp"}
# Hydra's groups of configs that come with the packages of the extra `sweeps`.
PLUGINS = ("hydra/launcher/", "hydra/sweeper/")


def command_line(
    config_name: str, around: Callable[[], AbstractContextManager] = nullcontext
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Decorates a function of a config as `hydra.main` does, and reports errors in one line.

    The line is printed to standard error and the exit status is 1. With HYDRA_FULL_ERROR=1 the
    whole traceback is shown instead. A bug in the program always shows its traceback.

    Args:
        config_name: one of the configs of the package.
        around: a context manager around the whole command, with all jobs of a sweep.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], None]:
        full_error = os.environ.get(FULL_ERROR, "0")

        @functools.wraps(function)
        def task(config: DictConfig) -> Any:
            folder = Path(HydraConfig.get().runtime.output_dir)
            try:
                # The environment is for processes that the function starts.
                with no_empty_folder(folder), _environment(full_error):
                    if HydraConfig.get().mode is RunMode.RUN:  # in a sweep each job does it
                        schema.check(config_name, config, _usage(function))
                    return function(config)
            except Exception as error:
                # In a sweep Hydra must see the error, to continue with the other jobs.
                if full_error != "0" or HydraConfig.get().mode is not RunMode.RUN:
                    raise
                _end(error)

        main = hydra.main(
            version_base="1.3", config_path=str(configs_folder()), config_name=config_name
        )(task)

        @functools.wraps(function)
        @quiet_when_stdout_closes()
        def command() -> None:
            _typed[:] = sys.argv
            options, unknown = get_args_parser().parse_known_args(sys.argv[1:])
            if options.help:
                print(_help(config_name, function, options))
                return
            sys.argv[1:] = quote_path_overrides(sys.argv[1:], PATHS)
            if not first_process():
                _write_no_files()
            try:
                # Otherwise Hydra prints the error itself and exits.
                with _environment("1"), around():
                    _check_options(unknown, _usage(function))
                    _check_overrides(sys.argv[1:], _usage(function))
                    main()
            except KeyboardInterrupt:
                print("Interrupted.", file=sys.stderr)
                sys.exit(128 + signal.SIGINT)
            except Exception as error:
                if full_error != "0":
                    raise
                _end(error, config_name, _usage(function))
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
    """The folder of the configs: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


_typed: list[str] = []  # the command line, before paths are put in quotes


def typed_command() -> list[str]:
    """The command and its arguments, as a user would type them."""
    script, *arguments = _typed or sys.argv
    if Path(script).resolve().parent == Path(__file__).resolve().parent / "commands":
        return ["polyp", Path(script).stem, *arguments]
    return ["python", script, *arguments]


def key_of(override: str) -> str:
    """The key of an override: "data.root" of "+data.root=/data"."""
    return override.split("=")[0].lstrip("+")


def named_keys() -> set[str]:
    """The keys that the user gave on the command line, such as {"run", "data.root"}."""
    return {key_of(override) for override in HydraConfig.get().overrides.task}


def _write_no_files() -> None:
    """Makes a further process of a run write no folder and no log; only the first one does."""
    overrides = [a for a in sys.argv[1:] if "=" in a and not a.startswith("-")]
    quiet = ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    # Without a named folder each process would make its own, named by the time of its start.
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


def _check_options(unknown: list[str], usage: str) -> None:
    """Raises UserError for arguments that Hydra's own parser does not know."""
    for argument in unknown:
        if argument.startswith("-"):
            raise UserError(f"{argument}: no such option; use KEY=VALUE without dashes: {usage}")
        raise UserError(f"{argument}: options such as --config-dir must come before KEY=VALUE")


def _check_overrides(arguments: list[str], usage: str) -> None:
    """Rejects what Hydra would accept, or explain badly, before it makes any folder.

    Raises:
        UserError: an argument cannot be parsed, the value of a group is not the name of a file, or
            that of a folder is not a path.
    """
    parser = OverridesParser.create()
    options = get_args_parser().parse_known_args(arguments)[0]
    for argument in options.overrides:
        if argument.startswith("~"):  # removes a key
            continue
        if "=" not in argument:
            raise UserError(f"{argument}: must be KEY=VALUE: {usage}")
        try:
            override = parser.parse_override(argument)
        except HydraException as error:
            raise UserError(
                f"{argument}: cannot be parsed; a value with characters other than letters, "
                "digits and _-+./:%@?|, such as spaces and umlauts, needs its own quotes: "
                "'KEY=\"VALUE\"'"
            ) from error
        if override.is_sweep_override():
            continue
        group, value = str(override.key_or_group), override.value()
        if group in FOLDERS:
            schema.require(group, value, schema.OUTPUT_PATH)
        folder = configs_folder() / group
        names = value if isinstance(value, list) else [value]
        if folder.is_dir() and not all(isinstance(name, str) for name in names):
            files = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
            raise UserError(f"{argument}: {group}= names a file of configs/{group}: {files}")
        if group in OPTIONAL:
            folders = [folder, *([Path(options.config_dir) / group] if options.config_dir else [])]
            files = sorted(file.stem for each in folders for file in each.glob("*.yaml"))
            if value not in files:
                raise UserError(_no_such_config(group, value, files))


def _usage(function: Callable) -> str:
    """The usage of a command, such as `polyp export run=PATH output=FILE.onnx`."""
    return _summary(function).partition("`")[2].partition("`")[0]


def _summary(function: Callable) -> str:
    """The purpose and usage of a command: the first line of its module."""
    return (sys.modules[function.__module__].__doc__ or "").splitlines()[0]


def _end(error: Exception, config_name: str | None = None, usage: str = "") -> NoReturn:
    message = user_message(error)
    if message is None:
        raise error
    if config_name is not None:
        message = _with_nearest_key(message, config_name)
    if missing := re.match("You must specify '([^']+)'", message):  # a group without a default
        message = f"{missing[1]}= is missing: {usage}"
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def user_message(error: BaseException) -> str | None:
    """One line for a mistake that a user can correct; None for a bug in the program."""
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
        if isinstance(cause, MissingConfigException):
            return _missing_config(cause)
        if isinstance(cause, HydraException | OmegaConfBaseException):
            return _not_installed(str(cause)) or one_line(str(cause))
    return None


def _not_installed(message: str) -> str | None:
    """The message for a class of a library that is not installed, but has an extra."""
    found = re.match(r"Error locating target '(\w+)\.", message)
    if found is None or found[1] not in EXTRAS or find_spec(found[1]) is not None:
        return None
    return f"{found[1]} is not installed: pip install -c constraints.txt -e '.[{EXTRAS[found[1]]}]'"


def _with_nearest_key(message: str, config_name: str) -> str:
    """Explains Hydra's message about an unknown key, and suggests the nearest one."""
    found = re.match("Could not override '([^']+)'", message)
    if found is None:
        return message
    key = found[1]
    others = [a for a in sys.argv[1:] if "=" in a and a[0] not in "-+~" and key_of(a) != key]
    try:
        with initialize_config_dir(str(configs_folder()), version_base="1.3"):
            config = compose(config_name, others, return_hydra_config=True)
    except (
        HydraException,
        OmegaConfBaseException,
    ):  # a second mistake: reported once this one is corrected
        return message
    plain: Any = OmegaConf.to_container(config)
    known = {*config.hydra.runtime.choices, *_keys(plain)}
    if key in known:  # and its value is a mapping
        return f"{key}: unknown key in its value; --cfg job shows all keys"
    nearest = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {nearest[0]}?" if nearest else "--cfg job shows all keys"
    return f"{key}: no such key; {hint} (+{key}= adds a new key)"


def _keys(config: dict, above: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield f"{above}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{above}{key}.")


def _with_key(message: str, outer: BaseException | None) -> str:
    """Puts the config key of a class in front of its message about an argument.

    "kernel_size=2: …" becomes "model.layers.kernel_size=2: …".
    """
    key = re.search(r"^full_key: (.+)$", str(outer), re.MULTILINE)
    named = isinstance(outer, InstantiationException) and re.match(r"\w+=", message)
    return f"{key[1]}.{message}" if key and named else message


def _missing_config(error: MissingConfigException) -> str:
    """The message for a config that does not exist, with the choices of its group."""
    file = error.missing_cfg_file or ""
    if file.startswith(PLUGINS):
        return one_line(f"{error}\nthe extra `sweeps` installs more")
    group, _, name = file.rpartition("/")
    # Of groups that take a list, Hydra gives no choices.
    files = (configs_folder() / group).glob("*.yaml")
    options = error.options or sorted(file.stem for file in files)
    choices = [choice for choice in options if choice != "base"]
    if not group or not choices:
        return one_line(str(error))
    return _no_such_config(group, name, choices)


def _no_such_config(group: str, name: Any, choices: Sequence[str]) -> str:
    return f"{group}={name}: no such config; choose one of {', '.join(choices)}"


def one_line(text: str) -> str:
    """Joins the lines of a message."""
    lines = (line.strip() for line in text.splitlines())
    return "; ".join(line for line in lines if line and not line.startswith(HYDRA_DETAILS))
