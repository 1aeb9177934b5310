"""The folder that a comparison is written to."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from polyp.errors import UserError
from polyp.files import atomic_path

GENERATOR = "polyp compare"  # the generator that the page names

# Files beside the page, and in the folder of a test set. Other files belong to the user.
FOREST = re.compile(r"forest\.(png|pdf|svg)")
OURS = re.compile(
    r"(systems|equivariance|differences|outliers|runs|\w+_tests)\.(csv|md|tex)"  # _tests: old ones
    r"|(dice|equivariance|equivariance-boxes-\d+|training-images|trade-off)\.(png|pdf|svg)"
    r"|viewer\.html"
)


def check(output: Path) -> None:
    """Checks that a comparison may be written to a folder.

    Raises:
        UserError: it is a file, or contains something else than an earlier comparison.
    """
    existing = next(path for path in (output, *output.parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"output={output}: {existing} is a file; give a folder")
    if existing == output:
        for path in sorted(output.iterdir()):
            if not (_is_page(path) or FOREST.fullmatch(path.name) or _is_section(path)):
                raise UserError(
                    f"output={output}: contains {path.name}, which is not part of a comparison; "
                    "give a new folder, or the folder of an earlier comparison"
                )


def write(output: Path, files: Mapping[str, bytes]) -> None:
    """Writes files by their paths in the folder, and removes files of an earlier comparison."""
    stale = [path for path in _written(output) if path.relative_to(output).as_posix() not in files]
    for name, content in files.items():
        with atomic_path(output / name) as temporary:
            temporary.write_bytes(content)
    for path in stale:
        path.unlink()
        if path.parent != output and not any(path.parent.iterdir()):
            path.parent.rmdir()


def _written(output: Path) -> Iterator[Path]:
    if output.exists():
        yield from (path for path in output.iterdir() if FOREST.fullmatch(path.name))
        for section in filter(_is_section, output.iterdir()):
            yield from (path for path in section.iterdir() if OURS.fullmatch(path.name))


def _is_page(path: Path) -> bool:
    return path.name == "index.html" and GENERATOR in path.read_text(
        encoding="utf-8", errors="replace"
    )


def _is_section(path: Path) -> bool:
    return all((path / name).is_file() for name in ("systems.csv", "systems.md", "systems.tex"))
