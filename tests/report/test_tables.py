"""What the tables hold, in each of their forms."""

import numpy as np
import pytest

from polyp.report.bootstrap import hierarchical_interval
from polyp.report.comparisons import compare_systems
from polyp.report.measures import MEASURES
from polyp.report.sections import make_sections
from polyp.report.tables import (
    Table,
    differences_table,
    equivariance_table,
    outlier_lists,
    outliers_table,
    runs_table,
    systems_table,
)
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
    dice = np.array([DICE, np.array(DICE) - 0.1])
    assert record["system"] == "plain U-Net"
    assert record["seeds"] == 2
    found = hierarchical_interval(dice, section.units)
    assert (record["dice"], record["dice_low"], record["dice_high"]) == pytest.approx(
        (dice.mean(), found.low, found.high)
    )
    assert record["dice_std_over_seeds"] == pytest.approx(0.1 / np.sqrt(2))
    assert record["dice_median"] == pytest.approx(np.median(dice.mean(axis=0)))
    assert (record["outliers"], record["outliers_mean"]) == ("2, 2", 2)
    off_grid = np.array([run.consistency[45.0] for run in section.systems[1].runs])
    found = hierarchical_interval(off_grid, section.units)
    names = ("", "_low", "_high")
    assert [record[f"consistency_off_grid{name}"] for name in names] == pytest.approx(
        [off_grid.mean(), found.low, found.high]
    )
    assert record["dice_on_turned"] == 45 / 360
    assert record["training_seconds"] == 60


def test_numbers_of_the_equivariance(write_run):
    angles = [0, 45, 60, 90, 180]
    folders = [write_run(str(s), seed=s, angles=angles, instrument=True) for s in (0, 1)]
    (section,), _ = make_sections([read_run(folder) for folder in folders])
    (system,) = section.systems
    table = equivariance_table(section)
    (record,), (row,) = table.records, table.rows
    cells = dict(zip(table.header, row, strict=True))
    means = np.mean([run.consistency for run in system.runs], axis=(0, 1))
    for name, called in MEASURES.items():
        if called in cells:
            values = system.values(name)
            found = hierarchical_interval(values, section.units)
            assert record[name] == pytest.approx(values.mean())
            assert (record[f"{name}_low"], record[f"{name}_high"]) == (found.low, found.high)
            shown = f"{values.mean():.3f} ({found.low:.3f} to {found.high:.3f})"
            assert cells[called] == shown.replace("-", "−")
    assert len({cell for cell in row if "(" in cell}) == 11
    assert cells["worst angle"] == f"{means[1:].min():.3f}"
    assert cells["undefined"] == "0.0 %"


def test_old_runs_have_empty_cells(section):
    for row in equivariance_table(section).rows:
        cells = dict(zip(equivariance_table(section).header, row, strict=True))
        empty = {name for name, cell in cells.items() if cell == "–"}
        assert {"shift consistency", "part: network", "logit error", "undefined"} < empty
        assert "consistency off the grid" not in empty


def test_degenerate_runs_are_marked(section):
    section.systems[1].runs[1].consistency.iloc[:] = 1.0
    for table in (systems_table(section, 0.5), equivariance_table(section)):
        assert [row[0] for row in table.rows] == [
            "p4 U-Net",
            "plain U-Net (degenerate: seed 1)",
        ]


def test_cells_of_the_systems(section):
    table = systems_table(section, 0.5)
    p4unet, unet = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert (unet["seeds"], p4unet["seeds"]) == ("2", "one run")
    assert unet["Dice"] == "0.558 ± 0.071"
    assert p4unet["Dice"] == "0.667"  # one seed has no spread
    assert unet["parameters"] == "1,234,567"
    assert unet["MACs"] == "5.00 G"
    assert p4unet["MACs"] == "–"
    assert unet["training"] == "1.0 min"


def test_intervals_draw_groups(write_run):
    section = make_sections([read_run(write_run("0", groups="112233", dice=DICE))])[0][0]
    table = systems_table(section, 0.5)
    found = hierarchical_interval(np.array([DICE]), [1, 1, 2, 2, 3, 3])
    (record,) = table.records
    assert (record["dice_low"], record["dice_high"]) == (found.low, found.high)
    assert table.what == "Systems, intervals over 3 groups"


def test_outliers_are_those_of_each_run(section):
    # Of unet's two runs, both fail on e and f, and below .55 one of them on d too.
    assert outlier_lists(section, 0.55) == {
        "p4 U-Net: 2": ["c", "f"],
        "plain U-Net: 2, 3": ["d (1 of 2 runs)", "e", "f"],
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
    assert outliers_table(section, 0.0).files("x")["x.csv"] == b"image,runs,p4 U-Net,plain U-Net\n"


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
    assert table.records[0]["hd95"] == np.mean([1, 4, 5, 8, 9])
    assert p4unet["HD95"] == "5.400"
    assert p4unet["S-measure"] == "0.100"
    assert p4unet["Dice, adenoma"] == "0.200"
    assert "iou adenoma" not in [name.replace(",", "").lower() for name in table.header]
    assert (unet["HD95"], table.records[1]["hd95"]) == ("–", None)
    assert unet["precision"] == "0.100"


def with_interval(record: dict, name: str) -> str:
    low, high = record[f"{name}_low"], record[f"{name}_high"]
    return f"{record[name]:.3f} ({low:.3f} to {high:.3f})"


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
        assert record["iou"] == pytest.approx(iou)
        low, high = record["dice_low"], record["dice_high"]
        assert low < record["dice"] < high
        expected = {
            "system": record["system"],
            "seeds": {1: "one run", 2: "2"}[record["seeds"]],
            "95 % interval": f"{low:.3f} to {high:.3f}",
            "median": f"{record['dice_median']:.3f}",
            "IoU": f"{iou:.3f}",
            "consistency off the grid": with_interval(record, "consistency_off_grid"),
            "Dice on turned images": with_interval(record, "dice_on_turned"),
            "outliers": {"plain U-Net": "2, 3", "p4 U-Net": "2"}[record["system"]],
        }
        assert {name: cells[name] for name in expected} == expected
        assert len({cells[name] for name in expected if "0." in cells[name]}) == 5


def test_training_times_are_means_over_the_runs(write_run):
    folders = [write_run("0"), write_run("1", seed=1)]
    text = (folders[1] / "provenance.json").read_text()
    (folders[1] / "provenance.json").write_text(text.replace("60.0", "180.0"))
    (section,), _ = make_sections([read_run(folder) for folder in folders])
    assert systems_table(section, 0.5).rows[0][-1] == "2.0 min"
    assert [record["training_seconds"] for record in runs_table(section).records] == [60, 180]


def test_cells_of_declared_differences(write_run):
    """Of three seeds each: 2 / C(6, 3) is the smallest p."""
    dice = {"p4unet": (0.9, 0.8, 0.85), "unet": (0.5, 0.6, 0.55)}
    folders = [
        write_run(f"{m}{s}", m, s, dice=np.linspace(d, d + 0.1, 6), multiply_adds=100 + 20 * s)
        for m, seeds in dice.items()
        for s, d in enumerate(seeds)
    ]
    (section,), _ = make_sections([read_run(folder) for folder in folders])
    (made,) = compare_systems([section], [("p4 U-Net", "plain U-Net")], ["dice"], 0.5)
    table = differences_table(made, section)
    (record,), (row,) = table.records, table.rows
    estimate = made[0].estimate
    assert record["difference"] == pytest.approx(0.3)
    assert (record["low"], record["high"], record["p"]) == (
        estimate.low,
        estimate.high,
        estimate.p,
    )
    assert dict(zip(table.header, row, strict=True)) == {
        "measure": "Dice",
        "A": "p4 U-Net",
        "B": "plain U-Net",
        "A − B": "+0.300",
        "95 % interval": f"{estimate.low:+.3f} to {estimate.high:+.3f}".replace("-", "−"),
        "seeds": "3, 3",
        "images": "6",
        "equal": "parameters, MACs",
        "p": f"{estimate.p:.3f}",
        "p (Holm)": f"{estimate.p:.3f}",
        "smallest p by swapping seeds": "0.100",
        "mixed model": row[-1],
    }


def test_three_seeds_have_a_second_opinion(write_run):
    folders = [write_run(f"{m}{s}", m, s) for m in ("unet", "p4unet") for s in range(3)]
    (section,), _ = make_sections([read_run(folder) for folder in folders])
    (made,) = compare_systems([section], [("p4 U-Net", "plain U-Net")], ["dice"], 0.5)
    (cells,) = differences_table(made, section).rows
    second = made[0].second_opinion
    assert second.converged
    assert cells[-1] == f"{second.low:+.3f} to {second.high:+.3f}".replace("-", "−")


def test_few_seeds_have_no_p(section):
    (declared,) = compare_systems([section], [("p4 U-Net", "plain U-Net")], ["dice"], 0.5)
    table = differences_table(declared, section)
    (cells,) = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert {cells[n] for n in ("p", "p (Holm)", "smallest p by swapping seeds")} == {"–"}
    assert cells["seeds"] == "1, 2"
    assert cells["equal"] == "parameters"  # of one the multiply-adds are not known
    (undeclared,) = compare_systems([section], None, ["dice"], 0.5)
    assert not {"p", "p (Holm)"} & set(differences_table(undeclared, section).header)


def test_what_differs_by_more_than_a_tenth_is_not_equal(write_run):
    counts = {"unet": (100, 1000), "p4unet": (90, 880)}
    folders = [
        write_run(m, m, parameters=parameters, multiply_adds=macs)
        for m, (parameters, macs) in counts.items()
    ]
    (section,), _ = make_sections([read_run(folder) for folder in folders])
    (made,) = compare_systems([section], None, ["dice"], 0.5)
    assert differences_table(made, section).records[0]["equal"] == "parameters"


def test_runs_with_their_own_numbers(section):
    table = runs_table(section)
    runs = [run for system in section.systems for run in system.runs]
    assert [row[0] for row in table.rows] == ["p4 U-Net", "plain U-Net", "plain U-Net"]
    dice = [np.mean([0.9, 0.9, 0.3, 0.9, 0.9, 0.1]), np.mean(DICE), np.mean(DICE) - 0.1]
    for row, record, run, mean in zip(table.rows, table.records, runs, dice, strict=True):
        cells = dict(zip(table.header, row, strict=True))
        turned = run.consistency.iloc[:, 1:].to_numpy().mean()
        assert record["dice"] == pytest.approx(mean)
        assert record["consistency"] == pytest.approx(turned)
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
