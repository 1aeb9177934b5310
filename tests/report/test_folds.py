"""Folds of a cross-validation are one run per seed; nothing is counted twice."""

import numpy as np
import pytest

from polyp.errors import UserError
from polyp.report.bootstrap import cluster_interval
from polyp.report.comparisons import compare_systems
from polyp.report.folds import pool_folds
from polyp.report.forest import forest_figure
from polyp.report.run import read_runs
from polyp.report.sections import make_sections
from polyp.report.tables import differences_table
from polyp.runs.folder import RunFolder
from tests.report.runs import read_run

IMAGES = {1: list("abcd"), 2: list("ef"), 3: list("ghi")}


@pytest.fixture
def fold(write_run):
    """The run of a fold of three, as its arguments and those of write_run say."""

    def build(number: int, name: str = "", **arguments):
        test = arguments.pop("test", IMAGES[number])
        train = [image for images in IMAGES.values() for image in images if image not in test]
        config = {"data.fold": f"{number}/3"} | arguments.pop("config", {})
        arguments = {"split": f"fold {number}/3", "groups": [str(number)] * len(test)} | arguments
        name = f"{name}{number}-{arguments.get('model', 'unet')}-{arguments.get('seed', 0)}"
        return write_run(name, test=test, train=train, config=config, **arguments)

    return build


def pooled(*folders):
    return pool_folds([read_run(folder) for folder in folders])


def test_folds_are_one_run_that_tests_each_image_once(fold):
    folders = [fold(number, instrument=True) for number in (3, 1, 2)]
    runs = {run.fold[0]: run for run in map(read_run, folders)}
    (run,), skipped = pooled(*folders)
    assert not skipped
    assert run.images == list("abcdefghi")
    for number, images in IMAGES.items():
        one, same = runs[number], run.select(images, run.angles)
        assert same.scores.equals(one.scores)
        assert same.consistency.equals(one.consistency)
        assert same.turned_dice.equals(one.turned_dice)
        assert same.shifts.equals(one.shifts)
        assert all(same.losses[name].equals(table) for name, table in one.losses.items())
    assert run.groups.tolist() == list("111122333")


def test_a_fold_without_an_upper_bound_does_not_count_in_the_mean(fold):
    folders = []
    for number, ceilings in {1: [0.9, None], 2: [0.6, None], 3: [None, None]}.items():
        curve = {"angles": [0.0, 45.0], "ceiling": ceilings}
        folders.append(fold(number, angles=[0, 45], equivariance={"curve": curve}))
    (run,), _ = pooled(*folders)
    weighted = (4 * 0.9 + 2 * 0.6) / 6  # by the images of the folds
    assert run.ceiling.tolist() == pytest.approx([weighted, np.nan], nan_ok=True)


def test_folds_from_before_and_after_a_new_option_are_one_run(fold):
    early, *later = [1, 2, 3]
    new = [fold(number, config={"model.prior": None}) for number in later]
    (run,), skipped = pooled(fold(early), *new)
    assert not skipped
    assert run.images == list("abcdefghi")


def test_a_seed_of_three_folds_is_one_run_of_its_system(fold):
    folders = [fold(number, seed=seed, model=m) for number in IMAGES for seed in (0, 1) for m in M]
    (section,), skipped = make_sections([read_run(folder) for folder in folders])
    assert not skipped
    assert section.title.startswith("CVC-ClinicDB: cross-validation, 3 folds, 9 test images")
    assert {system.label for system in section.systems} == {"plain U-Net", "p4 U-Net"}
    for system in section.systems:
        assert system.seeds == [0, 1]
        scores = system.values("dice")
        assert scores.shape == (2, 9)
        own = [read_run(folder) for folder in folders]
        own = [r for r in own if r.model == system.first.model]
        mean = np.concatenate([run.dice for run in own]).mean()
        interval = system.interval("dice", section.units)
        assert interval.mean == pytest.approx(mean)
        assert (interval.images, interval.units, interval.seeds) == (9, 3, 2)


M = ("unet", "p4unet")


def test_the_interval_over_folds_is_that_of_their_images(fold):
    dice = {("p4unet", 1): 0.9, ("p4unet", 2): 0.8, ("p4unet", 3): 0.6}
    folders = [
        fold(n, model=m, dice=[dice.get((m, n), 0.5)] * len(IMAGES[n])) for n in IMAGES for m in M
    ]
    (section,), _ = make_sections([read_run(folder) for folder in folders])
    assert section.folds == [1] * 4 + [2] * 2 + [3] * 3
    ((comparison,),) = compare_systems([section], [("p4 U-Net", "plain U-Net")], ["dice"], 0.5)
    differences = np.array([0.4] * 4 + [0.3] * 2 + [0.1] * 3)
    expected = cluster_interval(differences, np.array(section.folds))
    assert comparison.over_folds == pytest.approx(expected)
    figure = forest_figure([("CVC", [comparison])])
    _, over_folds, interval, _ = figure.axes[0].lines
    assert list(over_folds.get_xdata()) == list(comparison.over_folds)
    assert list(interval.get_xdata()) == [comparison.estimate.low, comparison.estimate.high]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-1] == "light: interval over folds"
    table = differences_table([comparison], section)
    low, high = (f"{end:+.3f}".replace("-", "−") for end in expected)
    (cells,) = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert cells["over folds"] == f"{low} to {high}"


def test_the_number_of_training_images_is_the_mean_over_the_folds(fold):
    (section,), _ = make_sections([read_run(fold(number)) for number in IMAGES])
    (system,) = section.systems
    assert system.training_images == (5 + 7 + 6) / 3


def test_one_fold_has_no_interval_over_folds(fold):
    (section,), _ = make_sections([read_run(fold(1, model=m)) for m in M])
    assert section.folds == []
    ((comparison,),) = compare_systems([section], None, ["dice"], 0.5)
    assert comparison.over_folds is None
    assert "over folds" not in differences_table([comparison], section).header


def test_an_image_in_two_folds_is_refused(fold):
    folders = [fold(1), fold(2, test=["d", "e"])]
    with pytest.raises(UserError, match="test image d in common"):
        pooled(*folders)


def test_the_later_of_two_runs_of_a_fold_counts(fold):
    early = fold(1, "early", dice=[0.1] * 4)
    late = fold(1, "late", dice=[0.2] * 4, started="2026-02-01T00:00:00+00:00")
    (run,), ((skipped, reason),) = pooled(late, early, fold(2))
    assert run.scores["dice"][IMAGES[1]].tolist() == [0.2] * 4
    assert skipped.folder == early
    assert str(late) in reason


def test_an_incomplete_cross_validation_is_said(fold):
    folders = [fold(number, seed=seed) for number in (1, 3) for seed in (0, 1)]
    (section,), _ = make_sections([read_run(folder) for folder in folders])
    assert "cross-validation, folds 1, 3 of 3, 7 test images" in section.title
    assert "The cross-validation is incomplete: folds 1, 3 of 3 only." in section.notes


def test_a_seed_that_lacks_a_fold_is_skipped_and_named(fold):
    whole = [fold(number) for number in IMAGES]
    runs, skipped = pooled(*whole, fold(1, seed=1), fold(3, seed=1))
    assert [run.seed for run in runs] == [0]
    assert {reason for _, reason in skipped} == {"seed 1 lacks fold 2, which other runs have"}
    assert len(skipped) == 2


def test_another_test_set_has_the_mean_over_the_networks(fold):
    """Each fold's network is tested on all of it."""
    others = {"colondb": list("uv")}
    folders = [
        fold(1, test=list("ab"), others=others, dice=[0.5, 0.7]),
        fold(2, test=list("ef"), others=others, dice=[0.7, 1]),
    ]
    runs = [run for folder in folders for run in read_runs(RunFolder(folder))]
    sections, _ = make_sections(runs)
    colondb = next(section for section in sections if "ColonDB" in section.title)
    assert colondb.images == list("uv")
    assert colondb.systems[0].dice == pytest.approx([0.6, 0.85])
    assert colondb.folds == []
    assert "mean over the networks of folds 1, 2 of 3" in " ".join(colondb.notes)


def test_runs_without_folds_stay_as_they_are(write_run):
    run = read_run(write_run("0"))
    (same,), skipped = pool_folds([run])
    assert same is run
    assert not skipped
