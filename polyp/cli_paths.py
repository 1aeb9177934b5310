"""Paths on the command line, also with characters that mean something to Hydra."""

from collections.abc import Collection, Sequence

from hydra.core.override_parser.types import Quote, QuotedString


def quote_path_overrides(argv: Sequence[str], keys: Collection[str]) -> list[str]:
    """The arguments with the values of some keys in quotes, so that Hydra takes them as they are.

    Quoted values, `null` and empty values are not changed. In a list `[A,B]` each element is
    quoted, so a path with a comma needs its own quotes there. In a multirun Hydra reads commas and
    `choice(…)` as several values, as in `-m data.root=A,B`, so such values are not changed.

    Args:
        argv: arguments, such as ["run=outputs/sweeps/model=unet,seed=0", "angles=[90]"].
        keys: the keys whose values are paths, such as {"run", "data.root"}.
    """
    sweeping = any(argument in ("-m", "--multirun") for argument in argv)
    return [_quoted_override(argument, keys, sweeping) for argument in argv]


def _quoted_override(argument: str, keys: Collection[str], sweeping: bool) -> str:
    key, equals, value = argument.partition("=")
    if not equals or key.lstrip("+") not in keys:
        return argument
    if sweeping and ("," in value or value.endswith(")")):
        return argument
    elements = _elements(value)
    if elements is None:
        return f"{key}={_quoted(value)}"
    return f"{key}=[{','.join(map(_quoted, elements))}]"


def _quoted(path: str) -> str:
    if path == "" or path.lower() == "null" or _end_of_quotes(path, 0) == len(path):
        return path
    return QuotedString(path, Quote.single).with_quotes()


def _elements(value: str) -> list[str] | None:
    """The elements of a list `[A,B]`; None if it is not a list, such as `[ab]*/[cd]`."""
    if not value.startswith("["):
        return None
    elements, start, depth, place = [], 1, 0, 0
    while place < len(value):
        if end := _end_of_quotes(value, place):
            place = end
            continue
        depth += {"[": 1, "]": -1}.get(value[place], 0)
        if (depth == 1 and value[place] == ",") or depth == 0:
            elements.append(value[start:place].strip())
            start = place + 1
        if depth == 0:
            break
        place += 1
    return elements if depth == 0 and start == len(value) else None


def _end_of_quotes(text: str, start: int) -> int | None:
    """The end of the quoted text that begins at `start`; None if none begins there."""
    if text[start] not in "'\"":
        return None
    place = start + 1
    while place < len(text) and text[place] != text[start]:
        place += 2 if text[place] == "\\" else 1
    return place + 1 if place < len(text) else None
