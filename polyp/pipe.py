"""Handles a reader of the output that ends early, such as `head`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_when_stdout_closes() -> Iterator[None]:
    """Exits with status 1 and no traceback if the reader of standard output has ended.

    A broken pipe of anything else is raised as usual.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError as error:
        try:
            print(flush=True)
        except BrokenPipeError:
            # Otherwise Python fails again when it flushes standard output at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        raise error
