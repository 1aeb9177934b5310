"""Writing files so that a reader never meets half of one."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path to write to, which takes the name `path` when the block ends well.

        with atomic_path(folder / "curve.png") as temporary:
            figure.savefig(temporary)

    An interrupted or failed block leaves whatever stood at `path` as it was, and no temporary file
    (a killed process may leave one, whose name starts with a dot). The temporary path has the
    suffix of `path`, for writers that choose the format by it. Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because os.replace is atomic only within one file system.
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: dict) -> None:
    """Writes a JSON file, indented."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
