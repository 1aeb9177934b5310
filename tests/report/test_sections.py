"""Runs on different test images are never compared with each other."""

import json

import numpy as np
import pytest

from polyp.errors import UserError
from polyp.report.run import read_runs
from polyp.report.sections import make_sections
from polyp.runs.folder import RunFolder
from tests.report.runs import read_run


@pytest.fixture
def sections(write_run):
    def build(*runs: dict):
        folders = [write_run(str(i), **arguments) for i, arguments in enumerate(runs)]
        return make_sections([read_run(folder) for folder in folders])[0]

    return build


@pytest.mark.parametrize(
    "other",
    [
        {"data": "kvasir"},
        {"test": ["a", "b", "c", "d", "e", "x"]},
        {"test": ["a", "b"]},
        {"image_size": 32},
        {"config": {"data.resize": "crop"}},
        {"area": 0.2},  # images of the same names, but not the same images
    ],
    ids=["dataset", "images", "subset", "size", "geometry", "truth"],
)
def test_never_mixed(sections, other):
    made = sections({}, {"model": "p4unet", **other})
    assert [len(section.systems) for section in made] == [1, 1]
    assert len({section.slug for section in made}) == 2


def test_the_systems_of_figures_have_the_first_colours(write_run):
    folders = [write_run(name, name) for name in ("unet", "p4unet", "se2unet")]
    runs = [read_run(folder) for folder in folders]
    (section,), _ = make_sections(runs)
    labels = [system.label for system in section.systems]
    (section,), _ = make_sections(runs, first=[labels[2]])
    assert [system.style for system in section.systems] == [1, 2, 0]
    assert [system.label for system in section.only([labels[2], "other"]).systems] == [labels[2]]
    assert section.only([]) == section.only(["other"]) == section


def test_titles_state_dataset_split_images_and_size(sections):
    (section,) = sections({"split": "sequence"})
    assert section.title == "CVC-ClinicDB: split by sequence, 6 test images, 64 px, padded"
    assert section.slug == "cvc-sequence-64px"


def test_the_same_images_in_another_order_are_the_same_test_set(sections):
    dice = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    (section,) = sections(
        {"dice": dice}, {"model": "p4unet", "test": list("fedcba"), "dice": dice[::-1]}
    )
    a, b = section.systems
    assert a.first.images == b.first.images == list("abcdef")
    assert a.dice.tolist() == b.dice.tolist() == dice
    assert a.consistency.shape == (6, 3)


def test_only_angles_in_common_are_compared_and_that_is_said(sections):
    (section,) = sections({}, {"model": "p4unet", "angles": [0, 30, 90, 180]})
    assert section.angles == [0, 90]
    assert "0°, 90°. These are the angles that all runs have in common" in section.notes[0]
    for system in section.systems:
        assert np.array_equal(system.values("consistency")[0], system.consistency[:, 1])


def test_the_later_of_two_runs_with_one_seed_counts(write_run):
    """The earlier one is skipped, and its angles are not needed."""
    later = write_run("later", started="2026-02-02", angles=[0, 30, 90])
    earlier = write_run("earlier", started="2026-01-01", angles=[0, 45])
    (section,), ((skipped, reason),) = make_sections([read_run(later), read_run(earlier)])
    (system,) = section.systems
    assert [run.folder for run in system.runs] == [later]
    assert section.angles == [0, 30, 90]
    assert skipped.folder == earlier
    assert reason == f"the same system and seed 0 as {later}, which is newer"


def test_sweeps_without_a_common_angle_are_refused(sections):
    with pytest.raises(UserError, match="no angle in common"):
        sections({}, {"model": "p4unet", "angles": [0, 30]})


def test_notes_on_seeds(sections):
    (section,) = sections({}, {"seed": 1}, {"model": "p4unet"})
    notes = " ".join(section.notes)
    assert "only one run" in notes
    assert "Not all systems have the same seeds" in notes


def test_notes_on_options(sections):
    own = {"seed": 0, "model": "p4unet", "config": {"optimizer.lr": 0.01, "name": "mine"}}
    (section,) = sections({}, {"model": "se2unet"}, own)
    assert "Options that names do not show: mine: lr=0.01." in section.notes


def test_images_of_a_group_are_one_unit(sections):
    section, other = sections({"groups": ["1", "1", "2", "2", "29", ""]}, {"data": "kvasir"})
    assert section.units == ["1", "1", "2", "2", "29", "f"]
    assert "belong to 4 groups" in " ".join(section.notes)
    assert "every interval resamples whole groups" in " ".join(section.notes)
    assert other.units == list("abcdef")
    assert "groups" not in " ".join(other.notes)


def test_groups_are_known_where_one_run_knows_them(sections):
    """Runs of early versions wrote none."""
    (section,) = sections({}, {"model": "p4unet", "groups": "112233"})
    assert section.units == list("112233")


def test_a_system_looks_alike_in_all_sections(sections):
    names, dice = ("unet", "p4unet", "se2unet"), (0.5, 0.9, 0.7)
    runs = [{"model": name, "dice": [d] * 6} for name, d in zip(names, dice, strict=True)]
    others = [{"model": name, "data": "kvasir"} for name in names[1:]]
    cvc, kvasir = sections(*runs, *others)
    styles = {system.label: system.style for system in cvc.systems}
    assert styles == {"p4 U-Net": 0, "SE(2) U-Net": 1, "plain U-Net": 2}
    assert all(system.style == styles[system.label] for system in kvasir.systems)


def test_an_evaluation_on_another_dataset_counts_there(write_run):
    """As scripts/evaluate.py leaves it: without a config, but with the run that has one."""
    own = write_run("own", data="kvasir")
    trained = write_run("trained", config={"data.dataset": {"_target_": "polyp.data.CVC"}})
    evaluation = write_run("trained/evaluation", data="kvasir", trained_on="cvc")
    (evaluation / ".hydra" / "config.yaml").unlink()
    provenance = {"run": str(trained), "started": "2026-02-02"}
    (evaluation / "provenance.json").write_text(json.dumps(provenance))
    (section,) = make_sections([read_run(own), read_run(evaluation)])[0]
    assert section.title.startswith("Kvasir-SEG: ")
    assert {system.label for system in section.systems} == {
        "plain U-Net",
        "plain U-Net trained_on=cvc",
    }
    assert all(system.first.training_seconds == 60 for system in section.systems)


def test_a_run_counts_in_the_section_of_each_of_its_test_sets(write_run):
    others = {"colondb": list("uvwxyz")}
    runs = [
        write_run("0", data="kvasir", others=others),
        write_run("1", "p4unet", data="kvasir", others=others),
        write_run("2", "p4unet", data="cvc", others=others, train=["t3"]),
    ]
    sections, skipped = make_sections(
        [run for folder in runs for run in read_runs(RunFolder(folder))]
    )
    assert not skipped
    titles = {section.title.split(",")[0]: section for section in sections}
    assert set(titles) == {
        "CVC-ColonDB: all images",
        "CVC-ClinicDB: random split by image",
        "Kvasir-SEG: random split by image",
    }
    colondb = titles["CVC-ColonDB: all images"]
    assert colondb.slug == "colondb-all-images-64px"
    assert colondb.images == list("uvwxyz")
    labels = {system.label for system in colondb.systems}
    assert labels == {"plain U-Net", "p4 U-Net", "p4 U-Net trained_on=cvc"}


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"part": "train"}, "random split by image, 6 images of the part train"),
        ({"part": "all", "split": "all images"}, "all images, 6 test images"),
    ],
)
def test_another_part_than_the_test_set_is_said(sections, run, said):
    (section,) = sections(run)
    assert section.title == f"CVC-ClinicDB: {said}, 64 px, padded"
