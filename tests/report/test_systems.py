"""Which runs are one system, and what systems are called."""

from dataclasses import replace

import numpy as np
import pytest

from polyp.names import MODELS
from polyp.report.systems import System, by_training_images, group
from tests.report.conftest import ROOT
from tests.report.runs import read_run


@pytest.fixture
def grouped(write_run):
    """Groups runs, each given as the arguments of write_run."""

    def build(*runs: dict):
        folders = [write_run(str(i), **arguments) for i, arguments in enumerate(runs)]
        return group([read_run(folder) for folder in folders])

    return build


def labels(grouping) -> set[str]:
    return {system.label for system in grouping.systems}


def test_seeds_are_one_system(grouped):
    grouping = grouped({"seed": 2}, {"seed": 0}, {"seed": 1, "config": {"data.seed": 7}})
    (system,) = grouping.systems
    assert system.label == "plain U-Net"
    assert system.seeds == [0, 1, 2]


def test_what_no_number_depends_on_makes_no_other_system(grouped):
    places = {"data.root": "/b", "trainer.devices": 2, "evaluation": {"every_n_epochs": 3}}
    grouping = grouped({}, {"seed": 1, "config": places})
    assert len(grouping.systems) == 1


def test_an_option_that_is_null_counts_as_absent(grouped):
    early, later = {}, {"seed": 1, "config": {"model.prior": None}}
    other = {"seed": 2, "config": {"model.prior": 0.1}}
    grouping = grouped(early, later, other)
    seeds = {tuple(system.seeds) for system in grouping.systems}
    assert seeds == {(0, 1), (2,)}
    assert labels(grouping) == {"plain U-Net prior=null", "plain U-Net prior=0.1"}


def test_an_option_that_a_run_lacks_has_its_default(grouped):
    unet = {"model._target_": "polyp.models.UNet"}
    early, later = {"config": unet}, {"seed": 1, "config": unet | {"model.pool": "max"}}
    other = {"seed": 2, "config": unet | {"model.pool": "blur"}}
    gone = {"seed": 3, "config": {"model._target_": "polyp.models.NoLongerThere"}}
    grouping = grouped(early, later, other, gone)
    assert {tuple(system.seeds) for system in grouping.systems} == {(0, 1), (2,), (3,)}


def test_a_run_from_before_tasks_has_a_binary_one(grouped):
    later = {"task._target_": "polyp.tasks.Binary", "logit_channels": 1, "init_from_seen": False}
    several = {**later, "task._target_": "polyp.tasks.Multiclass", "logit_channels": 3}
    runs = [{}, {"seed": 1, "config": later}, {"seed": 2, "config": several}]
    grouping = grouped(*runs)
    assert {tuple(system.seeds) for system in grouping.systems} == {(0, 1), (2,)}
    assert labels(grouping) == {"plain U-Net", "plain U-Net task=Multiclass"}


def test_models_are_called_by_their_name_alone(grouped):
    widths = {"model.widths": [2, 4]}
    assert labels(grouped({}, {"model": "p4unet", "config": widths})) == {"plain U-Net", "p4 U-Net"}


def test_options_of_one_model_are_all_said(grouped):
    grouping = grouped(
        {"model": "p4unet"},
        *[{"config": {"model.layers.interpolation": name}} for name in ("bilinear", "gaussian")],
    )
    assert labels(grouping) == {
        "p4 U-Net",
        "plain U-Net interpolation=bilinear",
        "plain U-Net interpolation=gaussian",
    }


def test_what_is_unusual_is_said_also_across_models(grouped):
    turned = {"augmentation": "rot90", "config": {"augmentation.transforms": ["turn"]}}
    grouping = grouped({}, {"model": "p4unet"}, {"model": "p4unet", **turned})
    assert labels(grouping) == {"plain U-Net", "p4 U-Net", "p4 U-Net augmentation=rot90"}
    assert grouping.usual == {"augmentation": "none"}


def test_classes_keys_and_values_are_readable(grouped):
    sgd = {"optimizer._target_": "torch.optim.SGD", "optimizer.lr": 0.1}
    grouping = grouped({}, {}, {"config": sgd}, {"config": {"model.widths": [2, 2]}})
    assert labels(grouping) == {
        "plain U-Net widths=[4,8]",
        "plain U-Net widths=[4,8] optimizer=SGD lr=0.1",
        "plain U-Net widths=[2,2]",
    }


def test_keys_that_end_alike_are_told_apart(grouped):
    grouping = grouped({}, {"config": {"model.head.size": 1, "model.size": 2}})
    assert labels(grouping) == {"plain U-Net", "plain U-Net model.head.size=1 model.size=2"}


def test_other_training_images_make_another_system(grouped):
    grouping = grouped({}, {"train": ["t1"]}, {"train": ["t3", "t4"]})
    said = {label.split("=")[0] for label in labels(grouping)}
    assert said == {"plain U-Net", "plain U-Net train_images", "plain U-Net train_and_val_set"}


def test_sets_of_images_are_called_as_the_files_that_list_them(grouped):
    def run(train: str, file: str) -> dict:
        return {"train": [train], "config": {"data.split_file": file}}

    near = [run("t1", "splits/near.json"), run("t1", "splits/near.json") | {"model": "p4unet"}]
    grouping = grouped(*near, run("t2", "splits/far.json"))
    assert labels(grouping) == {"plain U-Net", "p4 U-Net", "plain U-Net train_and_val_set=far"}
    assert grouping.usual == {"train_and_val_set": "near"}


def test_files_of_one_name_tell_no_sets_apart(grouped):
    runs = [{"train": [name], "config": {"data.split_file": f"{name}/split.json"}} for name in "ab"]
    made = labels(grouped(*runs))
    assert len(made) == 2
    assert not any("=split" in label for label in made)


def test_fractions_of_the_training_set_are_called_by_the_fraction(grouped):
    tenth = {"train": ["t1"], "config": {"data.train_fraction": 0.5}}
    grouping = grouped({"config": {"data.train_fraction": 1.0}}, tenth, {**tenth, "seed": 1})
    assert labels(grouping) == {"plain U-Net", "plain U-Net train_fraction=0.5"}


def test_ways_to_train_with_several_numbers_of_training_images(grouped):
    whole, half = ({"data.train_fraction": fraction} for fraction in (1.0, 0.5))
    grouping = grouped(
        {"config": whole},
        {"config": half, "train": ["t1"]},
        {"config": half, "train": ["t1"], "seed": 1},
        {"config": whole, "model": "p4unet"},
        {"config": {**half, "optimizer.lr": 1.0}, "train": ["t1"]},
    )
    (line,) = by_training_images(grouping.systems)
    assert [system.training_images for system in line] == [1, 2]
    assert [system.seeds for system in line] == [[0, 1], [0]]


def test_systems_of_one_name_are_told_apart_by_what_they_differ_in(grouped):
    named = {"name": "A", "model.pool": "max", "data.train_fraction": 1.0}
    grouping = grouped(
        {"config": named},
        {"config": {**named, "data.train_fraction": 0.5}, "train": ["t1"]},
        {"config": {**named, "name": "B", "model.pool": "blur"}},
    )
    assert labels(grouping) == {"A", "A train_fraction=0.5", "B"}


def test_labels_are_unique_whatever_the_differences(grouped):
    long = ["x" * 50 + str(i) for i in range(3)]
    grouping = grouped(*[{"config": {"model.weights": name}} for name in long])
    assert len(labels(grouping)) == 3


def test_scores_are_averaged_over_seeds_and_the_best_system_comes_first(grouped):
    grouping = grouped(
        {"dice": [0.1] * 6},
        {"model": "p4unet", "dice": [0.5] * 6},
        {"model": "p4unet", "seed": 1, "dice": [0.5, 0.5, 0.5, 0.5, 0.5, 1.0]},
    )
    assert [system.label for system in grouping.systems] == ["p4 U-Net", "plain U-Net"]
    assert grouping.systems[0].dice == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.5, 0.75])


def test_a_name_in_the_config_is_the_name(grouped):
    grouping = grouped(
        {"config": {"name": "mine"}},
        {"config": {"name": "mine"}, "seed": 1},
        {"model": "p4unet", "config": {"name": None}},
    )
    assert labels(grouping) == {"mine", "p4 U-Net"}


def test_options_that_a_name_does_not_show_are_kept(grouped):
    lr = {"optimizer.lr": 0.01, "name": "mine"}
    own, *others = sorted(
        grouped({"config": lr}, {"model": "p4unet"}, {"model": "se2unet"}).systems,
        key=lambda system: system.label != "mine",
    )
    assert own.options == {"lr": "0.01"}
    assert all(not system.options for system in others)


def test_one_name_for_two_systems_does_not_hide_their_difference(grouped):
    widths = {"model.widths": [2, 4], "name": "mine"}
    grouping = grouped({"config": {"name": "mine"}}, {"config": widths})
    assert labels(grouping) == {"mine widths=[4,8]", "mine widths=[2,4]"}


def test_another_name_makes_no_other_system(grouped):
    (system,) = grouped({"config": {"name": "a"}}, {"seed": 1, "config": {"name": "b"}}).systems
    assert (system.label, system.seeds) == ("plain U-Net", [0, 1])


def test_small_models_are_called_as_the_large_ones_unless_both_are_there(grouped):
    assert labels(grouped({"model": "p4unet_small"}, {"model": "mine_small"})) == {
        "p4 U-Net",
        "mine_small",
    }


def test_a_small_and_a_large_model_are_called_as_their_configs(grouped):
    both = grouped({"model": "p4unet_small"}, {"model": "p4unet"}, {})
    assert labels(both) == {"p4unet_small", "p4unet", "plain U-Net"}


def test_every_model_of_this_package_has_a_name():
    """But for those of other packages."""
    configs = (path.stem for path in (ROOT / "configs/model").glob("*.yaml"))
    unnamed = {name for name in configs if name.removesuffix("_small") not in MODELS}
    assert unnamed == {"smp", "monai_dynunet"}


# --- what is measured of them


def test_a_network_that_finds_nothing_is_degenerate(grouped, write_run):
    """In old runs, where two empty masks count as 1, and in new ones, where they are undefined."""
    runs = [read_run(write_run(str(seed), seed=seed)) for seed in (0, 1, 2)]
    tables = [run.consistency.copy() for run in runs]
    tables[1][45.0], tables[2][[45.0, 90.0]] = 1.0, np.nan
    changed = [replace(run, consistency=t) for run, t in zip(runs, tables, strict=True)]
    assert System("mine", changed).degenerate == [1, 2]
    assert System("mine", changed[:1]).degenerate == []


def test_undefined_consistency_is_counted_off_the_grid(write_run):
    run = read_run(write_run("0", instrument=True))
    table = run.consistency.copy()
    table.loc[["a", "b"], 45.0] = np.nan
    system = System("mine", [run, replace(run, consistency=table)])
    assert system.undefined == pytest.approx(2 / 12)
    assert System("old", [read_run(write_run("1"))]).undefined is None  # counted as 1 in there
