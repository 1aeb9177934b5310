"""Reports errors of writing with the option that names the output."""

from collections.abc import Iterator
from contextlib import contextmanager

from polyp.errors import UserError


@contextmanager
def writing(output: str) -> Iterator[None]:
    """Ends an error of writing, such as a full disk, as one line that names the output."""
    try:
        yield
    except OSError as error:
        place = "" if error.filename in (None, output) else f"{error.filename}: "
        reason = error.strerror or error
        raise UserError(f"output={output}: cannot be written ({place}{reason})") from error
