"""Each measurement through the real command line at a tiny size; no absolute time is checked."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.report import value
from benchmarks.result import Result
from benchmarks.timing import exponent

ROOT = Path(__file__).parents[2]


def test_waiting_for_data_and_preparation(measured, kvasir_dataset):
    rows = measured("data", f"data.kvasir={kvasir_dataset}")
    assert list(rows) == [
        "p4unet: waiting for data after the first epoch, 16 px",
        "preparing Kvasir-SEG the first time",
        "preparing Kvasir-SEG from the cache",
    ]
    assert 0 < float(next(iter(rows.values()))["value"]) < 100
    assert rows["preparing Kvasir-SEG from the cache"]["detail"] == "12 images to 256 px"


def test_a_dataset_that_is_not_there_is_skipped_by_name(measured, tmp_path, capsys):
    rows = measured("data", f"data.kvasir={tmp_path / 'nowhere'}")
    assert list(rows) == ["p4unet: waiting for data after the first epoch, 16 px"]
    page = (tmp_path / "out" / "benchmark.md").read_text(encoding="utf-8")
    for text in (page, capsys.readouterr().out):
        assert "preparation of Kvasir-SEG: Kvasir-SEG not found" in text


def test_the_rotation_sweep(measured):
    rows = measured("sweep")
    assert set(rows) == {
        f"{name}: rotation sweep / bare forward passes" for name in ("p4unet", "unet")
    }


@pytest.mark.slow
def test_start(measured):
    rows = measured("start", 'start.options=["model.widths=[4,4]","data.dataset.images=20"]')
    answer, torch, step, e2cnn = rows.values()
    assert float(answer["value"]) < float(step["value"])
    assert float(torch["value"]) == float(e2cnn["value"]) == 0


@pytest.mark.slow
def test_the_first_step_ends_training(tmp_path):
    options = ["model.widths=[4,4]", "data.dataset.images=20", f"hydra.run.dir={tmp_path}"]
    optimizer = "optimizer._target_=benchmarks.first_step.FirstStep"
    subprocess.run([sys.executable, "train.py", *options, optimizer], cwd=ROOT, check=True)
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
def test_memory(measured):
    """At a size at which the maps outweigh the start of the libraries; within generous bounds."""
    options = ["~models.se2unet", "~models.steerableunet", "models.p4unet.widths=[4,8,16]"]
    rows = measured("memory", *options, "image_size=128", "batch_size=4")
    step = "p4unet: peak of a training step / lower bound"
    prediction = "peak of predicting 4 images"
    assert list(rows) == [step, f"{prediction} / 2 images"]
    assert 0.5 < float(rows[step]["value"]) < 1.5
    assert 0.8 < float(rows[f"{prediction} / 2 images"]["value"]) < 1.2


def test_scaling(measured, tmp_path):
    rows = measured("scaling")
    powers = [what for what in rows if what.endswith("MACs to the power of")]
    assert len(powers) == 6
    assert all(rows[what]["target"] == "≤ 1.1" for what in powers)
    assert "inference of an image at rotations=4" in rows
    assert (tmp_path / "out" / "benchmark.png").stat().st_size > 10_000


def test_the_page_is_printed_and_holds_what_has_a_target(measured, tmp_path, capsys):
    rows = measured("scaling")
    page = (tmp_path / "out" / "benchmark.md").read_text(encoding="utf-8").strip()
    assert page in capsys.readouterr().out
    for what, row in rows.items():
        assert (f"| {what} |" in page) == bool(row["target"])


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("measure=[steps,typo]", "measure=typo: must be some of steps, families, peers"),
        ("measure=typo", "measure=typo: must be some of"),
        ("measure=[]", "measure=: must be some of"),
        ("rounds=0", "rounds=0: must be a whole number from 1 to 1000"),
        ("sweep.rounds=few", "sweep.rounds=few: must be a whole number"),
        ("data.model=unet", "data.model=unet: must be one of p4unet, se2unet, steerableunet"),
        ("device=cuda:77", "device=cuda:77: not available"),
    ],
)
def test_a_wrong_option(script_refused, tmp_path, option, expected):
    assert expected in script_refused("benchmark", option, f"hydra.run.dir={tmp_path / 'run'}")
    assert not any(tmp_path.iterdir())


def test_whether_a_target_is_reached():
    assert Result("a", "b", 1.03, "×", 1.03).reached
    assert not Result("a", "b", 1.04, "×", 1.03).reached
    assert Result("a", "b", 2.6, "×", 2.5, at_least=True).reached
    assert not Result("a", "b", float("nan"), "×", 1.1).reached
    assert Result("a", "b", 5, "s").reached is None


def test_how_numbers_are_written():
    assert value(Result("a", "b", 1.0021, "×")) == "1.002×"
    assert value(Result("a", "b", 0, "")) == "0"
    assert value(Result("a", "b", 12.3456, "s")) == "12.346 s"
    assert value(Result("a", "b", float("nan"), "MB")) == "unknown here"


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_power_that_a_cost_grows_with(power):
    work = [1.0, 2.0, 5.0, 12.0]
    assert exponent(work, [3 * w**power for w in work]) == pytest.approx(power)


def test_e2cnn_is_imported_in_two_files_only():
    importing = [
        path.relative_to(ROOT).as_posix()
        for path in sorted([*ROOT.glob("polyp/**/*.py"), *ROOT.glob("benchmarks/*.py")])
        if any(
            line.strip().startswith(("import e2cnn", "from e2cnn"))
            for line in path.read_text(encoding="utf-8").splitlines()
        )
    ]
    assert importing == ["benchmarks/e2cnn_unet.py", "polyp/layers/steerable_basis.py"]
