"""What tests share: small datasets on disk, the real ones where there are, and the command line."""

import importlib
import os
import shutil
import sys

# Before torch is imported, here and in the processes that tests start: its threads bring nothing to
# networks this small, and stand in the way of tests that run at the same time.
os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyp.commands import train
from polyp.data.synthetic import scene

KVASIR_TWINS = ("cju76lsehyia10987u54vn8rb", "cju772304yw5t0818vbw8kkjf")


@pytest.fixture
def real_data() -> Path:
    """The folder of the real datasets; the test is skipped where there is none."""
    root = Path(os.environ.get("POLYP_DATA", ""))
    if not (root / "CVC-ClinicDB").is_dir() or not (root / "Kvasir-SEG").is_dir():
        pytest.skip("POLYP_DATA names no folder with CVC-ClinicDB and Kvasir-SEG")
    return root


def write_pairs(
    images: Path, masks: Path, ids: list[str], suffix: str = ".png", shape=(36, 48)
) -> None:
    """Writes pairs of generated scenes, cut to `shape` (height, width)."""
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    for index, id in enumerate(ids):
        image, mask = scene(0, index, max(shape))
        image, mask = image[: shape[0], : shape[1]], mask[: shape[0], : shape[1]]
        Image.fromarray(image).save(images / f"{id}{suffix}")
        Image.fromarray(mask.astype(np.uint8) * 255).save(masks / f"{id}{suffix}")


@pytest.fixture
def folder_dataset(tmp_path: Path) -> Path:
    """Twelve pairs in `images` and `masks`."""
    root = tmp_path / "dataset"
    write_pairs(root / "images", root / "masks", [f"polyp{i}" for i in range(12)])
    return root


@pytest.fixture
def kvasir_dataset(tmp_path: Path) -> Path:
    """Twelve pairs in Kvasir-SEG's layout, two of them known near copies."""
    root = tmp_path / "Kvasir-SEG"
    ids = [*KVASIR_TWINS, *(f"cju{i:02d}" for i in range(10))]
    write_pairs(root / "images", root / "masks", ids, ".jpg")
    return root


@pytest.fixture
def cvc_dataset(tmp_path: Path) -> Path:
    """Every 25th frame in CVC-ClinicDB's layout."""
    root = tmp_path / "CVC-ClinicDB"
    write_pairs(root / "Original", root / "Ground Truth", [str(i) for i in range(1, 613, 25)])
    return root


CONFIGS = Path(__file__).parents[1] / "configs"

# The smallest network and shortest run that go through everything.
TINY = [
    "model.widths=[4,4]",
    "data.image_size=32",
    "data.batch_size=4",
    "trainer=cpu",
    "trainer.max_epochs=2",
    "evaluation.angles=[0,45,90]",
]
TINY_SYNTHETIC = [*TINY, "data.dataset.images=20"]


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Runs the command `train` in this process, as the shell would; gives the run's folder."""

    def run(*arguments: str, folder: str = "run") -> Path:
        place = tmp_path / folder
        arguments = (*arguments, f"hydra.run.dir={place}")
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        train.main()
        return place

    return run


@pytest.fixture
def refused(command_line, capfd: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs train.py, which must end with status 1 and one line on standard error: that line."""

    def run(*arguments: str) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit:
            command_line(*arguments)
        assert exit.value.code == 1
        lines = capfd.readouterr().err.splitlines()
        lines = [line for line in lines if line.strip()]
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


# --- the scripts


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on a folder of pairs of 36×48 pixels, beside it. For tests that only read it."""
    place = tmp_path_factory.mktemp("finished")
    root = place / "dataset"
    write_pairs(root / "images", root / "masks", [f"polyp{i}" for i in range(20)])
    options = [*TINY, "data=folder", f"data.root={root}", "data.cache=null"]
    options += [f"hydra.run.dir={place / 'run'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *options])
        train.main()
    return place / "run"


@pytest.fixture(scope="session")
def two_runs(finished_run, tmp_path_factory) -> list[Path]:
    """A finished run, and one with other weights."""
    other = tmp_path_factory.mktemp("runs") / "other"
    shutil.copytree(finished_run, other)
    path = other / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    torch.manual_seed(1)
    for value in checkpoint["state_dict"].values():
        if value.is_floating_point():
            value.add_(0.05 * torch.randn_like(value) * value.std(unbiased=False))
    torch.save(checkpoint, path)
    return [finished_run, other]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs what scripts/NAME.py runs, in this process, as the shell would."""

    def run(name: str, *arguments: str) -> None:
        command = {"download_data": "download"}.get(name, name)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        importlib.import_module(f"polyp.commands.{command}").main()

    return run


@pytest.fixture
def script_refused(script, capfd: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs a script, which must end with status 1 and one line on standard error: that line."""

    def run(name: str, *arguments: str) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit:
            script(name, *arguments)
        assert exit.value.code == 1
        lines = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0]

    return run
