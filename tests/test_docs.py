"""What README.md and docs/ tell readers to type works: commands are understood, Python runs."""

import importlib.util
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from polyp import schema
from polyp.cli import PATHS
from polyp.cli_paths import quote_path_overrides

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / "docs/maths").glob("*.md"),
]


def commands(page: Path) -> list[list[str]]:
    """The words of each `polyp COMMAND …` in the shell blocks and the text of a page."""
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    lines = [line for line in blocks.splitlines() if line.startswith("polyp ")]
    lines += re.findall(r"`(polyp [a-z_]+ [^`…]*=[^`…]*)`", text)
    return [shlex.split(line, comments=True)[1:] for line in lines]


# Each once, on whichever page it is.
FOUND = list(dict.fromkeys(tuple(words) for page in PAGES for words in commands(page) if words))


def test_there_are_commands():
    assert len(FOUND) > 50
    assert {words[0] for words in FOUND} >= {"train", "evaluate", "predict", "export", "view"}


@pytest.mark.parametrize("words", FOUND, ids=" ".join)
def test_a_command_is_understood(words, monkeypatch):
    command, *options = words
    if any(option.startswith("--") for option in options):
        pytest.skip("tests/test_extending.py runs those with configs of one's own")
    monkeypatch.setenv("POLYP_DATA", "/data")
    sweep = "-m" in options
    overrides = quote_path_overrides([option for option in options if option != "-m"], PATHS)
    if sweep:  # the first job of each
        overrides = [re.sub(r"=([^\[',]+),.*", r"=\1", override) for override in overrides]
    name = {"download": "download_data"}.get(command, command)
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose(name, overrides)
    schema.check(name, config, f"polyp {command}")


@pytest.mark.parametrize("page", ["models.md", "evaluation.md"])
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})


def test_kernels_are_drawn_as_they_turn():
    """The pictures of docs/maths, which docs/pictures/kernels.py draws."""
    path = ROOT / "docs" / "pictures" / "kernels.py"
    spec = importlib.util.spec_from_file_location("kernels", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, rows in module.FAMILIES.items():
        assert (ROOT / "docs" / "images" / f"kernel-{name}.png").is_file()
        for family, rotations in rows.values():
            drawn = module.kernels(family, rotations)
            assert len(drawn) == rotations
            if 90 in drawn:
                assert np.abs(drawn[90] - np.rot90(drawn[0])).max() < 1e-5 * np.abs(drawn[0]).max()
    bilinear = module.picture({"bilinear": module.FAMILIES["se2"]["bilinear"]})
    assert [axes.get_title() for axes in bilinear.axes] == ["0°", "30°", "60°", "90°"]
    turned = module.kernels(*module.FAMILIES["se2"]["bilinear"])
    share = np.linalg.norm(turned[30]) / np.linalg.norm(turned[0])
    assert bilinear.axes[1].get_xlabel() == f"norm {share:.2f}"
