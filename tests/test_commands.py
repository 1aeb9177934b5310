"""The command `polyp`: its output, completion, and the scripts of the checkout."""

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import polyp
from polyp.__main__ import main
from polyp.cli import typed_command
from polyp.pipe import quiet_when_stdout_closes

ROOT = Path(__file__).parents[1]
COMMANDS = {
    *("train", "evaluate", "predict", "compare", "archive", "view", "serve", "export"),
    *("download", "benchmark"),
}


def shell(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        arguments,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def said(monkeypatch, capsys):
    """Runs `polyp ARGUMENTS` in this process; gives the lines that it prints."""

    def run(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["polyp", *arguments])
        for command in (
            "train",
            "predict",
            "export",
            "download",
        ):  # that it is imported already makes `runpy` warn
            monkeypatch.delitem(sys.modules, f"polyp.commands.{command}", raising=False)
        main()
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def completed(said, monkeypatch):
    """The completions of a command line."""

    def run(line: str) -> set[str]:
        monkeypatch.setenv("COMP_LINE", line)
        return set(said("--complete"))

    return run


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_help_names_every_command(said, arguments):
    lines = said(*arguments)
    assert {line.split()[0] for line in lines if line.startswith("  ")} >= COMMANDS
    assert any(line.startswith("  compare ") and "runs=GLOB" in line for line in lines)


def test_the_version(said):
    assert said("--version") == [f"polyp {polyp.__version__}"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "error: polyp trian: no such command; did you mean polyp train?"),
        (["xyz"], "error: polyp xyz: no such command; see polyp --help"),
        (
            ["model=unet"],
            "error: polyp model=unet: no such command; see polyp --help",
        ),
        (["--completion", "csh"], "error: polyp --completion csh: must be one of bash, zsh, fish"),
    ],
)
def test_what_it_does_not_know(said, capsys, arguments, line):
    with pytest.raises(SystemExit) as exit:
        said(*arguments)
    assert exit.value.code == 1
    assert capsys.readouterr().err == f"{line}\n"


def test_a_command_of_it_is_composed_and_run(said):
    lines = said("train", "model=unet", "--cfg", "job")
    assert "seed: 0" in lines


# --- completion


def test_commands_are_completed(completed):
    assert completed("polyp ") >= COMMANDS
    assert completed("polyp e") == {"evaluate", "export"}
    assert completed("polyp trian ") == set()


def test_keys_and_values_are_completed(completed):
    assert completed("polyp train model=p4u") == {"model=p4unet", "model=p4unet_small"}
    assert completed("polyp train model=p4unet data.image_s") == {"data.image_size="}
    assert "device=" in completed("polyp predict ")


@pytest.mark.skipif(os.name == "nt" or not shutil.which("bash"), reason="there is no bash")
def test_bash_completes(tmp_path):
    (tmp_path / "polyp").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m polyp "$@"\n')
    (tmp_path / "polyp").chmod(0o755)
    script = """
        eval "$(polyp --completion bash)"
        complete -p polyp >&2
        COMP_LINE="polyp train model=p4unet_s" COMP_POINT=26 COMP_CWORD=2
        _polyp 2>/dev/null
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = shell("bash", "--norc", "-c", script, PATH=path)
    assert "-F _polyp" in done.stderr
    assert done.stdout == "model=p4unet_small\n"


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    "arguments", [["--help"], ["predict", "--help"], ["export", "--cfg", "job"]]
)
def test_a_reader_that_ends_early_is_no_error(arguments, buffered):
    """As `polyp train --help | head`: nothing reads the pipe any more."""
    read, write = os.pipe()
    os.close(read)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "" if buffered else "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "polyp", *arguments],
        env=environment,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_another_broken_pipe_is_raised():
    with pytest.raises(BrokenPipeError), quiet_when_stdout_closes():
        raise BrokenPipeError


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["export", "--output", "a"],
            "--output: no such option; use KEY=VALUE without dashes: polyp export",
        ),
        (["export", "run=a", "--cfg", "job", "output=b"], "output=b: options such as --config-dir"),
        (["export", "outputs/p4"], "outputs/p4: must be KEY=VALUE: polyp export run=PATH"),
        (["download"], "data= is missing: polyp download data=kvasir"),
    ],
)
def test_wrong_arguments_are_explained(said, capsys, arguments, line):
    with pytest.raises(SystemExit) as stop:
        said(*arguments)
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: {line}")


# --- scripts of the checkout


@pytest.mark.parametrize(
    ("script", "command"),
    [
        ("train", "train"),
        ("scripts/evaluate", "evaluate"),
        ("scripts/predict", "predict"),
        ("scripts/compare", "compare"),
        ("scripts/archive", "archive"),
        ("scripts/export", "export"),
        ("scripts/view", "view"),
        ("scripts/serve", "serve"),
        ("scripts/download_data", "download"),
        ("scripts/benchmark", "benchmark"),
        ("scripts/rotation_error", "rotation_error"),
    ],
)
def test_a_file_of_the_checkout_is_the_same_function(script, command):
    spec = importlib.util.spec_from_file_location("script", ROOT / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main is importlib.import_module(f"polyp.commands.{command}").main


@pytest.mark.parametrize("script", ["train", "scripts/predict", "scripts/benchmark"])
def test_it_is_found_from_any_folder(script, tmp_path):
    done = shell(sys.executable, str(ROOT / f"{script}.py"), "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_the_command_as_the_user_typed_it(monkeypatch):
    train = Path(polyp.__file__).parent / "commands" / "train.py"
    monkeypatch.setattr(sys, "argv", [str(train), "model=unet"])
    assert typed_command() == ["polyp", "train", "model=unet"]
    monkeypatch.setattr(sys, "argv", ["scripts/evaluate.py", "run=a"])
    assert typed_command() == ["python", "scripts/evaluate.py", "run=a"]
