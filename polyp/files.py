"""Writes files in such a way that no incomplete file is left behind."""

import errno
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# No space left, quota exceeded, file too large.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary path to write to, and renames it to `path` if the block succeeds.

        with atomic_path(folder / "curve.png") as temporary:
            figure.savefig(temporary)

    If the block fails or is interrupted, `path` is unchanged and the temporary file is removed
    (a killed process may leave one, whose name starts with a dot). The temporary path has the
    suffix of `path`, for writers that choose the format by it. Missing parent folders are made.

    Raises:
        OSError: as the block raises it, but with `path` as the file's name, instead of the name of
            the temporary file or none.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because os.replace is atomic only within one file system.
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename is None or str(temporary) in (error.filename, error.filename2):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: dict) -> None:
    """Writes a JSON file, indented."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def disk_full(error: BaseException) -> OSError | None:
    """The OSError of a full disk among an error and its causes, preferably one with a file name."""
    found = None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in FULL:
            found = cause if found is None or found.filename is None else found
        cause = cause.__cause__ or cause.__context__
    return found
