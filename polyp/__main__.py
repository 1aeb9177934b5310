"""The command `polyp`: runs a command by name, and completes command lines."""

import ast
import difflib
import os
import runpy
import sys
from pathlib import Path

import polyp
from polyp import commands
from polyp.pipe import quiet_when_stdout_closes

# Makes a shell call `polyp --complete` when TAB is pressed.
COMPLETION = {
    "bash": """\
_polyp() {
    local IFS=$'\\n'
    COMPREPLY=($(COMP_LINE="${COMP_LINE:0:COMP_POINT}" polyp --complete 2>/dev/null))
    [[ ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o default -F _polyp polyp""",
    "zsh": """\
_polyp() {
    local -a found
    found=("${(@f)$(COMP_LINE="$LBUFFER" polyp --complete 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -S '' -- "${found[@]}"; else _files; fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _polyp polyp""",
    "fish": """\
complete -c polyp -a '(COMP_LINE=(commandline -cp) polyp --complete 2>/dev/null)'""",
}


@quiet_when_stdout_closes()
def main() -> None:
    """The command line."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print(f"polyp {polyp.__version__}")
    elif name == "--completion":
        _print_completion(*arguments)
    elif name == "--complete":
        _complete(os.environ["COMP_LINE"])
    elif name in _summaries():
        _run(name, arguments)
    else:
        nearest = difflib.get_close_matches(name, _summaries(), 1)
        hint = f"did you mean polyp {nearest[0]}?" if nearest else "see polyp --help"
        _refuse(f"polyp {name}: no such command; {hint}")


def _summaries() -> dict[str, str]:
    """The first line of each command's module, by command. No module is imported."""
    files = sorted(Path(commands.__file__).parent.glob("[a-z]*.py"))
    docs = {
        file.stem: ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) for file in files
    }
    return {name: (doc or "").splitlines()[0] for name, doc in docs.items()}


def _help() -> str:
    lines = [f"  {name:16}{summary}" for name, summary in _summaries().items()]
    return "\n".join(
        [
            f"polyp {polyp.__version__}: {polyp.__doc__}",
            "",
            "polyp COMMAND [KEY=VALUE ...]",
            *lines,
            "",
            "polyp COMMAND --help              its options and their defaults",
            "polyp COMMAND --cfg job           print the whole config, and run nothing",
            "polyp COMMAND --config-dir MINE   add a folder of your own configs (before KEY=VALUE)",
            "polyp --version",
            "",
            "TAB completes commands, keys and values after",
            '    eval "$(polyp --completion bash)"      in ~/.bashrc; or zsh, in ~/.zshrc',
            "    polyp --completion fish | source       in fish's config.fish",
        ]
    )


def _run(name: str, arguments: list[str]) -> None:
    """As `python -m polyp.commands.NAME`, so that further processes can be started that way."""
    sys.argv = [sys.argv[0], *arguments]
    runpy.run_module(f"{commands.__name__}.{name}", run_name="__main__", alter_sys=True)


def _print_completion(shell: str = "", *_: str) -> None:
    if shell not in COMPLETION:
        _refuse(f"polyp --completion {shell}: must be one of {', '.join(COMPLETION)}")
    print(COMPLETION[shell])


def _complete(line: str) -> None:
    """Prints the completions of the last word of a command line, one per line."""
    words = line.split(maxsplit=2)
    if len(words) < 2 or (len(words) == 2 and not line[-1].isspace()):
        prefix = words[1] if len(words) == 2 else ""
        print("\n".join(name for name in _summaries() if name.startswith(prefix)))
    elif words[1] in _summaries():
        # Hydra skips the first word. Its completion for fish prints one candidate per line.
        os.environ["COMP_LINE"] = f"polyp {words[2] if len(words) == 3 else ''}"
        _run(words[1], ["-sc", "query=fish"])


def _refuse(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
