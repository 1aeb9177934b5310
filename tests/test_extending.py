"""docs/extending.md: user code outside the package, found by --config-dir and PYTHONPATH alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from polyp.geometry import rotate
from polyp.models import UNet
from tests.conftest import TINY, TINY_SYNTHETIC

ONE_EPOCH = "trainer.max_epochs=1"
TRAINED = ["trainer.max_epochs=10", "optimizer.lr=0.03"]  # enough for the masks to mean something

CODE = '''
import json
import math
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn

from polyp.data import Dataset, Sample
from polyp.evaluation.metrics import Maps, Metric
from polyp.layers import ExpandedConv, LayerFamily
from polyp.tasks import Binary


class AreaError(Metric):
    """The difference of the predicted and the true area, as a part of the image."""

    def __call__(self, maps: Maps) -> Tensor:
        predicted = (maps.masks & maps.region).sum(dim=(2, 3))
        true = (maps.truth & maps.region).sum(dim=(2, 3))
        return ((predicted - true).abs() / maps.region.sum(dim=(2, 3))).double().cpu()


class JsonLines(Logger):
    """RUN/log.jsonl: one line per call."""

    name, version = "jsonlines", ""

    def __init__(self, save_dir: str):
        super().__init__()
        self.file = Path(save_dir) / "log.jsonl"

    def log_metrics(self, metrics, step=None):
        self._write({"step": step, **metrics})

    def log_hyperparams(self, params, *args, **kwargs):
        self._write({"hyperparameters": params})

    def _write(self, line):
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\\n")


class Discs(Dataset):
    """Bright discs; four images per patient."""

    name = "discs"

    def __init__(self, images: int, size: int = 40):
        self.images, self.size = images, size

    def samples(self):
        return [Sample(f"disc-{i:03d}", group=f"patient {i // 4}") for i in range(self.images)]

    def read(self, sample):
        generator = np.random.default_rng(int(sample.id[-3:]))
        y, x = np.mgrid[: self.size, : self.size] / self.size
        row, column = generator.uniform(0.3, 0.7, 2)
        mask = (y - row) ** 2 + (x - column) ** 2 < generator.uniform(0.1, 0.2) ** 2
        image = np.where(mask, 220, 60)[..., None] + generator.integers(0, 30, (*mask.shape, 3))
        return image.astype(np.uint8), mask.astype(np.uint8)

    def fingerprint(self):
        return f"discs {self.images} {self.size}"


class C2Layers(LayerFamily):
    """Equivariant under rotations by 180°: two orientations per field."""

    order = 2

    def lift(self, in_channels, fields):
        return C2Conv(in_channels, 1, fields, self.kernel_size)

    def conv(self, in_fields, fields, kernel_size=None, stride=1, groups=1):
        size = self.checked(in_fields, fields, kernel_size, stride, groups)
        return C2Conv(in_fields // groups, 2, fields, size, stride, groups)


class C2Conv(ExpandedConv):
    def __init__(self, in_fields, in_order, fields, size, stride=1, groups=1):
        super().__init__(stride, groups)
        self.weight = nn.Parameter(torch.empty(fields, in_fields, in_order, size, size))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (in_fields * in_order * size**2)))

    def expand(self):
        fields, in_fields, in_order, size, _ = self.weight.shape
        # The second kernel is the first one turned by 180°, with the input's orientations swapped.
        both = torch.stack([self.weight, self.weight.flip(dims=(2, 3, 4))], dim=1)
        return both.reshape(2 * fields, in_fields * in_order, size, size)


class Cautious(Binary):
    """A binary task that takes pixels above a given probability."""

    def __init__(self, above: float, classes=None):
        super().__init__(classes)
        self.above = above

    def decide(self, probabilities: Tensor) -> Tensor:
        return probabilities > self.above
'''

CONFIGS = {
    "metrics/area_error": "area_error:\n  _target_: my_polyp.AreaError\n",
    "logger/jsonlines": "jsonlines:\n  _target_: my_polyp.JsonLines\n  _partial_: true\n",
    "data/discs": """\
defaults: [base, _self_]
split: sequence
cache: null
dataset:
  _target_: my_polyp.Discs
  images: 40
""",
    "model/c2unet": "defaults: [unet, _self_]\nlayers:\n  _target_: my_polyp.C2Layers\n",
    "task/cautious": """\
# @package _global_
defaults: [binary, _self_]
task:
  _target_: my_polyp.Cautious
  above: 0.45
""",
}


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: my_polyp.py and configs/."""
    place = tmp_path_factory.mktemp("mine")
    (place / "my_polyp.py").write_text(CODE, encoding="utf-8")
    for name, text in CONFIGS.items():
        path = place / "configs" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return place


@pytest.fixture
def train(command_line, mine, monkeypatch):
    """`polyp train` with the user's folder on PYTHONPATH and as --config-dir."""
    monkeypatch.syspath_prepend(mine)
    monkeypatch.delitem(sys.modules, "my_polyp", raising=False)

    def run(*arguments: str, folder: str = "run") -> Path:
        return command_line("--config-dir", str(mine / "configs"), *arguments, folder=folder)

    return run


def metrics_of(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


# --- user code


def test_a_new_metric(train):
    """It arrives in scores.csv, metrics.json and TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(*TINY_SYNTHETIC, ONE_EPOCH, "metrics=[dice,area_error]")
    table = pd.read_csv(run / "scores.csv")
    assert list(table) == ["test_set", "group", "image", "dice", "area_error", "polyp_area"]
    assert table["area_error"].between(0, 1).all()
    assert table["area_error"].max() > 0
    test = metrics_of(run)["test"]
    assert test["area_error"]["mean"] == pytest.approx(table["area_error"].mean())
    assert "iou" not in test
    accumulator = EventAccumulator(str(run / "tensorboard")).Reload()
    (logged,) = accumulator.Scalars("test/area_error")
    assert logged.value == pytest.approx(test["area_error"]["mean"])


def test_a_new_metric_of_a_finished_run(script, mine, monkeypatch, finished_run, tmp_path):
    monkeypatch.syspath_prepend(mine)
    output = tmp_path / "again"
    options = [f"run={finished_run}", "metrics=[dice,area_error]", f"output={output}"]
    script("evaluate", "--config-dir", str(mine / "configs"), *options)
    table = pd.read_csv(output / "scores.csv")
    dice = pd.read_csv(finished_run / "scores.csv")["dice"]
    assert table["dice"].tolist() == dice.tolist()
    assert metrics_of(output)["test"]["area_error"]["mean"] == table["area_error"].mean()


def test_a_new_logger(train):
    run = train(*TINY_SYNTHETIC, ONE_EPOCH, "logger=[tensorboard,jsonlines]")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    logged = {key: value for line in lines for key, value in line.items()}
    metrics = metrics_of(run)
    assert logged["val/dice"] == pytest.approx(metrics["val"]["dice"])
    assert logged["test/dice"] == metrics["test"]["dice"]["mean"]
    assert logged["hyperparameters"]["optimizer"] == "AdamW"
    assert (run / "tensorboard").is_dir()


def test_a_new_dataset(train):
    """Its groups stay together in the split, and arrive in the tables."""
    run = train(*TINY, ONE_EPOCH, "data=discs")
    split = json.loads((run / "split.json").read_text())
    assert sum(map(len, split.values())) == 40
    patients = [{int(id[-3:]) // 4 for id in ids} for ids in split.values()]
    assert not patients[0] & patients[1]
    assert not (patients[0] | patients[1]) & patients[2]
    table = pd.read_csv(run / "scores.csv")
    assert table["image"].tolist() == split["test"]
    assert table["group"].tolist() == [f"patient {int(id[-3:]) // 4}" for id in split["test"]]
    metrics = metrics_of(run)
    assert metrics["data"] == "discs"
    assert metrics["test"]["groups"] == len(patients[2])


def test_a_new_layer_family(train, script, tmp_path):
    """It is equivariant at 180°, and a run of it is evaluated and exported."""
    run = train(*TINY_SYNTHETIC, *TRAINED, "model=c2unet", "evaluation.angles=[0,45,90,180]")
    curve = metrics_of(run)["equivariance"]["curve"]
    at = dict(zip(curve["angles"], curve["dice"], strict=True))
    assert at[180.0] == 1.0
    assert at[90.0] < 1

    import my_polyp

    network = UNet([4, 4], my_polyp.C2Layers()).eval()
    image = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        turned = network(rotate(image, 180))
        torch.testing.assert_close(turned, rotate(network(image), 180))

    script("evaluate", f"run={run}", f"output={tmp_path / 'again'}")
    assert metrics_of(tmp_path / "again")["test"] == metrics_of(run)["test"]
    script("export", f"run={run}", f"output={tmp_path / 'network.pt2'}")
    assert (tmp_path / "network.pt2").is_file()


def test_a_new_task(train):
    """Its masks are what is scored."""
    binary = train(*TINY_SYNTHETIC, ONE_EPOCH, "metrics=[recall,precision]", folder="binary")
    options = [ONE_EPOCH, "task=cautious", "metrics=[recall,precision]"]
    lower = train(*TINY_SYNTHETIC, *options, folder="cautious")
    all_pixels = train(*TINY_SYNTHETIC, *options, "task.above=0", folder="all")
    assert metrics_of(all_pixels)["test"]["recall"]["mean"] == 1
    recalls = [pd.read_csv(run / "scores.csv")["recall"] for run in (binary, lower)]
    assert (recalls[1] >= recalls[0]).all()
    assert (recalls[1] > recalls[0]).any()


@pytest.mark.slow
def test_all_of_it_from_the_shell(mine, tmp_path):
    """In a process of its own, where PYTHONPATH is all that leads to the user's code."""
    paths = [str(mine), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", "polyp", "train", "--config-dir", str(mine / "configs")]
    options = ["model=c2unet", "data=discs", "metrics=[dice,area_error]", "logger=jsonlines"]
    done = subprocess.run(
        [*command, *options, *TINY, ONE_EPOCH, "hydra.run.dir=run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert metrics_of(tmp_path / "run")["test"]["area_error"]["mean"] >= 0
    assert (tmp_path / "run" / "log.jsonl").is_file()


# --- the options that the documentation shows


def test_three_classes(train):
    """Dice and equivariance per class."""
    classes = ["task=multiclass", "task.classes=[background,polyp,instrument]"]
    run = train(*TINY_SYNTHETIC, *TRAINED, *classes)
    metrics, table = metrics_of(run), pd.read_csv(run / "scores.csv")
    dice = metrics["test"]["dice"]
    assert list(dice["by_class"]) == ["polyp", "instrument"]
    for name, summary in dice["by_class"].items():
        assert summary["mean"] == pytest.approx(table[f"dice.{name}"].mean())
    both = table[["dice.polyp", "dice.instrument"]].mean(axis=1)
    assert table["dice"].tolist() == pytest.approx(both.tolist())
    assert dice["mean"] == pytest.approx(both.mean())

    equivariance = pd.read_csv(run / "equivariance.csv")
    for name, summary in metrics["equivariance"]["by_class"].items():
        turned = equivariance[equivariance["angle"] != 0]
        assert summary["mean"] == pytest.approx(turned[f"dice.{name}"].mean())
        assert summary["at_90"] == 1  # p4 is exact there
        assert summary["off_grid"] < 1
    assert set(metrics["equivariance"]["by_class"]) == {"polyp", "instrument"}


def test_grey_images(train, script, tmp_path):
    """One channel, from training to prediction."""
    run = train(*TINY_SYNTHETIC, *TRAINED, "data.channels=1")
    weights = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert weights["model.lift.0.weight"].shape[1] == 1
    assert metrics_of(run)["equivariance"]["at_90"] == 1
    grey = np.random.default_rng(0).integers(0, 256, (48, 40), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "frame.png")
    script("predict", f"run={run}", f"input={tmp_path / 'frame.png'}", f"output={tmp_path / 'out'}")
    with Image.open(tmp_path / "out" / "masks" / "frame.png") as mask:
        assert mask.size == (40, 48)


def test_a_network_that_finds_nothing(train):
    """Its consistency is undefined, which ends no run."""
    run = train(*TINY_SYNTHETIC, ONE_EPOCH, "task=cautious", "task.above=0.9999")
    equivariance = metrics_of(run)["equivariance"]
    assert equivariance["mean"] is None
    assert equivariance["undefined"] == 1
    assert set(equivariance["curve"]["dice"]) == {None}


def test_the_library_measures_any_network():
    """The five lines of docs/evaluation.md."""
    import polyp.evaluation

    network = torch.nn.Conv2d(3, 1, 5, padding=2, bias=False)
    with torch.no_grad():
        network.weight -= network.weight.mean()  # for masks that are neither empty nor full
    images = torch.rand(4, 3, 32, 32)
    result = polyp.evaluation.equivariance(network, images, stride=1)
    table = result.table()
    assert table["angle"].tolist() == list(range(0, 91, 5))
    assert table["consistency"].iloc[0] == 1
    assert 0 < result.summary()["off_grid"] < 1
    assert result.summary()["shift"]["one_pixel"] == pytest.approx(1, abs=1e-6)
