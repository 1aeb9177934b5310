"""The wheel by itself: in a fresh environment and from an empty folder, with no checkout near."""

import csv
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import TINY, TINY_SYNTHETIC, write_pairs

ROOT = Path(__file__).parents[1]
# All that the wheel is made of.
SOURCES = ("polyp", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Installed:
    """`polyp` as installed.

    Attributes:
        here: the folder where it is called.
        binaries: where it and its Python are.
    """

    here: Path
    binaries: Path

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """Runs `polyp ARGUMENTS`; gives what it prints, or what it says of its failure."""
        done = self.run("polyp", *arguments)
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.binaries / command[0], *command[1:]],
            cwd=self.here,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, source)
    # Without isolation, as the build's own environment would have to be fetched.
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run(
        [sys.executable, "-m", "pip", *build, source / "dist", source],
        check=True,
        cwd=source,
        env=_environment(),
    )
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def polyp(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """In an environment of its own, and in an empty folder."""
    place, here = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("here")
    venv.create(place, symlinks=os.name != "nt")
    binaries = place / ("Scripts" if os.name == "nt" else "bin")
    install = ["--python", binaries / "python", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run(
        [sys.executable, "-m", "pip", *install, wheel],
        check=True,
        env=_environment(),
    )
    # What it depends on is not fetched anew. A path in a .pth file is searched last, and the .pth
    # files that lie there, as that of an editable install, are not read.
    paths = {"base": str(place), "platbase": str(place)}
    site = Path(sysconfig.get_path("purelib", "venv", paths))
    dependencies = "\n".join(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (site / "dependencies.pth").write_text(dependencies, encoding="utf-8")
    return Installed(here, binaries)


def _environment() -> dict[str, str]:
    """Nothing that leads to the checkout."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def test_it_holds_every_config_and_no_more_than_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        for config in (ROOT / "configs").rglob("*.yaml"):
            inside = f"polyp/configs/{config.relative_to(ROOT / 'configs').as_posix()}"
            assert archive.read(inside) == config.read_bytes()
    assert {name.split("/")[0] for name in names} == {"polyp"}
    assert "polyp/py.typed" in names
    assert wheel.name.startswith("polyp_equivariance-")


def test_it_is_what_is_imported(polyp):
    code = "import polyp; print(polyp.__file__, polyp.__version__)"
    file, version = polyp.run("python", "-c", code).stdout.split()
    assert Path(file).is_relative_to(polyp.binaries.parent)
    assert polyp("--version") == f"polyp {version}\n"
    assert version[0].isdigit()


def test_from_training_to_comparison(polyp):
    """On a folder of images with a config of the user's own, and on generated scenes."""
    here = polyp.here
    write_pairs(here / "images", here / "masks", [f"polyp{i}" for i in range(12)])
    (here / "mine" / "experiment").mkdir(parents=True)
    (here / "mine" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nmodel:\n  widths: [4, 4]\nseed: 3\n", encoding="utf-8"
    )
    own = ["--config-dir", "mine", "experiment=mine", "data=folder", f"data.root={here}"]
    tiny = [option for option in TINY if "widths" not in option]
    polyp("train", *own, *tiny, "model=p4unet", "data.cache=null", "hydra.run.dir=runs/a")
    polyp("train", *TINY_SYNTHETIC, "model=unet", "hydra.run.dir=runs/b")
    metrics = json.loads((here / "runs" / "a" / "metrics.json").read_text())
    provenance = json.loads((here / "runs" / "a" / "provenance.json").read_text())
    assert metrics["seed"] == 3
    assert provenance["command"].startswith("polyp train --config-dir mine experiment=mine ")
    assert provenance["commit"] is None

    polyp("evaluate", "run=runs/a", "output=again")
    assert json.loads((here / "again" / "metrics.json").read_text())["test"] == metrics["test"]
    polyp("predict", "run=runs/a", "input=images", "output=found", "angles=[]")
    with (here / "found" / "predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 12
    polyp("export", "run=runs/a", "output=polyp.onnx")
    assert (here / "polyp.onnx").stat().st_size > 0
    polyp("compare", "runs=runs", "output=comparison")
    assert (here / "comparison" / "index.html").exists()


def test_processes_that_train_together(polyp):
    """Lightning starts the second with the command of the first."""
    options = [*TINY_SYNTHETIC, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    polyp("train", *options, "trainer.sync_batchnorm=false", "hydra.run.dir=ddp")
    assert (polyp.here / "ddp" / "metrics.json").exists()


def test_benchmarks_need_a_checkout(polyp):
    (line,) = polyp("benchmark", status=1).splitlines()
    assert line.startswith("error: the installed package does not contain the benchmarks: ")
