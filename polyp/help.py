"""The help of a command: what it does, its groups, and its keys with defaults and descriptions.

All of it is read from the command's module and from the comments of the config files.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.default_element import ResultDefault
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

WIDTH = 110
COLUMN = 40  # of the descriptions

FOOTER = """\
More:
  --cfg job            print the whole config, and run nothing
  --config-dir MINE    add a folder of your own configs (before KEY=VALUE)
  -m KEY=A,B           run once for each value
  hydra.run.dir=PATH   the folder of the run (`polyp train`), or of the log"""


def command_help(
    folder: Path, config_name: str, summary: str, overrides: list[str], more: str | None = None
) -> str:
    """The help of a command, with its values under these overrides.

    Args:
        folder: of the configs.
        config_name: the command's config.
        summary: of the command, with its usage between backticks.
        overrides: such as ["data=kvasir"].
        more: the user's own folder of configs.
    """
    path = create_config_search_path(str(folder))
    if more is not None:
        path.prepend("command-line", f"file://{Path(more).resolve()}", SearchPathQuery("schema"))
    loader = ConfigLoaderImpl(path)
    # In this mode required groups may be missing.
    arguments = config_name, overrides, RunMode.MULTIRUN
    config = loader.load_configuration(*arguments)
    defaults = loader.compute_defaults_list(*arguments).defaults
    file = folder / f"{config_name}.yaml"
    groups = {
        group: (
            _choice(group, default, config.hydra.runtime.choices, defaults),
            loader.get_group_options(group.partition("@")[0]),
        )
        for group, default in _groups(file).items()
    }
    described: dict[str, str] = {}
    for default in defaults:
        source = folder / f"{default.config_path}.yaml"
        if source.is_file():  # else it is Hydra's or the user's own
            described |= descriptions(source, default.package or "")
    with open_dict(config):
        del config["hydra"]
    plain: Any = OmegaConf.to_container(config)
    name, _, usage = summary.partition(": ")
    lines = [f"{name}.", "", f"  {usage.strip('`.')}", ""]
    lines += [header(file), ""]
    if groups:
        lines += ["Groups, as GROUP=NAME:"]
        listed: dict[str, str] = {}
        for group, (choice, options) in groups.items():
            names = ", ".join(option for option in options if option != "base")
            lines += _entry(f"{group}={_shown(choice)}", listed.get(names, names))
            listed.setdefault(names, f"as for {group}")
        lines += [""]
    lines += ["Keys, as KEY=VALUE, with their defaults:"]
    for key, value in leaves(plain):
        lines += _entry(f"{key}={_shown(value)}", _described(key, described))
    return "\n".join([*lines, "", FOOTER])


def _groups(file: Path) -> dict[str, Any]:
    """The groups in the defaults list of a config, with the default choice of each.

    An optional group has the default None: its choice depends on others, and may not exist.
    """
    entries = yaml.safe_load(file.read_text(encoding="utf-8")).get("defaults", [])
    pairs = {k: v for entry in entries if isinstance(entry, dict) for k, v in entry.items()}
    optional = "optional "
    return {
        name.removeprefix(optional): None if name.startswith(optional) else chosen
        for name, chosen in pairs.items()
        if not name.startswith("override ")
    }


def _choice(group: str, default: Any, choices: Any, found: Sequence[ResultDefault]) -> Any:
    """The choice of a group: one name or None, or a list of names if the default is a list."""
    paths = [each.config_path or "" for each in found]
    if isinstance(default, list):
        return [path.partition("/")[2] for path in paths if path.startswith(f"{group}/")]
    choice = choices.get(group, default)
    if default is None and f"{group}/{choice}" not in paths:
        return None
    return choice


def header(file: Path) -> str:
    """The comment at the top of a config file."""
    lines = file.read_text(encoding="utf-8").splitlines()
    top = []
    for line in lines:
        if not line.startswith("#"):
            break
        top.append(line.removeprefix("#").strip())
    return "\n".join(line for line in top if not line.startswith("@package"))


def descriptions(file: Path, package: str) -> dict[str, str]:
    """The comment of each key in a config file: on its line and below, or above it.

    Args:
        file: the config file.
        package: the key that its content is put at, "" for the top.

    Returns:
        Comments by the full key, such as "data.image_size".
    """
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    node = yaml.compose(text)
    above = f"{package}." if package not in ("", "_global_") else ""
    keys = [] if node is None else list(_key_lines(node, above))
    starts = {line: column for _, line, column in keys}
    found = {}
    for key, first, column in keys:
        own = _comment(lines[first])
        below = first + 1
        while own and below < len(lines) and below not in starts and _comment_only(lines[below]):
            if _indent(lines[below]) == column:
                break
            own += f" {_comment(lines[below])}"
            below += 1
        if own:
            found[key] = own
            continue
        before, above_line = [], first - 1
        while above_line >= 0 and _comment_only(lines[above_line]):
            if _indent(lines[above_line]) != column:
                break
            before.insert(0, _comment(lines[above_line]))
            above_line -= 1
        if before and above_line >= 0:  # else it is the header of the file
            found[key] = " ".join(before)
    return found


def _described(key: str, described: dict[str, str]) -> str:
    """The comment of a key, or of the nearest key around it."""
    while key not in described and "." in key:
        key = key.rpartition(".")[0]
    return described.get(key, "")


def leaves(config: dict, above: str = "") -> Iterator[tuple[str, Any]]:
    """The keys that hold values and can be changed, with the values."""
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{above}{key}.")
        elif key not in ("_target_", "_partial_"):
            yield f"{above}{key}", value


def _key_lines(node: yaml.Node, above: str) -> Iterator[tuple[str, int, int]]:
    """Each key of a YAML, with its line and column."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{above}{key.value}", key.start_mark.line, key.start_mark.column
            yield from _key_lines(value, f"{above}{key.value}.")


def _comment(line: str) -> str:
    found = re.search(r"(?:^|\s)#\s*(.*)$", line)
    return found[1].strip() if found else ""


def _comment_only(line: str) -> bool:
    return line.lstrip().startswith("#")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _entry(option: str, text: str) -> list[str]:
    """An option with its text beside or below it."""
    wrapped = textwrap.wrap(text, WIDTH - COLUMN) or [""]
    option = f"  {option}"
    if len(option) < COLUMN:
        wrapped[0] = f"{option:{COLUMN}}{wrapped[0]}".rstrip()
        return [wrapped[0], *(" " * COLUMN + line for line in wrapped[1:])]
    return [option, *(" " * COLUMN + line for line in wrapped if line)]


def _shown(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None:
        return "null"
    if value == "???":
        return "REQUIRED"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)
