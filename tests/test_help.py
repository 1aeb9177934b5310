"""The help of each command shows its groups, and its keys with their defaults and descriptions."""

import importlib
import re
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from polyp.help import leaves
from tests.conftest import CONFIGS

# A command, the options that its config needs to be composed, and its groups.
COMMANDS = [
    ("train", [], {"model", "data", "metrics", "logger", "experiment"}),
    ("train", ["model=unet", "data=cvc", "metrics=[dice]"], {"model", "data", "metrics"}),
    ("evaluate", [], {"data", "evaluation", "metrics", "test_sets"}),
    ("predict", [], set()),
    ("export", [], set()),
    ("compare", [], {"study"}),
    ("archive", [], set()),
    ("view", [], set()),
    ("serve", [], set()),
    ("rotation_error", [], set()),
    ("benchmark", [], {"model@scaling.model"}),
    ("download_data", ["data=kvasir"], {"data"}),
]


@pytest.fixture
def helped(monkeypatch, capsys):
    """What COMMAND --help prints, by section: the title, the groups and the keys."""

    def run(command: str, *options: str) -> list[list[str]]:
        module = importlib.import_module(
            f"polyp.commands.{ {'download_data': 'download'}.get(command, command) }"
        )
        monkeypatch.setattr(sys, "argv", [f"{command}.py", "--help", *options])
        module.main()
        text = capsys.readouterr().out
        title, keys = text.split("Keys, as KEY=VALUE, with their defaults:\n")
        title, _, groups = title.partition("Groups, as GROUP=NAME:\n")
        return [title.splitlines(), entries(groups), entries(keys.split("\n\n")[0])]

    return run


def entries(section: str) -> list[str]:
    """Its entries in one line each, the description after two spaces or more."""
    return re.sub(r"\n {9,}", "   ", section).strip("\n").splitlines()


def shown(value) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    special = {None: "null", True: "true", False: "false", "???": "REQUIRED"}
    return special[value] if type(value) in (bool, type(None)) or value == "???" else str(value)


@pytest.mark.parametrize(("command", "options", "groups"), COMMANDS)
def test_the_help_shows_what_is_composed(helped, command, options, groups):
    title, listed, keys = helped(command, *options)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = OmegaConf.to_container(compose(command, options))
    composed = [f"{key}={shown(value)}" for key, value in leaves(config)]
    assert len(composed) == len(keys)
    for line, option in zip(keys, composed, strict=True):
        assert line.strip() == option or line.startswith(f"  {option} "), line
        description = line.removeprefix(f"  {option}").strip()
        assert description or "${" in option, line  # a reference says what it is itself
    assert title[2].startswith("  polyp ")
    names = {line.split("=")[0].strip() for line in listed}
    assert groups <= names
    assert not any(name.startswith("hydra") for name in names)
    assert not {"optimizer", "trainer"} & names or command == "train"


def test_the_help_follows_the_options(helped):
    _, groups, keys = helped("train", "data=cvc", "model=unet_small", "trainer.max_epochs=3")
    assert "  data.image_size=256" in "\n".join(keys)
    assert any(line.startswith("  trainer.max_epochs=3  ") for line in keys)
    assert any(line.startswith("  model=unet_small ") and "p4unet" in line for line in groups)
    assert any("metrics=[dice, iou, precision, recall]" in line for line in groups)


def test_a_recipe_is_shown_where_there_is_one(helped):
    for model, recipe, rate in [("lieunet", "lieunet_adamw", "0.01"), ("unet", "null", "0.003")]:
        _, groups, keys = helped("train", f"model={model}", "experiment=folds")
        assert any(re.match(rf"  recipe={recipe} +lieunet_adamw, ", line) for line in groups)
        assert any(line.startswith(f"  optimizer.lr={rate} ") for line in keys)
        assert any(line.startswith("  experiment=folds ") for line in groups)


def test_the_descriptions_are_those_of_the_chosen_files(helped):
    text = "\n".join(helped("train", "model=lieunet", "data=folder")[2])
    assert re.search(r"model\.layers\.omega=8 +frequency of the kernels: lower is more", text)
    assert re.search(r"data\.root=REQUIRED +the dataset's folder", text)


def test_a_choice_that_is_open(helped):
    _, groups, _ = helped("download_data")
    assert re.match(r"  data=REQUIRED +colondb, cvc, ", groups[0])


def test_a_mistake_beside_it(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "--help", "data=kvasri"])
    with pytest.raises(SystemExit):
        importlib.import_module("polyp.commands.train").main()
    assert "data=kvasri: no such config" in capsys.readouterr().err


def test_own_configs_are_listed(helped, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: mine.Net\nwidth: 3\n")
    _, groups, keys = helped("train", "--config-dir", str(tmp_path), "model=mine")
    assert any(re.match(r"  model=mine .*\bmine,", line) for line in groups)
    assert "  model.width=3" in keys
