"""The main job through the real command line: what a run leaves, resuming, and refusals."""

import csv
import functools
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from polyp.data import DataModule, Synthetic
from polyp.errors import UserError
from polyp.evaluation import rotation_sweep, scores
from polyp.layers import P4Layers, SteerableLayers
from polyp.models import UNet, multiply_adds
from polyp.runs.loading import load_checkpoint
from polyp.runs.train import _check_norms
from polyp.training import BCEDiceLoss, one_cycle
from tests.conftest import TINY, TINY_SYNTHETIC, write_pairs

ROOT = Path(__file__).parents[2]


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "train.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    checkpoint = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return checkpoint["state_dict"]


def seconds(checkpoint: Path) -> float:
    """Of training, up to a checkpoint."""
    return torch.load(checkpoint, weights_only=True)["callbacks"]["Checkpoints"]["seconds"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Events:
    """What TensorBoard reads of a run.

    Attributes:
        scalars: {tag: [(step, value)]}.
        images: {tag: [(step, PNG)]}.
        hyperparameters: {name: value}.
    """

    def __init__(self, run: Path):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        self.scalars, self.images, self.hyperparameters = {}, {}, {}
        for events in run.rglob("events.out.tfevents.*"):
            read = EventAccumulator(str(events), {"scalars": 0, "images": 0}).Reload()
            for tag in read.Tags()["scalars"]:
                assert tag == "epoch" or tag not in self.scalars
                self.scalars[tag] = [(point.step, point.value) for point in read.Scalars(tag)]
            for tag in read.Tags()["images"]:
                self.images[tag] = [(i.step, i.encoded_image_string) for i in read.Images(tag)]
            start = read.summary_metadata.get("_hparams_/session_start_info")
            if start is not None:
                data = HParamsPluginData.FromString(start.plugin_data.content)
                self.hyperparameters = {
                    name: getattr(value, value.WhichOneof("kind"))
                    for name, value in data.session_start_info.hparams.items()
                }


# --- what a run leaves


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A short run of the real defaults in a shell of its own."""
    folder = tmp_path_factory.mktemp("run")
    watched = ["evaluation.every_n_epochs=1", "trainer.log_every_n_steps=1"]
    done = shell(*TINY_SYNTHETIC, *watched, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_holds_all_that_the_contract_names(run: Path):
    for name in (
        ".hydra/config.yaml",
        "split.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "metrics.json",
        "scores.csv",
        "equivariance.csv",
        "equivariance.png",
        "equivariance.pdf",
        "predictions.png",
        "provenance.json",
        "train.log",
    ):
        assert (run / name).stat().st_size > 0, name
    assert list(run.rglob("events.out.tfevents.*"))
    assert not list(run.rglob(".*.ckpt")), "temporary files are left"


def test_the_metrics_agree_with_the_tables(run: Path):
    metrics = json.loads((run / "metrics.json").read_text())
    split = json.loads((run / "split.json").read_text())
    scores = read_csv(run / "scores.csv")
    assert list(scores[0]) == [
        *("test_set", "group", "image", "dice", "iou", "precision", "recall", "polyp_area")
    ]
    assert {(row["test_set"], row["group"]) for row in scores} == {("own", "")}
    assert sorted(row["image"] for row in scores) == sorted(split["test"])
    dice = np.array([float(row["dice"]) for row in scores])
    assert metrics["test"]["dice"]["mean"] == pytest.approx(dice.mean(), abs=1e-12)
    assert metrics["test"]["dice"]["median"] == pytest.approx(np.median(dice), abs=1e-12)
    low, high = metrics["test"]["dice"]["ci95"]
    assert low <= metrics["test"]["dice"]["mean"] <= high
    curve = read_csv(run / "equivariance.csv")
    assert list(curve[0])[:6] == ["test_set", "group", "image", "angle", "dice", "dice_truth"]
    assert len(curve) == 3 * len(split["test"])
    at_90 = [float(row["dice"]) for row in curve if float(row["angle"]) == 90]
    assert metrics["equivariance"]["at_90"] == pytest.approx(np.mean(at_90), abs=1e-12)
    assert metrics["equivariance"]["at_90"] > 0.999  # the default model is equivariant under p4
    assert 0.9 < metrics["equivariance"]["ceiling"] <= 1
    assert {k: metrics[k] for k in ("model", "data", "split", "seed")} == {
        "model": "p4unet",
        "data": "synthetic",
        "split": "random",
        "seed": 0,
    }
    assert metrics["parameters"] == sum(
        value.numel()
        for key, value in weights(run).items()
        if key.startswith("model.") and key.endswith(("weight", "bias"))
    )


def test_the_metrics_say_what_was_trained(run: Path):
    metrics = json.loads((run / "metrics.json").read_text())
    dice = [value for _, value in Events(run).scalars["val/dice"]]
    assert metrics["epochs"] == len(dice) == 2
    assert metrics["val"]["dice"] == pytest.approx(max(dice))
    assert metrics["best_epoch"] == 1 + dice.index(max(dice))
    assert (metrics["augmentation"], metrics["image_size"]) == ("none", 32)
    model = UNet([4, 4], P4Layers())
    assert metrics["multiply_adds"] == multiply_adds(model, 32)
    for name, epoch in (("best", metrics["best_epoch"]), ("last", 2)):
        checkpoint = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert checkpoint["epoch"] == epoch - 1


def test_the_log_says_what_the_metrics_say(run: Path):
    metrics = json.loads((run / "metrics.json").read_text())
    test, equivariance = metrics["test"], metrics["equivariance"]
    low, high = test["dice"]["ci95"]
    log = (run / "train.log").read_text()
    for line in (
        f"p4unet: {metrics['parameters']:,} parameters, "
        f"{metrics['multiply_adds'] / 1e9:.2f} G MACs per image of 32 pixels",
        f"test Dice {test['dice']['mean']:.4f} (95% interval {low:.4f} to {high:.4f}, "
        f"median {test['dice']['median']:.4f}) on 3 images",
        f"test iou {test['iou']['mean']:.4f}",
        f"consistency {equivariance['mean']:.4f} on average, {equivariance['min']:.4f} at the "
        f"worst angle, {equivariance['off_grid']:.4f} at angles that are not multiples of 90°; "
        f"{100 * equivariance['undefined']:.1f} % undefined; split random",
        "synthetic: 14 train, 3 val, 3 test",
    ):
        assert f" {line}\n" in log
    scalars = Events(run).scalars
    epochs = zip(
        *(scalars[name] for name in ("train/loss_epoch", "val/loss", "val/dice")), strict=True
    )
    for i, ((_, train_loss), (_, val_loss), (_, dice)) in enumerate(epochs):
        line = f"epoch {i + 1}/2  train loss {train_loss:.3f}  val loss {val_loss:.3f}  "
        assert f"{line}val Dice {dice:.4f}  " in log


def test_tensorboard_shows_the_curves_of_training(run: Path):
    events = Events(run)
    steps = {name: [step for step, _ in points] for name, points in events.scalars.items()}
    assert steps["train/loss_step"] == steps["train/learning_rate"] == list(range(8))
    for name in ("train/loss_epoch", "val/loss", "val/dice"):
        assert steps[name] == [3, 7]  # the last steps of the epochs
    for angle in (30, 45, 90):
        assert steps[f"val/equivariance_{angle}"] == [3, 7]
    # Fourteen images an epoch: the last batch of four holds two.
    losses = [value for _, value in events.scalars["train/loss_step"]]
    means = [np.average(losses[i : i + 4], weights=[4, 4, 4, 2]) for i in (0, 4)]
    assert [v for _, v in events.scalars["train/loss_epoch"]] == pytest.approx(means, rel=1e-5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-3)
    schedule = one_cycle(optimizer, total_steps=8)
    rates = schedule.get_last_lr()
    for _ in range(7):
        optimizer.step()
        schedule.step()
        rates += schedule.get_last_lr()
    assert [v for _, v in events.scalars["train/learning_rate"]] == pytest.approx(rates, rel=1e-5)


def test_tensorboard_shows_the_scores_of_the_validation_set(run: Path):
    """Those of the last epoch, measured again with its weights."""
    model = UNet([4, 4], P4Layers())
    load_checkpoint(model, run / "checkpoints" / "last.ckpt")
    data = DataModule(Synthetic(images=20, size=32, seed=0), image_size=32, batch_size=20)
    data.setup()
    assert data.ids == json.loads((run / "split.json").read_text())
    (batch,) = data.loader("val")
    with torch.no_grad():
        logits = model.eval()(batch["image"])
    curve = rotation_sweep(model, [batch], [30, 45, 90], "cpu").curve()
    expected = {
        "val/loss": BCEDiceLoss()(logits, batch["mask"]).item(),
        "val/dice": scores(logits > 0, batch["mask"], batch["valid"])["dice"].mean().item(),
        **{
            f"val/equivariance_{angle:g}": dice
            for angle, dice in zip(curve["angles"], curve["dice"], strict=True)
        },
    }
    shown = {name: Events(run).scalars[name][-1][1] for name in expected}
    assert shown == pytest.approx(expected, rel=1e-4)


def test_tensorboard_shows_the_final_metrics(run: Path):
    metrics = json.loads((run / "metrics.json").read_text())
    test, equivariance = metrics["test"], metrics["equivariance"]
    scalars = Events(run).scalars
    finals = {
        "test/dice": test["dice"]["mean"],
        "test/iou": test["iou"]["mean"],
        "equivariance/mean": equivariance["mean"],
        "equivariance/min": equivariance["min"],
    }
    assert len(set(finals.values())) == 4, "one could stand for another"
    for name, value in finals.items():
        assert scalars[name] == [(0, pytest.approx(value))]
    curve = zip(equivariance["curve"]["angles"], equivariance["curve"]["dice"], strict=True)
    by_angle = [(angle, pytest.approx(dice)) for angle, dice in curve]
    assert scalars["equivariance/dice_by_angle"] == by_angle


def test_tensorboard_shows_images_and_figures(run: Path):
    images = Events(run).images
    assert [step for step, _ in images["val/masks"]] == [3, 7]
    for name in ("equivariance", "predictions"):
        ((step, png),) = images[f"test/{name}"]
        assert step == 2  # epochs
        with Image.open(io.BytesIO(png)) as shown, Image.open(run / f"{name}.png") as written:
            assert np.array_equal(np.asarray(shown), np.asarray(written.convert("RGB")))


def test_tensorboard_shows_the_hyperparameters(run: Path):
    assert Events(run).hyperparameters == {
        "model": "p4unet",
        "data": "synthetic",
        "augmentation": "none",
        "split": "random",
        "seed": 0,
        "parameters": json.loads((run / "metrics.json").read_text())["parameters"],
        "image_size": 32,
        "batch_size": 4,
        "epochs": 2,
        "optimizer": "AdamW",
        "optimizer/lr": 0.003,
        "optimizer/weight_decay": 0.0001,
        "schedule": "one_cycle",
        "schedule/warmup": 0.3,
        "model/widths": "[4, 4]",
        "model/pool": "max",
        "model/upsample": "bilinear",
        "model/margin": 0,
        "model/project": "max",
        "model/prior": "None",
        "model/in_channels": 3,
        "model/out_channels": 1,
        "model/layers.kernel_size": 3,
        "model/layers.reflections": False,
    }


@pytest.mark.slow
def test_the_default_run_takes_under_three_minutes_and_learns(tmp_path: Path):
    """`python train.py` as it is: full-width p4 U-Net on the synthetic set.

    Three minutes of two cores are six of processor time, which other tests at the same time do not
    take away; five leave something for where the two wait for each other.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "train.py", f"hydra.run.dir={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 300
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["parameters"] == 1_963_453
    assert metrics["test"]["dice"]["mean"] > 0.7
    curve = read_csv(tmp_path / "equivariance.csv")
    quarter_turns = [float(r["dice"]) for r in curve if float(r["angle"]) in (90, 180, 270)]
    assert min(quarter_turns) > 0.995


def test_composing_the_config_needs_no_torch(tmp_path: Path):
    """So that --help and --cfg answer at once."""
    code = (
        "import sys, train; sys.argv = ['train.py', '--cfg', 'job']\n"
        "try: train.main()\n"
        "finally: assert not {'torch', 'lightning', 'e2cnn'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# --- resuming


@pytest.mark.parametrize(
    "options",
    [
        ["augmentation=none"],
        ["augmentation=full"],
        ["model=se2unet", "model.layers.rotations=4", "model.layers.offset=random"],
    ],
    ids=["plain", "augmented", "random angles"],
)
def test_a_resumed_run_ends_with_the_same_weights(command_line, monkeypatch, options):
    """Killed in the second epoch and resumed, bit for bit as if never stopped."""
    from polyp.training import Segmentation

    options = [*TINY_SYNTHETIC, "trainer.max_epochs=3", *options]
    whole = command_line(*options, folder="whole")

    training_step = Segmentation.training_step

    def killed(module, batch, batch_index):
        if module.current_epoch == 1 and batch_index == 1:
            raise RuntimeError("power failure")
        return training_step(module, batch, batch_index)

    monkeypatch.setattr(Segmentation, "training_step", killed)
    with pytest.raises(RuntimeError, match="power failure"):
        command_line(*options, folder="stopped")
    monkeypatch.undo()

    stopped = whole.with_name("stopped")
    last = stopped / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["epoch"] == 0
    before = seconds(last)
    # In another folder and in the same one.
    for folder in ("elsewhere", "stopped"):
        resumed = command_line(*options, f"resume={last}", folder=folder)
        assert same(weights(whole), weights(resumed))
        assert same(weights(whole, "best"), weights(resumed, "best"))
        assert seconds(resumed / "checkpoints" / "last.ckpt") > before
        for name in ("metrics.json", "scores.csv", "equivariance.csv", "split.json"):
            assert (whole / name).read_text() == (resumed / name).read_text(), name


def test_control_c_keeps_the_step_and_prints_the_resume_hint(tmp_path: Path):
    options = [*TINY_SYNTHETIC, "trainer.max_epochs=10000", f"hydra.run.dir={tmp_path}"]
    last = tmp_path / "checkpoints" / "last.ckpt"
    with subprocess.Popen(
        [sys.executable, "train.py", *options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, a child would ignore the signal.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not last.exists():
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    overrides = f"resume={last} hydra.run.dir={tmp_path}"
    line = f"Interrupted. To continue, repeat the command with: {overrides}"
    assert stderr.splitlines()[-1] == line
    assert "Traceback" not in stderr
    assert torch.load(last, weights_only=True)["epoch"] >= 0


def test_the_best_checkpoint_goes_along_into_another_folder(command_line):
    """Even if no later epoch is better."""
    options = [*TINY_SYNTHETIC, "optimizer.lr=1e-30", "schedule=constant"]
    first = command_line(*options, folder="first")
    last = first / "checkpoints" / "last.ckpt"
    second = command_line(*options, "trainer.max_epochs=3", f"resume={last}", folder="second")
    assert json.loads((second / "metrics.json").read_text())["epochs"] == 3
    assert (second / "checkpoints" / "best.ckpt").exists()


def test_a_run_is_never_overwritten(command_line, refused):
    folder = command_line(*TINY_SYNTHETIC)
    before = (folder / "checkpoints" / "last.ckpt").read_bytes()
    assert "already has a run" in refused(*TINY_SYNTHETIC)
    assert (folder / "checkpoints" / "last.ckpt").read_bytes() == before


def test_nor_by_the_resumption_of_another_run(command_line, refused):
    one = command_line(*TINY_SYNTHETIC, folder="one")
    other = command_line(*TINY_SYNTHETIC, "seed=1", folder="run")
    before = [(other / name).read_bytes() for name in ("metrics.json", "checkpoints/best.ckpt")]
    line = refused(*TINY_SYNTHETIC, f"resume={one / 'checkpoints' / 'last.ckpt'}")
    assert f"hydra.run.dir={other} already has a run: resume={other}/checkpoints/last" in line
    assert before == [
        (other / name).read_bytes() for name in ("metrics.json", "checkpoints/best.ckpt")
    ]


def test_a_resumed_run_keeps_its_curves_in_a_csv_file(command_line):
    options = [*TINY_SYNTHETIC, "logger=csv", "schedule=constant", "trainer.log_every_n_steps=1"]
    whole = command_line(*options, "trainer.max_epochs=3", folder="whole")
    run = command_line(*options, folder="run")
    last = run / "checkpoints" / "last.ckpt"
    command_line(*options, "trainer.max_epochs=3", f"resume={last}", folder="run")
    one, other = (pd.read_csv(folder / "csv" / "metrics.csv") for folder in (whole, run))
    assert len(one) > 10
    times = [name for name in one if "seconds" in name or "time" in name]
    pd.testing.assert_frame_equal(
        one.drop(columns=times), other[one.columns].drop(columns=times), check_dtype=False
    )


def test_trained_images_in_another_test_set_are_warned_of(command_line, capsys, cvc_dataset):
    own = ["data=cvc", f"data.root={cvc_dataset}", "data.partial=true", "data.cache=null"]
    both = [
        "test_sets=[own,cvc]",
        f"test_sets.cvc.root={cvc_dataset}",
        "test_sets.cvc.partial=true",
    ]
    run = command_line(*TINY, *own, *both, "trainer.max_epochs=1")
    split = json.loads((run / "split.json").read_text())
    trained, images = len(split["train"]) + len(split["val"]), sum(map(len, split.values()))
    line = f"cvc: {trained} of the {images} test images were in the training or validation set"
    printed = capsys.readouterr().out
    assert line in printed
    assert printed.count("were in the training") == 1  # not for its own test part


@pytest.mark.parametrize("split", ["random", "sequence"])
def test_patients_in_training_and_test_are_warned_of(command_line, capsys, tmp_path, split):
    folders = tmp_path / "images", tmp_path / "masks"
    write_pairs(*folders, [f"p{i % 5}_{i}" for i in range(20)])
    own = ["data=folder", f"data.root={tmp_path}", "data.cache=null", f"data.split={split}"]
    run = command_line(*TINY, *own, "data.dataset.group='(.+)_'", "trainer.max_epochs=1")
    parts = json.loads((run / "split.json").read_text())
    patient = {id: id.split("_")[0] for ids in parts.values() for id in ids}
    shared = [id for id in parts["test"] if patient[id] in {patient[i] for i in parts["train"]}]
    line = f"{len(shared)} of {len(parts['test'])} test images have other images of their group"
    assert bool(shared) == (split == "random")
    assert (line in capsys.readouterr().out) == (split == "random")


def test_no_logger(command_line):
    run = command_line(*TINY_SYNTHETIC, "logger=[]", "trainer.max_epochs=1")
    assert (run / "metrics.json").exists()
    assert not (run / "tensorboard").exists()


def test_a_refused_resumption_leaves_the_run_as_it_is(command_line, refused):
    folder = command_line(*TINY_SYNTHETIC)
    kept = ("metrics.json", "split.json", ".hydra/config.yaml")
    before = [(folder / name).read_bytes() for name in kept]
    last = folder / "checkpoints" / "last.ckpt"
    assert "a one-cycle schedule of" in refused(
        *TINY_SYNTHETIC, "trainer.max_epochs=3", f"resume={last}"
    )
    assert [(folder / name).read_bytes() for name in kept] == before


# --- options


def test_a_split_file_is_used_as_it_is(command_line, tmp_path):
    ids = [f"scene-{i:04d}" for i in range(20)]
    split = {"train": ids[8:16], "val": ids[4:8], "test": ids[0:4]}
    (tmp_path / "mine.json").write_text(json.dumps(split))
    run = command_line(*TINY_SYNTHETIC, f"data.split_file={tmp_path / 'mine.json'}")
    assert json.loads((run / "split.json").read_text()) == split
    assert json.loads((run / "metrics.json").read_text())["split"] == "file"


@pytest.mark.parametrize(
    "options",
    [
        ["optimizer=sgd", "schedule=cosine"],
        ["schedule=constant", "early_stopping_patience=1", "data.num_workers=1"],
    ],
    ids=" ".join,
)
def test_other_choices_run(command_line, options):
    assert (command_line(*TINY_SYNTHETIC, *options) / "metrics.json").exists()


@pytest.mark.parametrize("dataset", ["kvasir", "cvc", "folder"])
def test_datasets_on_disk_run(command_line, tmp_path, request, dataset):
    root = request.getfixturevalue(f"{dataset}_dataset")
    options = [*TINY, f"data={dataset}", f"data.root={root}", f"data.cache={tmp_path / 'cache'}"]
    options.append("data.partial=true")
    first = command_line(*options, folder="first")
    second = command_line(*options, folder="second")  # from the cache
    assert (first / "scores.csv").read_text() == (second / "scores.csv").read_text()


def test_statistics_over_several_gpus_need_a_norm_that_has_them():
    continuous = SteerableLayers(3, rotations="continuous")
    with pytest.raises(UserError, match=r"add trainer.sync_batchnorm=false"):
        _check_norms(UNet([2, 2], continuous))
    _check_norms(UNet([2, 2], P4Layers()))


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path: Path):
    """trainer=ddp, on the CPU: each process has half of the images, and they step together."""

    options = [
        *(option for option in TINY if option not in ("trainer=cpu", "data.batch_size=4")),
        *("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"),
        "trainer.sync_batchnorm=false",  # torch has it for GPUs alone
        *("data.batch_size=2", "data.dataset.images=32"),
    ]
    done = shell(*options, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["test"]["images"] == 5
    # 22 training images: each process has 11, which are 6 batches of 2.
    assert (
        torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 12
    )


# --- what users do wrong


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def on_folder(root: Path) -> list[str]:
    return [*TINY, "data=folder", f"data.root={root}", "data.cache=null"]


def test_no_dataset_at_the_place(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("POLYP_DATA", str(tmp_path / "nowhere"))
    for data, site in (("kvasir", "simula.no"), ("cvc", "grand-challenge.org")):
        line = refused(*TINY, f"data={data}")
        assert str(tmp_path / "nowhere") in line
        assert site in line
        assert "data.root=" in line


def test_an_empty_folder(refused, tmp_path):
    for name in ("images", "masks"):
        (tmp_path / "empty" / name).mkdir(parents=True)
    line = refused(*on_folder(tmp_path / "empty"))
    assert "no images in" in line
    assert str(tmp_path / "empty" / "images") in line


def test_a_missing_mask_and_a_missing_image(refused, folder_dataset):
    (folder_dataset / "masks" / "polyp3.png").unlink()
    (folder_dataset / "images" / "polyp5.png").unlink()
    line = refused(*on_folder(folder_dataset))
    assert "images/polyp3.png has no mask" in line
    assert "masks/polyp5.png has no image" in line


def test_a_mask_of_another_size(refused, folder_dataset):
    Image.new("L", (40, 36)).save(folder_dataset / "masks" / "polyp3.png")
    line = refused(*on_folder(folder_dataset))
    assert "images/polyp3.png is 48×36 pixels" in line
    assert "masks/polyp3.png is 40×36" in line


def test_a_truncated_file(refused, folder_dataset):
    damage(folder_dataset / "images" / "polyp3.png")
    assert "images/polyp3.png: cannot be decoded" in refused(*on_folder(folder_dataset))


def test_a_file_that_is_no_image(refused, folder_dataset):
    (folder_dataset / "images" / "polyp3.png").write_text("<html>404</html>")
    assert "images/polyp3.png: not an image file" in refused(*on_folder(folder_dataset))


def test_duplicate_ids(refused, folder_dataset):
    write_pairs(folder_dataset / "images", folder_dataset / "extra", ["polyp3"], ".jpg")
    line = refused(*on_folder(folder_dataset))
    assert "polyp3.jpg" in line
    assert "polyp3.png have the same id polyp3" in line


def test_a_mask_of_class_numbers(refused, folder_dataset):
    numbers = np.zeros((36, 48), np.uint8)
    numbers[10:20, 10:20] = 1
    Image.fromarray(numbers).save(folder_dataset / "masks" / "polyp3.png")
    line = refused(*on_folder(folder_dataset))
    assert "masks/polyp3.png: its values are 0 and 1" in line
    assert "data.dataset.foreground=1" in line


def test_all_faults_are_told_at_once(refused, folder_dataset, capfd):
    (folder_dataset / "masks" / "polyp0.png").unlink()
    for i in range(1, 8):
        damage(folder_dataset / "images" / f"polyp{i}.png")
    with pytest.raises(AssertionError):  # more lines than one: the faults are logged too
        assert "has 8 faults" not in refused(*on_folder(folder_dataset))


def test_too_few_images(refused, tmp_path):
    root = tmp_path / "two"
    write_pairs(root / "images", root / "masks", ["a", "b"])
    assert "at least 3 are needed" in refused(*on_folder(root))


def test_sequences_that_are_not_known(refused, folder_dataset):
    line = refused(*on_folder(folder_dataset), "data.split=sequence")
    assert "data.split=random" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "not a JSON file"),
        ('{"train": ["scene-0000"]}', "must be"),
        ('{"train": ["x"], "val": ["scene-0001"], "test": ["scene-0002"]}', "not in this dataset"),
        (
            '{"train": ["scene-0001"], "val": ["scene-0001"], "test": ["scene-0002"]}',
            "scene-0001 is named more than once",
        ),
    ],
)
def test_a_wrong_split_file(refused, tmp_path, content, message):
    path = tmp_path / "split.json"
    if content is not None:
        path.write_text(content)
    line = refused(*TINY_SYNTHETIC, f"data.split_file={path}")
    assert f"data.split_file={path}" in line
    assert message in line


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("model=resnet", "model=resnet: no such config; choose one of .*p4unet.*unet"),
        ("data=polyps", "data=polyps: no such config; choose one of colondb, cvc.*kvasir"),
        ("data.image_sise=32", r"image_sise"),
        ("data.image_size=33", r"data\.image_size=33.*32 or 34"),
        ("data.image_size=big", r"data\.(dataset\.)?(image_)?size='?big"),
        ("data.batch_size=0", r"data\.batch_size=0.*from 1 to"),
        ("data.resize=squash", r"data\.resize=squash.*pad, crop, stretch"),
        ("data.split=patient", r"data\.split=patient.*random, sequence or authors"),
        ("model.widths=[3,4]", r"model\.widths=\[3, 4\]"),
        ("model.layers.kernel_size=4", r"model\.layers\.kernel_size=4"),
        ("trainer=gpu", r"trainer.*(GPU|CUDA|gpu|cuda)"),
        ("trainer.precision=7", "trainer.precision=7: must be a word, or 16, 32 or 64"),
        ("trainer.max_epochs=-2", r"max_epochs"),
        ("evaluation.angles=[0]", r"evaluation\.angles.*\[0"),
        ("evaluation.angles=[north]", r"evaluation\.angles.*north"),
        ("resume=nowhere.ckpt", r"resume=nowhere\.ckpt: no such file"),
        ("optimizer.lr=fast", r"optimizer"),
        ("seed=-1", r"seed"),
    ],
)
def test_a_wrong_option(refused, argument, expected):
    if argument == "trainer=gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    options = [o for o in TINY_SYNTHETIC if o.split("=")[0] != argument.split("=")[0]]
    assert re.search(expected, refused(*options, argument))


def test_a_resumed_checkpoint_of_another_network(command_line, refused, tmp_path):
    last = command_line(*TINY_SYNTHETIC, folder="first") / "checkpoints" / "last.ckpt"
    options = [*TINY_SYNTHETIC, "model.widths=[4,8]", f"resume={last}"]
    line = refused(*options)
    assert f"resume={last}" in line
    damage(last)
    assert f"resume={last}" in refused(*TINY_SYNTHETIC, f"resume={last}")


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(refused, tmp_path, monkeypatch):
    from polyp.training import BCEDiceLoss

    forward = BCEDiceLoss.forward
    calls = []

    def diverging(self, *tensors):
        calls.append(1)
        return forward(self, *tensors) * (float("nan") if len(calls) > 6 else 1)

    monkeypatch.setattr(BCEDiceLoss, "forward", diverging)
    line = refused(*TINY_SYNTHETIC, "trainer.max_epochs=5")
    assert "the training loss became nan in epoch 2" in line
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 0
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())


def test_a_full_error_on_demand():
    done = shell("model=resnet", HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
