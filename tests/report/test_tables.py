"""What the tables hold, in each of their forms."""

import numpy as np
import pytest

from polyp.evaluation import summary
from polyp.report import tables
from polyp.report.sections import make_sections
from polyp.report.statistics import PairedTest
from polyp.report.tables import Table, outlier_lists, outliers_table, runs_table, systems_table
from tests.report.runs import read_run

DICE = [0.9, 0.8, 0.7, 0.6, 0.45, 0.2]


@pytest.fixture
def section(write_run):
    folders = [
        write_run("0", dice=DICE),
        write_run("1", seed=1, dice=[d - 0.1 for d in DICE]),
        write_run("2", "p4unet", dice=[0.9, 0.9, 0.3, 0.9, 0.9, 0.1], multiply_adds=None),
    ]
    return make_sections([read_run(folder) for folder in folders])[0][0]


def test_numbers_of_the_systems(section):
    record = systems_table(section, 0.5).records[1]
    dice = np.array(DICE) - 0.05
    assert record["system"] == "unet"
    assert record["seeds"] == 2
    assert record["dice_mean"] == pytest.approx(dice.mean())
    assert record["dice_std_over_seeds"] == pytest.approx(0.1 / np.sqrt(2))
    assert record["dice_median"] == pytest.approx(np.median(dice))
    low, high = summary(dice)["ci95"]
    assert (record["dice_ci95_low"], record["dice_ci95_high"]) == pytest.approx((low, high))
    assert (record["outliers"], record["outliers_mean"]) == ("2, 2", 2)
    turned = np.mean([run.consistency.iloc[:, 1:] for run in section.systems[1].runs], axis=0)
    assert record["equivariance_mean"] == pytest.approx(turned.mean())
    assert record["equivariance_min"] == pytest.approx(turned.mean(axis=0).min())
    assert record["equivariance_at_90"] == pytest.approx(turned[:, 1].mean())
    assert record["consistency_off_grid"] == pytest.approx(turned[:, 0].mean())
    assert record["turned_dice_mean"] == 45 / 360
    assert record["equivariance_ceiling"] == pytest.approx(0.99)
    assert record["training_seconds"] == 60


def test_one_run_has_its_own_numbers_to_the_last_digit(section):
    record = systems_table(section, 0.5).records[0]
    own = summary([0.9, 0.9, 0.3, 0.9, 0.9, 0.1])
    assert (record["dice_mean"], record["dice_ci95_low"]) == (own["mean"], own["ci95"][0])


def test_cells_of_the_systems(section):
    table = systems_table(section, 0.5)
    p4unet, unet = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert unet["Dice"] == "0.558 ± 0.071"
    assert p4unet["Dice"] == "0.667"  # one seed has no spread
    assert unet["parameters"] == "1,234,567"
    assert unet["MACs"] == "5.00 G"
    assert p4unet["MACs"] == "–"
    assert unet["training"] == "1.0 min"


def test_intervals_draw_groups(write_run):
    section = make_sections([read_run(write_run("0", groups="112233", dice=DICE))])[0][0]
    table = systems_table(section, 0.5)
    low, high = summary(DICE, units=[1, 1, 2, 2, 3, 3])["ci95"]
    (record,) = table.records
    assert (record["dice_ci95_low"], record["dice_ci95_high"]) == pytest.approx((low, high))
    assert table.what == "Systems, intervals by 3 groups"


def test_outliers_are_those_of_each_run(section):
    # Of unet's two runs, both fail on e and f, and below .55 one of them on d too.
    assert outlier_lists(section, 0.55) == {
        "p4unet: 2": ["c", "f"],
        "unet: 2, 3": ["d (1 of 2 runs)", "e", "f"],
        "all runs: 1": ["f"],
    }
    assert section.systems[1].outliers(0.55).tolist() == [0, 0, 0, 0.5, 1, 1]
    assert systems_table(section, 0.55).records[1]["outliers_mean"] == 2.5
    table = outliers_table(section, 0.55)
    assert [row[:2] for row in table.rows] == [
        ["f", "3 of 3"],
        ["e", "2 of 3"],
        ["c", "1 of 3"],
        ["d", "1 of 3"],
    ]
    assert outliers_table(section, 0.0).files("x")["x.csv"] == b"image,runs,p4unet,unet\n"


def test_forms():
    table = Table(
        what="Tests",
        of="a_b: 5 %",
        records=[{"a": "x|<b>", "n": 3, "d": -0.125}, {"a": "y, z", "n": None, "d": 0.1 + 0.2}],
        columns={
            "A": lambda record: record["a"],
            "A − B": lambda record: f"{record['d']:.2f}".replace("-", "−"),
        },
    )
    files = {name: data.decode() for name, data in table.files("t").items()}
    assert files["t.csv"] == 'a,n,d\nx|<b>,3,-0.125\n"y, z",,0.30000000000000004\n'
    assert files["t.md"].splitlines() == [
        "Tests. a_b: 5 %.",
        "",
        "| A | A − B |",
        "| --- | ---: |",
        "| x\\|<b> | −0.12 |",
        "| y, z | 0.30 |",
    ]
    latex = files["t.tex"]
    assert r"\caption{Tests. a\_b: 5 \%.}" in latex
    assert r"\begin{tabular}{lr}" in latex
    assert r"  x|$<$b$>$ & $-$0.12 \\" in latex
    assert latex.index(r"\toprule") < latex.index(r"\midrule") < latex.index(r"\bottomrule")


def test_every_further_metric_has_a_column(write_run):
    """Also those of single classes; it is the mean over the images where it is defined."""
    further = {
        "hd95": [1.0, "", 3.0, 5.0, 7.0, 9.0],
        "s_measure": [0.1] * 6,
        "dice.adenoma": [0.2] * 6,
        "iou.adenoma": [0.3] * 6,
    }
    runs = [
        write_run("0", "p4unet", dice=DICE, columns=further),
        write_run("1", "p4unet", seed=1, columns=further | {"hd95": ["", "", 5.0, 5.0, 9.0, 9.0]}),
        write_run("2", dice=[0.1] * 6),
    ]
    section = make_sections([read_run(folder) for folder in runs])[0][0]
    table = systems_table(section, 0.5)
    p4unet, unet = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert table.records[0]["hd95_mean"] == np.mean([1, 4, 5, 8, 9])
    assert p4unet["HD95"] == "5.400"
    assert p4unet["s measure"] == "0.100"
    assert p4unet["Dice, adenoma"] == "0.200"
    assert "iou adenoma" not in [name.replace(",", "").lower() for name in table.header]
    assert (unet["HD95"], table.records[1]["hd95_mean"]) == ("–", None)
    assert unet["precision"] == "0.100"


def test_every_cell_is_its_own_number(write_run):
    """No two numbers of a system are alike, so none can stand in another's column."""
    angles = [0, 30, 60, 90, 120]
    runs = [
        write_run(f"{i}", seed=i, angles=angles, dice=[d - i / 9 for d in DICE]) for i in (0, 1)
    ]
    runs.append(write_run("2", "p4unet", angles=angles, dice=[0.9, 0.8, 0.3, 0.7, 0.6, 0.1]))
    (section,), _ = make_sections([read_run(folder) for folder in runs])
    table = systems_table(section, 0.5)
    for row, record in zip(table.rows, table.records, strict=True):
        cells = dict(zip(table.header, row, strict=True))
        iou = np.mean(
            [
                run.scores["iou"]
                for system in section.systems
                for run in system.runs
                if system.label == record["system"]
            ]
        )
        assert record["iou_mean"] == pytest.approx(iou)
        low, high = record["dice_ci95_low"], record["dice_ci95_high"]
        assert low < record["dice_mean"] < high
        expected = {
            "system": record["system"],
            "seeds": str(record["seeds"]),
            "95 % interval": f"{low:.3f} to {high:.3f}",
            "median": f"{record['dice_median']:.3f}",
            "IoU": f"{iou:.3f}",
            "consistency": f"{record['equivariance_mean']:.3f}",
            "worst angle": f"{record['equivariance_min']:.3f}",
            "at 90°": f"{record['equivariance_at_90']:.3f}",
            "interpolation limit": "0.990",
            "outliers": {"unet": "2, 3", "p4unet": "2"}[record["system"]],
        }
        assert {name: cells[name] for name in expected} == expected
        assert len({cells[name] for name in expected if "0." in cells[name]}) == 7


def test_training_times_are_means_over_the_runs(write_run):
    folders = [write_run("0"), write_run("1", seed=1)]
    text = (folders[1] / "provenance.json").read_text()
    (folders[1] / "provenance.json").write_text(text.replace("60.0", "180.0"))
    (section,), _ = make_sections([read_run(folder) for folder in folders])
    assert systems_table(section, 0.5).rows[0][-1] == "2.0 min"
    assert [record["training_seconds"] for record in runs_table(section).records] == [60, 180]


def test_cells_of_the_tests():
    made = PairedTest("x", "y", 6, 6, -0.1234, -0.2345, 0.0456, -0.345, 0.0456, 0.0912)
    other = PairedTest("x", "z", 6, 6, 0.5, 0.4, 0.6, 1.0, 0.0004, 0.001)
    table = tables.tests_table([made, other], "Dice", "cvc: random")
    assert table.what == "Paired tests of Dice"
    assert table.of == "cvc: random"
    row, below = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert row == {
        "A": "x",
        "B": "y",
        "A − B": "−0.123",
        "95 % interval": "−0.234 to +0.046",
        "rank-biserial": "−0.34",
        "p": "0.046",
        "p (Holm)": "0.091",
    }
    assert (below["A − B"], below["p"], below["p (Holm)"]) == ("+0.500", "< 0.001", "0.001")
    assert table.records == [vars(made), vars(other)]


def test_runs_with_their_own_numbers(section):
    table = runs_table(section)
    runs = [run for system in section.systems for run in system.runs]
    assert [row[0] for row in table.rows] == ["p4unet", "unet", "unet"]
    dice = [np.mean([0.9, 0.9, 0.3, 0.9, 0.9, 0.1]), np.mean(DICE), np.mean(DICE) - 0.1]
    for row, record, run, mean in zip(table.rows, table.records, runs, dice, strict=True):
        cells = dict(zip(table.header, row, strict=True))
        turned = run.consistency.iloc[:, 1:].to_numpy().mean()
        assert record["dice"] == pytest.approx(mean)
        assert record["equivariance"] == pytest.approx(turned)
        assert cells | {"system": ""} == {
            "system": "",
            "folder": str(run.folder),
            "commit": "abc",
            "machine": "Linux",
            "seed": str(run.seed),
            "Dice": f"{mean:.4f}",
            "consistency": f"{turned:.4f}",
        }
    assert [record["seed"] for record in table.records] == [0, 0, 1]
