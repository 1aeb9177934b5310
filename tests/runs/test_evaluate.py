"""scripts/evaluate.py: the same numbers again, other data, other angles, and refusals."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from polyp.names import dataset_name, system_name
from polyp.report.run import read_runs
from polyp.report.sections import make_sections
from polyp.runs import measure
from polyp.runs.evaluate import TABLES
from polyp.runs.folder import RunFolder
from tests.conftest import TINY, TINY_SYNTHETIC, write_pairs


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder but those that a fixture of another test may add."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_numbers_are_those_of_the_end_of_training(script, finished_run, tmp_path):
    before = content(finished_run)
    script("evaluate", f"run={finished_run}", f"output={tmp_path / 'again'}")
    for name in (*TABLES, "equivariance.png", "predictions.png"):
        assert (tmp_path / "again" / name).read_bytes() == before[name], name
    record = json.loads((tmp_path / "again" / "provenance.json").read_text())
    assert record["run"] == str(finished_run)
    assert content(finished_run) == before
    assert not list(tmp_path.glob(".*"))


def test_the_figures_name_the_system_and_the_dataset(script, finished_run, tmp_path, monkeypatch):
    run = shutil.copytree(finished_run, tmp_path / "run")
    config = run / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("name: null", "name: mine", 1))
    titles = []
    for name in ("equivariance_figure", "predictions_figure"):
        draw = getattr(measure, name)

        def recorded(found, title, draw=draw):
            titles.append(title)
            return draw(found, title)

        monkeypatch.setattr(measure, name, recorded)
    options = ["evaluation.angles=[90]", "evaluation.shifts=false"]
    script("evaluate", f"run={run}", f"output={tmp_path / 'out'}", *options)
    assert titles == ["mine on folder"] * 2
    assert system_name("p4unet_small", None) == "p4 U-Net"
    assert (dataset_name("cvc"), dataset_name("folder")) == ("CVC-ClinicDB", "folder")


@pytest.mark.parametrize(
    "model",
    [
        ["model=unet"],
        ["model=se2unet", "model.layers.rotations=4"],
        ["model=steerableunet", "model.layers.rotations=continuous"],
    ],
    ids=lambda options: options[0],
)
def test_so_are_those_of_other_models_and_data(command_line, script, model):
    run = command_line(*TINY_SYNTHETIC, *model, "augmentation=full", "trainer.max_epochs=1")
    # Into the run's own folder: nothing is written, as the results are the same.
    script("evaluate", f"run={run}", f"output={run}")


def test_by_default_the_results_go_to_a_new_folder_of_the_run(script, finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    script("evaluate", f"run={run}", "data=folder", f"data.root={finished_run.parent / 'dataset'}")
    (folder,) = (run / "evaluation").iterdir()
    assert folder.name.startswith("folder_20")
    assert (folder / "metrics.json").read_bytes() == (run / "metrics.json").read_bytes()


def test_on_another_dataset(script, finished_run, tmp_path, cvc_dataset):
    output = tmp_path / "cvc"
    options = ["data=cvc", f"data.root={cvc_dataset}", "data.cache=null", f"output={output}"]
    options.append("data.partial=true")
    script("evaluate", f"run={finished_run}", *options, "data.split=sequence")
    found = metrics(output)
    assert (found["data"], found["trained_on"], found["split"]) == ("cvc", "folder", "sequence")
    assert found["image_size"] == 32  # the run's, not 256
    split = json.loads((output / "split.json").read_text())
    assert found["test"]["images"] == len(split["test"])
    with (output / "scores.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == split["test"]


def test_another_folder_with_other_images(script, finished_run, tmp_path, capsys):
    """Of the same names: the split of the run does not hold for them."""
    root = tmp_path / "other"
    write_pairs(root / "images", root / "masks", [f"polyp{i}" for i in range(20)])
    for path in (root / "images").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    options = [f"run={finished_run}", f"data.root={root}"]
    script("evaluate", *options, "part=all", f"output={tmp_path / 'out'}")
    found = metrics(tmp_path / "out")
    assert (found["test"]["images"], found["trained_on"]) == (20, "folder")
    assert (found["part"], found["split"]) == ("all", "all images")
    assert "were in the training" not in capsys.readouterr().out


def test_another_split_replaces_the_fold_or_file_of_the_run(command_line, script, tmp_path):
    root = tmp_path / "dataset"
    write_pairs(root / "images", root / "masks", [f"patient{i % 4}_{i}" for i in range(16)])
    data = ["data=folder", f"data.root={root}", "data.cache=null", "data.dataset.group='(.+)_'"]
    run = command_line(*TINY, *data, "data.fold=1/4", "trainer.max_epochs=1")
    script("evaluate", f"run={run}", "data.split=random", f"output={tmp_path / 'random'}")
    assert metrics(tmp_path / "random")["split"] == "random"
    script("evaluate", f"run={run}", "data.fold=2/4", f"output={tmp_path / 'fold'}")
    assert metrics(tmp_path / "fold")["split"] == "fold 2/4"
    parts = [json.loads((p / "split.json").read_text())["test"] for p in (run, tmp_path / "fold")]
    assert not set(parts[0]) & set(parts[1])


def test_trained_images_are_warned_of_on_any_test_set(script, finished_run, tmp_path, capsys):
    """By their content: here under other names."""
    root, before = tmp_path / "renamed", finished_run.parent / "dataset"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
        for path in (before / folder).iterdir():
            shutil.copy(path, root / folder / f"new-{path.name}")
    split = json.loads((finished_run / "split.json").read_text())
    trained, images = len(split["train"]) + len(split["val"]), sum(map(len, split.values()))
    warning = (
        f"{trained} of the {images} test images were in the training or validation set of the run"
    )
    options = ["data.split=random", "part=all", f"data.root={root}"]
    script("evaluate", f"run={finished_run}", *options, f"output={tmp_path / 'a'}")
    assert warning in capsys.readouterr().out


def test_a_dataset_that_has_moved(script, finished_run, tmp_path):
    moved = shutil.copytree(finished_run.parent / "dataset", tmp_path / "moved")
    script("evaluate", f"run={finished_run}", f"data.root={moved}", f"output={tmp_path / 'out'}")
    assert metrics(tmp_path / "out") == metrics(finished_run)


def test_at_other_angles_and_another_size(script, finished_run, tmp_path):
    options = ["evaluation=quarter_turn", "data.image_size=48", f"output={tmp_path / 'out'}"]
    script("evaluate", f"run={finished_run}", *options)
    found = metrics(tmp_path / "out")
    assert found["equivariance"]["curve"]["angles"] == list(range(0, 91, 3))
    assert found["image_size"] == 48
    assert "trained_on" not in found


def test_masks_with_other_classes_than_the_task(script_refused, finished_run):
    classes = "data.dataset.labels=[background,instrument,polyp]"
    options = [f"run={finished_run}", "data=synthetic", classes, "data.dataset.images=4"]
    line = script_refused("evaluate", *options, "part=all")
    assert "2 classes, but the masks of synthetic have 3" in line


def test_the_part_of_another_test_set_is_stored(script, finished_run, tmp_path, cvc_dataset):
    sets = [
        "test_sets=[own,cvc]",
        f"test_sets.cvc.root={cvc_dataset}",
        "test_sets.cvc.partial=true",
    ]
    options = [*sets, "test_sets.cvc.part=val", f"output={tmp_path / 'out'}"]
    script("evaluate", f"run={finished_run}", *options)
    found = metrics(tmp_path / "out")["test_sets"]["cvc"]
    assert (found["part"], found["split"]) == ("val", "random")
    _, run = read_runs(RunFolder(tmp_path / "out"))
    assert (run.part, run.split, len(run.images)) == ("val", "random", found["test"]["images"])


def test_another_way_to_resize_is_stored_and_not_compared(script, finished_run, tmp_path):
    script("evaluate", f"run={finished_run}", "data.resize=crop", f"output={tmp_path / 'out'}")
    assert metrics(tmp_path / "out")["resize"] == "crop"
    assert "resize" not in metrics(finished_run)
    runs = [run for f in (finished_run, tmp_path / "out") for run in read_runs(RunFolder(f))]
    titles = [section.title for section in make_sections(runs)[0]]
    assert [title.rsplit(", ", 1)[1] for title in titles] == ["padded", "cropped"]


def test_pictures_are_ranked_by_dice_whatever_the_metrics(
    script, finished_run, tmp_path, monkeypatch
):
    """A low distance is good, and of some images there is none."""
    ranked = []
    extremes = measure.extremes
    monkeypatch.setattr(measure, "extremes", lambda found: extremes(ranked.append(found) or found))
    script("evaluate", f"run={finished_run}", "metrics=[mae]", f"output={tmp_path / 'out'}")
    table = pd.read_csv(tmp_path / "out" / "equivariance.csv")
    turned = table.groupby("image", sort=False)["dice_truth"].mean()
    assert ranked[0].to_dict() == pytest.approx(turned.to_dict(), abs=1e-5)


def test_a_run_that_is_not_finished(script, finished_run, tmp_path, capsys):
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "metrics.json").unlink()
    script("evaluate", f"run={run}", f"output={tmp_path / 'out'}")
    assert "not finished" in capsys.readouterr().out
    assert metrics(tmp_path / "out")["test"] == metrics(finished_run)["test"]


def test_other_splits_of_the_same_images_are_warned_of(script, finished_run, tmp_path, capsys):
    script("evaluate", f"run={finished_run}", "data.split_seed=1", f"output={tmp_path / 'out'}")
    assert "test images were in the training or validation set" in capsys.readouterr().out


def test_other_results_are_never_overwritten(script_refused, finished_run):
    before = content(finished_run)
    options = [f"run={finished_run}", f"output={finished_run}", "evaluation.angles=[90]"]
    assert "has other results (metrics.json differs)" in script_refused("evaluate", *options)
    assert content(finished_run) == before
    assert not list(finished_run.parent.glob(".*"))


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("run=nowhere", "run=nowhere: not a run, nowhere/.hydra/config.yaml is missing"),
        ("data=polyps", "data=polyps: no such config"),
        ("data=cvc", "CVC-ClinicDB not found"),
        ("data=kvasir", "Kvasir-SEG not found"),
        ("data.root=/nowhere", "looked for /nowhere/images"),
        ("data.image_size=33", "data.image_size=33: image size 33×33"),
        ("data.batch_size=0", "data.batch_size=0: must be"),
        ("data.split=sequence", "the video sequence of 20 images is not known"),
        ("data.split_file=nowhere.json", "data.split_file=nowhere.json: No such file"),
        ("evaluation.angles=[0]", "evaluation.angles=[0"),
        ("evaluation.angles=[north]", "evaluation.angles=[north]"),
        ("evaluation=half_turn", "evaluation=half_turn: no such config"),
        ("device=tpu", "device=tpu: not available"),
        ("evaluation.angels=[90]", "angels"),
    ],
)
def test_a_wrong_option(script_refused, finished_run, tmp_path, monkeypatch, argument, expected):
    monkeypatch.setenv("POLYP_DATA", str(tmp_path / "empty"))
    options = [f"run={finished_run}", f"output={tmp_path / 'out'}", argument]
    if argument.startswith("run="):
        del options[0]
    assert expected in script_refused("evaluate", *options)
    assert not list(tmp_path.iterdir())


def test_without_a_run(script_refused):
    assert "run= or maps= is missing" in script_refused("evaluate")


def test_no_checkpoint(script_refused, finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "checkpoints" / "best.ckpt").unlink()
    line = script_refused("evaluate", f"run={run}")
    assert f"no {run / 'checkpoints' / 'best.ckpt'}; no epoch is finished yet" in line
    assert not (run / "evaluation").exists()


def test_the_dataset_has_lost_a_test_image(script_refused, finished_run, tmp_path):
    root = tmp_path / "fewer"
    write_pairs(root / "images", root / "masks", [f"polyp{i}" for i in range(5)])
    line = script_refused("evaluate", f"run={finished_run}", f"data.root={root}")
    assert "not in this dataset" in line


@pytest.mark.parametrize("name", ["metrics.json", "split.json"])
def test_a_damaged_file_of_the_run(script_refused, finished_run, tmp_path, name):
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / name).write_text("{")
    assert str(run / name) in script_refused("evaluate", f"run={run}")


def test_an_output_that_is_something_else(script_refused, finished_run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    line = script_refused("evaluate", f"run={finished_run}", f"output={tmp_path / 'mine'}")
    assert "exists, but is not an evaluation" in line
    assert len(list((tmp_path / "mine").iterdir())) == 1
