"""A page of two networks, made once through the command line, and a server of the two."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from polyp.commands import view


@pytest.fixture(scope="session")
def page(two_runs, tmp_path_factory) -> Path:
    """The page of the two runs, at each 30°."""
    output = tmp_path_factory.mktemp("viewer") / "page.html"
    runs = f"runs=[{','.join(map(str, two_runs))}]"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["view.py", runs, f"output={output}", "step=30"])
        view.main()
    return output


@pytest.fixture(scope="session")
def content_of() -> Callable[[str], dict]:
    """What the script of a page reads."""

    def read(html: str) -> dict:
        return json.loads(re.search(r'id="content">(.*?)</script>', html, re.DOTALL)[1])

    return read


@pytest.fixture(scope="session")
def content(page, content_of) -> dict:
    return content_of(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def server(two_runs):
    """The address of `polyp serve` with the two runs, at each 30°. At the end it is interrupted."""
    options = [f"runs=[{','.join(map(str, two_runs))}]", "port=0", "step=30"]
    process = subprocess.Popen(
        [sys.executable, "-m", "polyp", "serve", *options],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            line = process.stdout.readline()
            yield re.fullmatch(r"open (http://127\.0\.0\.1:\d+) in a browser; .*\n", line)[1]
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
    assert (process.returncode, rest) == (0, "")
