"""A page of two networks, made once through the command line, and what it holds."""

import json
import re
import sys
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
def content(page) -> dict:
    """What the script of the page reads."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="content">(.*?)</script>', text, re.DOTALL)[1])
