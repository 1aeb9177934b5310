"""scripts/compare.py from the command line."""

import base64
import csv
import json
import re
from html import escape, unescape
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import yaml

from polyp.report.comparisons import Comparison
from polyp.report.sections import Section
from polyp.report.systems import System
from tests.conftest import TINY_SYNTHETIC
from tests.report.conftest import ROOT
from tests.report.runs import read_run

PLAIN, P4, SE2 = "plain U-Net", "p4 U-Net", "SE(2) U-Net"
TITLE = "CVC-ClinicDB: random split by image, 6 test images, 64 px, padded"

module = import_module("polyp.report.compare")  # the package has a function of this name


def test_what_it_leaves(write_run, compare, capfd):
    for seed in (0, 1):
        write_run(f"unet{seed}", seed=seed)
        write_run(f"p4unet{seed}", "p4unet", seed=seed)
    write_run("other", data="kvasir")
    output = compare()
    tables = {"systems", "equivariance", "differences", "runs", "outliers"}
    figures = {"dice", "equivariance", "equivariance-boxes-1", "trade-off"}
    left = {path.name for path in (output / "cvc-random-64px").iterdir()}
    assert left == {
        *(f"{figure}.{form}" for figure in figures for form in ("png", "pdf", "svg")),
        *(f"{table}.{form}" for table in tables for form in ("csv", "md", "tex")),
    }
    alone = {path.name for path in (output / "kvasir-random-64px").iterdir()}
    assert "systems.csv" in alone
    assert "differences.csv" not in alone
    assert {path.name for path in output.iterdir()} == {
        "index.html",
        "cvc-random-64px",
        "kvasir-random-64px",
    }
    printed = capfd.readouterr().out
    assert "| p4 U-Net | 1,234,567 |" in printed
    assert "index.html" in printed


def test_quarter_turns_alone_have_no_numbers_off_the_grid(write_run, compare, undrawn):
    for model in ("unet", "p4unet"):
        write_run(model, model, angles=[0, 90, 180])
    output = compare() / "cvc-random-64px"
    assert {row["measure"] for row in rows(output / "differences.csv")} == {"dice", "outliers"}
    assert {row["dice_on_turned"] for row in rows(output / "systems.csv")} == {""}


def test_the_page_holds_everything_and_needs_nothing(write_run, compare):
    write_run("unet", dice=[0.1] * 6, test=["<i>", "b", "c", "d", "e", "f"])
    write_run("p4unet", "p4unet", test=["<i>", "b", "c", "d", "e", "f"])
    write_run("other", data="kvasir")
    text = (compare() / "index.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,iVBOR") == 8
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"<script|<link|@import|url\(|href=\"[^#]|http|//", text)
    assert set(re.findall(r'src="([^"]*)"', text)) == {"data:image/png;"}
    assert "<i>" not in text
    assert "<dt>plain U-Net: 6</dt><dd>&lt;i&gt;, b, c" in text
    assert "CVC-ClinicDB: random split by image, 6 test images" in text
    assert "Kvasir-SEG: random split by image, 6 test images" in text
    assert "Do not compare numbers between sections" in " ".join(text.split())
    links = set(re.findall(r'href="#([^"]*)"', text))
    assert links == set(re.findall(r'<h2 id="([^"]*)"', text))
    assert len(links) == 2


def test_the_same_runs_give_the_same_files(write_run, compare):
    write_run("unet")

    def contents(output):
        return {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}

    assert contents(compare()) == contents(compare())


def test_runs_that_cannot_be_compared_are_skipped_by_name(write_run, compare, undrawn, capfd):
    write_run("whole")
    (write_run("going", "p4unet") / "metrics.json").unlink()
    (write_run("lacking", "p4unet") / "scores.csv").unlink()
    output = compare()
    printed = capfd.readouterr().out
    page = (output / "index.html").read_text()
    for line in (
        "runs/going: unfinished, it has no metrics.json",
        "runs/lacking/scores.csv: missing",
    ):
        assert line in printed
        assert line in page


def test_a_list_of_folders_also_with_brackets_in_their_names(write_run, compare, undrawn):
    write_run("model.widths=[4,8],seed=0")
    write_run("b", seed=1)
    output = compare("runs=['runs/model.widths=[4,8],seed=0',runs/b]", "output=out")
    with (output / "cvc-random-64px/runs.csv").open() as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0", "1"]


# --- what stands in the files


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def three(write_run):
    """Three systems by name, the best first, each with the means of two runs."""
    dice = {
        P4: ([0.95, 0.9, 0.85, 0.8, 0.9, 0.3], [0.93, 0.96, 0.9, 0.75, 0.8, 0.4]),
        PLAIN: ([0.9, 0.8, 0.6, 0.85, 0.7, 0.1], [0.94, 0.7, 0.65, 0.8, 0.75, 0.2]),
        SE2: ([0.4, 0.5, 0.8, 0.3, 0.6, 0.2], [0.3, 0.65, 0.7, 0.35, 0.1, 0.25]),
    }
    models = {P4: "p4unet", PLAIN: "unet", SE2: "se2unet"}
    return {
        name: [
            read_run(write_run(f"{models[name]}{seed}", models[name], seed, dice=values))
            for seed, values in enumerate(seeds)
        ]
        for name, seeds in dice.items()
    }


@pytest.fixture
def three_seeds(three, write_run) -> None:
    """A third run of each of the three systems: as many seeds as a p value needs."""
    for first, second in three.values():
        dice = (first.dice + second.dice) / 2
        write_run(f"{first.model}2", first.model, 2, dice=list(dice))


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Instead of each figure, what it would have been drawn of: function and systems."""

    def labels(drawn) -> list | str:
        if isinstance(drawn, Comparison):
            return [drawn.measure, drawn.a.label, drawn.b.label]
        if isinstance(drawn, System):
            return drawn.label
        if isinstance(drawn, Section):
            return labels(drawn.systems)
        return drawn if isinstance(drawn, str | float) else [labels(each) for each in drawn]

    for name in FIGURES:
        monkeypatch.setattr(module, name, lambda *drawn, name=name: [name, *labels(drawn)])
    monkeypatch.setattr(module, "rendered", lambda call, form: json.dumps(call).encode())


FIGURES = (
    *("dice_figure", "curves_figure", "boxes_figure", "images_figure", "forest_figure"),
    "tradeoff_figure",
)


def test_differences_are_those_of_the_scores(three, compare, undrawn):
    output = compare("runs=runs", "output=out", "outlier_dice=0.7") / "cvc-random-64px"
    dice = {name: np.mean([run.dice for run in runs], axis=0) for name, runs in three.items()}
    off_grid = {
        name: np.mean([run.consistency[45.0] for run in runs], axis=0)
        for name, runs in three.items()
    }
    failing = {
        name: np.mean([run.dice < 0.7 for run in runs], axis=0) for name, runs in three.items()
    }
    found = rows(output / "differences.csv")
    for measure, values in (
        ("dice", dice),
        ("consistency_off_grid", off_grid),
        ("outliers", failing),
    ):
        of_measure = [row for row in found if row["measure"] == measure]
        assert [(row["a"], row["b"]) for row in of_measure] == [
            (P4, PLAIN),
            (P4, SE2),
            (PLAIN, SE2),
        ]
        for row in of_measure:
            difference = np.mean(values[row["a"]] - values[row["b"]])
            assert float(row["difference"]) == pytest.approx(difference)
            assert "p" not in row
    assert "Differences. CVC-ClinicDB" in (output / "differences.md").read_text()


def test_declared_comparisons_have_p_values_and_a_forest_plot(three_seeds, compare, undrawn):
    pairs = f"comparisons=[['{P4}','{PLAIN}'],['{SE2}','{PLAIN}'],['{P4}',nowhere]]"
    output = compare("runs=runs", "output=out", "measures=[dice]", pairs)
    made = [["dice", P4, PLAIN], ["dice", SE2, PLAIN]]
    found = rows(output / "cvc-random-64px/differences.csv")
    assert [[row["measure"], row["a"], row["b"]] for row in found] == made
    raw = sorted(float(row["p"]) for row in found)
    assert min(float(row["p_holm"]) for row in found) == pytest.approx(min(1, 2 * raw[0]))
    for form in ("png", "pdf", "svg"):
        drawn = json.loads((output / f"forest.{form}").read_text())
        assert drawn == ["forest_figure", [[TITLE, made]]]
    page = (output / "index.html").read_text()
    assert "Declared comparisons" in page
    assert "comparisons of which no test set has both systems: p4 U-Net − nowhere." in page
    assert not (compare("runs=runs", "output=out") / "forest.png").exists()


@pytest.mark.parametrize("study", ["folds", "hospitals"])
def test_a_study_brings_its_declaration(three_seeds, compare, undrawn, study):
    declared = yaml.safe_load((ROOT / f"configs/study/{study}.yaml").read_text())
    output = compare("runs=runs", "output=out", f"study={study}")
    found = rows(output / "cvc-random-64px/differences.csv")
    measured = [name for name in declared["measures"] if name != "shift"]  # old runs
    assert [[row["measure"], row["a"], row["b"]] for row in found] == [
        [name, P4, PLAIN] for name in measured
    ]
    assert all(row["p_holm"] for row in found)
    missing = [pair for pair in declared["comparisons"] if pair != [P4, PLAIN]]
    text = unescape((output / "index.html").read_text())
    pairs = "; ".join(f"{a} − {b}" for a, b in missing)
    assert f"comparisons of which no test set has both systems: {pairs}. The systems are " in text


def test_each_figure_is_drawn_of_its_systems_and_named_after_them(three, compare, undrawn):
    """And the page shows each above its caption."""
    output = compare("runs=runs", "output=out", "outlier_dice=0.7")
    labels = [P4, PLAIN, SE2]
    expected = {
        "dice": ["dice_figure", labels, 0.7],
        "equivariance": ["curves_figure", labels],
        "equivariance-boxes-1": ["boxes_figure", [P4, PLAIN], TITLE],
        "equivariance-boxes-2": ["boxes_figure", [SE2], TITLE],
        "trade-off": ["tradeoff_figure", labels],
    }
    folder = output / "cvc-random-64px"
    for form in ("png", "pdf", "svg"):
        drawn = {path.stem: json.loads(path.read_text()) for path in folder.glob(f"*.{form}")}
        assert drawn == expected
    captions = {
        "Test Dice": "dice",
        "Consistency by rotation angle: mean over images and seeds, its 95 % interval, and a thin "
        "line per seed": "equivariance",
        f"Consistency by rotation angle: {P4}, {PLAIN}": "equivariance-boxes-1",
        f"Consistency by rotation angle: {SE2}": "equivariance-boxes-2",
        "Test Dice against consistency off the grid, with 95 % intervals; the area of a point is "
        "the training time per image, and small points are single runs": "trade-off",
    }
    page = (output / "index.html").read_text()
    shown = re.findall(r'base64,([^"]*)"[^>]*><figcaption>(.*?)</figcaption>', page)
    assert {caption: json.loads(base64.b64decode(png)) for png, caption in shown} == {
        caption: expected[name] for caption, name in captions.items()
    }


def test_figures_show_the_chosen_systems_and_tables_all(three, compare, undrawn):
    output = compare("runs=runs", "output=out", f"figures=['{SE2}','{P4}',other]")
    folder = output / "cvc-random-64px"
    shown = [P4, SE2]  # in the order of the tables
    drawn = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.png")}
    assert drawn == {
        "dice": ["dice_figure", shown, 0.5],
        "equivariance": ["curves_figure", shown],
        "equivariance-boxes-1": ["boxes_figure", shown, TITLE],
        "trade-off": ["tradeoff_figure", shown],
    }
    assert pd.read_csv(folder / "systems.csv")["system"].tolist() == [P4, PLAIN, SE2]
    page = unescape((output / "index.html").read_text())
    assert "Figures show 2 of the 3 systems." in page
    systems = "; ".join(sorted([P4, PLAIN, SE2]))
    assert f"figures of systems that no test set has: other. The systems are {systems}" in page


def test_training_images_are_drawn_where_their_number_differs(write_run, compare, undrawn):
    for images in (4, 2):
        for model in ("unet", "p4unet"):
            train = [f"t{i}" for i in range(images)]
            config = {"data.train_fraction": images / 4}
            write_run(f"{model}{images}", model, train=train, config=config)
    output = compare()
    drawn = json.loads((output / "cvc-random-64px/training-images.png").read_text())
    figure, lines, systems = drawn
    assert (figure, len(systems)) == ("images_figure", 4)
    assert sorted(lines) == [
        [P4, f"{P4} train_fraction=1.0"],  # the fewest images first
        [PLAIN, f"{PLAIN} train_fraction=1.0"],
    ]
    assert "Test Dice by the number of training images" in (output / "index.html").read_text()


def test_the_page_holds_the_numbers_of_the_tables(three, compare, undrawn):
    output = compare("runs=runs", "output=out", "outlier_dice=0.7")
    page = (output / "index.html").read_text()
    assert "<code>python compare.py runs=runs output=out outlier_dice=0.7</code>" in page
    shown = [
        (caption, re.findall(r"<t[hd](?: class=words)?>(.*?)</t[hd]>", table))
        for caption, table in re.findall(r"<caption>(.*?)</caption>(.*?)</table>", page, re.S)
    ]
    names = ("systems", "equivariance", "differences", "runs")
    assert len(shown) == len(names)
    for name, (caption, cells) in zip(names, shown, strict=True):
        text = (output / "cvc-random-64px" / f"{name}.md").read_text()
        first, _, header, _, *lines = text.splitlines()
        written = [cell for line in (header, *lines) for cell in line[2:-2].split(" | ")]
        assert first.startswith(f"{caption}. CVC-ClinicDB: random split by image")
        assert cells == [escape(cell) for cell in written]


def test_the_page_lists_the_outliers_of_each_system(three, compare, undrawn):
    page = (compare("runs=runs", "output=out", "outlier_dice=0.7") / "index.html").read_text()
    assert "<h3>Outliers: images with a Dice below 0.7</h3>" in page
    images = three[PLAIN][0].images
    expected, in_all = [], set(images)
    for name, runs in three.items():
        failing = [
            {image for image, d in zip(images, run.dice, strict=True) if d < 0.7} for run in runs
        ]
        counts = {image: sum(image in each for each in failing) for image in images}
        said = [
            image if count == len(runs) else f"{image} ({count} of {len(runs)} runs)"
            for image, count in counts.items()
            if count
        ]
        expected.append((f"{name}: {', '.join(str(len(each)) for each in failing)}", said))
        in_all = in_all.intersection(*failing)
    expected.append((f"all runs: {len(in_all)}", [image for image in images if image in in_all]))
    shown = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)
    assert shown == [(name, ", ".join(ids) or "none") for name, ids in expected]
    assert len({len(ids) for _, ids in expected}) > 2


# --- where it is written


def test_an_earlier_comparison_is_replaced_and_other_files_stay(write_run, compare, undrawn):
    for model in ("unet", "p4unet"):
        write_run(model, model)
    write_run("other", data="kvasir")
    output = compare()
    (output / "cvc-random-64px" / "notes.md").write_text("mine")
    compare("runs=runs/unet", "output=out")
    assert {path.name for path in output.iterdir()} == {"index.html", "cvc-random-64px"}
    left = {path.name for path in (output / "cvc-random-64px").iterdir()}
    assert {"systems.csv", "dice.png", "notes.md"} < left
    assert "differences.csv" not in left


@pytest.mark.parametrize("page", [False, True])
def test_a_comparison_without_its_page_is_one_too(write_run, compare, undrawn, page):
    """As in a fresh clone, where the page of docs/results is ignored by git."""
    write_run("unet")
    output = compare()
    if not page:
        (output / "index.html").unlink()
    assert (compare() / "index.html").exists()


@pytest.mark.parametrize(
    ("output", "held"),
    [("runs", "unet"), ("runs/unet", "metrics.json"), ("photos", "1.png"), ("site", "index.html")],
)
def test_nothing_is_written_into_a_folder_of_other_things(
    write_run, refused, tmp_path, output, held
):
    write_run("unet")
    for name in ("photos/1.png", "site/index.html"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("mine")
    told = refused("runs=runs/unet", f"output={output}")
    assert f"output={output}: contains " in told
    assert "is not part of a comparison" in told


def test_nothing_is_left_in_the_working_directory(write_run, compare, tmp_path):
    write_run("unet")
    compare()
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "out"}


# --- what is refused


def change(name, edit):
    """A run whose file `name` has been edited."""

    def spoil(write_run):
        path = write_run("run") / name
        path.write_text(edit(path.read_text()))

    return spoil


def edit_json(**values):
    return lambda text: json.dumps({**json.loads(text), **values})


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda write_run: None, "runs=runs: matches nothing"),
        (lambda write_run: (write_run("run") / "metrics.json").unlink(), "run: unfinished"),
        (lambda write_run: (write_run("run") / "split.json").unlink(), "split.json: missing"),
        (lambda write_run: (write_run("run") / "scores.csv").unlink(), "scores.csv: missing"),
        (lambda write_run: (write_run("run") / ".hydra/config.yaml").unlink(), "config.yaml: miss"),
        (change("metrics.json", lambda text: text[:40]), "metrics.json: damaged"),
        (change("metrics.json", lambda text: "[]"), "metrics.json: not a JSON object"),
        (
            change("metrics.json", lambda text: "{}"),
            "'data' is missing in metrics.json or provenance.json",
        ),
        (change("metrics.json", edit_json(seed="x")), "has an invalid value"),
        (change("metrics.json", edit_json(equivariance={"curve": 1})), "has an invalid value"),
        (
            change("provenance.json", lambda text: "{}"),
            "'training_seconds' is missing",
        ),
        (change("split.json", lambda text: '{"train": []}'), "split.json: not lists"),
        (change("split.json", edit_json(test=["a"])), "scores.csv: has other images"),
        (
            change("scores.csv", lambda text: text.replace("polyp_area", "area")),
            "the column polyp_area is missing",
        ),
        (change("scores.csv", lambda text: ""), "scores.csv: cannot be read"),
        (change("scores.csv", lambda text: text.splitlines()[0]), "has no rows"),
        (
            change("scores.csv", lambda text: text.replace("0.1", "nan")),
            "has 'nan', which is not a number",
        ),
        (
            change("scores.csv", lambda text: text.replace("0.1", "much")),
            "has 'much', which is not a number",
        ),
        (change("scores.csv", lambda text: text + "own,,a,1,1,1,1,1\n"), "image 'a' twice"),
        (change("equivariance.csv", lambda text: text[: len(text) // 2]), "equivariance.csv: "),
        (change(".hydra/config.yaml", lambda text: "a: [1"), "config.yaml: damaged"),
        (change(".hydra/config.yaml", lambda text: "- 1"), "config.yaml: damaged"),
    ],
)
def test_bad_runs_are_refused_in_one_line(write_run, refused, spoil, told):
    spoil(write_run)
    assert told in refused("runs=runs", "output=out")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "output= and runs= are missing: polyp compare"),
        (["runs=runs"], "output= is missing"),
        (["runs=nowhere/*", "output=out"], "runs=nowhere/*: matches nothing"),
        (["runs=runs/run/.hydra", "output=out"], "contains no run"),
        (["runs=runs", "output=runs/run/metrics.json"], "metrics.json is a file"),
        (["runs=runs", "output=runs/run/metrics.json/below"], "metrics.json is a file"),
        (["runs=runs", "output=out", "outlier_dice=1.5"], "outlier_dice=1.5: must be a number"),
        (["runs=runs", "output=out", "outlier_dice=low"], "outlier_dice=low: must be a number"),
        (["runs=runs", "output=out", "outliers=1"], "outliers"),
        (["runs=runs", "output=out", "measures=[dyce]"], "must be some of dice, "),
        (["runs=runs", "output=out", "comparisons=[a,b]"], "a pair of systems, such as [A,B]"),
        (["runs=runs", "output=out", "comparisons=[[a,a]]"], "pairs of different systems"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(write_run, refused, arguments, told):
    write_run("run")
    assert told in refused(*(arguments or ["outlier_dice=0.5"]))


def test_real_runs(command_line, compare, tmp_path):
    """What train.py leaves is what a comparison reads."""
    command_line(*TINY_SYNTHETIC, "model=unet", folder="runs/unet")
    command_line(*TINY_SYNTHETIC, "model=p4unet", "name=my network", folder="runs/p4unet")
    output = compare() / "synthetic-random-32px"
    metrics = json.loads((tmp_path / "runs/unet/metrics.json").read_text())
    (system,) = (row for row in rows(output / "systems.csv") if row["system"] == PLAIN)
    (turned,) = (row for row in rows(output / "equivariance.csv") if row["system"] == PLAIN)
    swept = metrics["equivariance"]
    for row, key, value in (
        (system, "dice", metrics["test"]["dice"]["mean"]),
        (system, "dice_on_turned", swept["dice_truth"]),
        (turned, "consistency_off_grid", swept["off_grid"]),
        (turned, "worst_angle", swept["min"]),
        (turned, "logit_error", swept["logit_error"]),
        (turned, "shift_control", metrics["shift"]["control"]),
        (turned, "shift", metrics["shift"]["mean"]),
        (turned, "network", swept["parts"]["network"]),
    ):
        assert float(row[key] or "nan") == pytest.approx(value, nan_ok=True), key
    for row in rows(output / "differences.csv"):
        assert {row["a"], row["b"]} == {PLAIN, "my network"}
        assert (row["one_run"], row["seeds_a"], row["seeds_b"]) == ("True", "1", "1")


@pytest.mark.parametrize("share", ["one image", "all images"])
def test_undefined_consistency_is_not_averaged_but_counted(write_run, compare, undrawn, share):
    """Where both masks are empty, equivariance.csv has an empty cell."""
    write_run("sound", "p4unet", instrument=True)
    run = write_run("undefined", instrument=True)
    path = run / "equivariance.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[(table["image"] == "a") | (share == "all images"), "dice"] = ""
    table.to_csv(path, index=False)
    (path,) = compare().rglob("equivariance.csv")
    systems = pd.read_csv(path).set_index("system")
    turned = table[(table["angle"].astype(float) % 90 != 0) & (table["dice"] != "")]
    off_grid = systems["consistency_off_grid"][PLAIN]
    if share == "one image":
        assert off_grid == pytest.approx(turned["dice"].astype(float).mean())
        assert systems["undefined"][PLAIN] == pytest.approx(1 / 6)
        assert "| 16.7 % |" in path.with_suffix(".md").read_text()
    else:
        assert np.isnan(off_grid)
        assert systems["undefined"][PLAIN] == 1
        assert "| plain U-Net (degenerate: seed 0) |" in path.with_suffix(".md").read_text()
    assert np.isfinite(systems["consistency_off_grid"]["p4 U-Net"])
    assert systems["undefined"]["p4 U-Net"] == 0
