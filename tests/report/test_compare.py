"""scripts/compare.py from the command line."""

import base64
import csv
import json
import re
from html import escape
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from polyp.report.systems import System
from tests.conftest import TINY_SYNTHETIC
from tests.report.runs import read_run

module = import_module("polyp.report.compare")  # the package has a function of this name


def test_what_it_leaves(write_run, compare, capfd):
    for seed in (0, 1):
        write_run(f"unet{seed}", seed=seed)
        write_run(f"p4unet{seed}", "p4unet", seed=seed)
    write_run("other", data="kvasir")
    output = compare()
    tables = {"systems", "runs", "outliers"}
    scores = ("dice", "equivariance", "off_grid", "turned_dice", "outliers")
    tables |= {f"{score}_tests" for score in scores}
    figures = {"dice.png", "equivariance.png", "equivariance-boxes-1.png"}
    left = {path.name for path in (output / "cvc-random-64px").iterdir()}
    assert left == figures | {
        f"{table}.{form}" for table in tables for form in ("csv", "md", "tex")
    }
    alone = {path.name for path in (output / "kvasir-random-64px").iterdir()}
    assert "systems.csv" in alone
    assert "dice_tests.csv" not in alone
    assert {path.name for path in output.iterdir()} == {
        "index.html",
        "cvc-random-64px",
        "kvasir-random-64px",
    }
    printed = capfd.readouterr().out
    assert "| p4unet | 1,234,567 |" in printed
    assert "index.html" in printed


def test_quarter_turns_alone_have_no_numbers_off_the_grid(write_run, compare, undrawn):
    for model in ("unet", "p4unet"):
        write_run(model, model, angles=[0, 90, 180])
    output = compare() / "cvc-random-64px"
    assert not (output / "off_grid_tests.csv").exists()
    with (output / "systems.csv").open() as file:
        assert {row["turned_dice_mean"] for row in csv.DictReader(file)} == {""}


def test_the_page_holds_everything_and_needs_nothing(write_run, compare):
    write_run("unet", dice=[0.1] * 6, test=["<i>", "b", "c", "d", "e", "f"])
    write_run("p4unet", "p4unet", test=["<i>", "b", "c", "d", "e", "f"])
    write_run("other", data="kvasir")
    text = (compare() / "index.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,iVBOR") == 6
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"<script|<link|@import|url\(|href=\"[^#]|http|//", text)
    assert set(re.findall(r'src="([^"]*)"', text)) == {"data:image/png;"}
    assert "<i>" not in text
    assert "<dt>unet: 6</dt><dd>&lt;i&gt;, b, c" in text
    assert "cvc: random split by image, 6 test images" in text
    assert "kvasir: random split by image, 6 test images" in text
    assert "numbers are not to be compared between them" in " ".join(text.split())
    links = set(re.findall(r'href="#([^"]*)"', text))
    assert links == set(re.findall(r'<h2 id="([^"]*)"', text))
    assert len(links) == 2


def test_the_same_runs_give_the_same_files(write_run, compare):
    write_run("unet")
    write_run("p4unet", "p4unet")

    def contents(output):
        return {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}

    assert contents(compare()) == contents(compare())


def test_runs_that_cannot_be_compared_are_left_out_by_name(write_run, compare, undrawn, capfd):
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
        "p4unet": ([0.95, 0.9, 0.85, 0.8, 0.9, 0.3], [0.93, 0.96, 0.9, 0.75, 0.8, 0.4]),
        "unet": ([0.9, 0.8, 0.6, 0.85, 0.7, 0.1], [0.94, 0.7, 0.65, 0.8, 0.75, 0.2]),
        "se2unet": ([0.4, 0.5, 0.8, 0.3, 0.6, 0.2], [0.3, 0.65, 0.7, 0.35, 0.1, 0.25]),
    }
    return {
        model: [
            read_run(write_run(f"{model}{seed}", model, seed, dice=values))
            for seed, values in enumerate(seeds)
        ]
        for model, seeds in dice.items()
    }


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Instead of each figure, what it would have been drawn of: function, systems and options."""

    def labels(systems) -> list:
        return [s.label if isinstance(s, System) else labels(s) for s in systems]

    for name in ("dice_figure", "curves_figure", "boxes_figure", "images_figure"):
        monkeypatch.setattr(
            module, name, lambda systems, *options, name=name: [name, labels(systems), *options]
        )
    monkeypatch.setattr(module, "_png", lambda call: json.dumps(call).encode())


def test_each_table_of_tests_is_of_its_own_score(three, compare, undrawn):
    output = compare("runs=runs", "output=out", "outlier_dice=0.7") / "cvc-random-64px"
    dice = {name: np.mean([run.dice for run in runs], axis=0) for name, runs in three.items()}
    consistency = {
        name: np.mean([run.consistency.iloc[:, 1:] for run in runs], axis=(0, 2))
        for name, runs in three.items()
    }
    failing = {name: values < 0.7 for name, values in dice.items()}
    pairs = [("p4unet", "unet"), ("p4unet", "se2unet"), ("unet", "se2unet")]
    for name, values in (("dice", dice), ("equivariance", consistency), ("outliers", failing)):
        found = rows(output / f"{name}_tests.csv")
        assert [(row["a"], row["b"]) for row in found] == pairs
        for row in found:
            difference = np.mean(1.0 * values[row["a"]] - values[row["b"]])
            assert float(row["difference"]) == pytest.approx(difference)
    assert "Dice below 0.7" in (output / "outliers_tests.md").read_text()
    assert "Paired tests of Dice." in (output / "dice_tests.md").read_text()
    assert "Paired tests of consistency." in (output / "equivariance_tests.md").read_text()


def test_each_figure_is_drawn_of_its_systems_and_named_after_them(three, compare, undrawn):
    """And the page shows each above its caption."""
    output = compare("runs=runs", "output=out", "outlier_dice=0.7")
    title = "cvc: random split by image, 6 test images, 64 px (resize=pad)"
    labels = ["p4unet", "unet", "se2unet"]
    expected = {
        "dice": ["dice_figure", labels, title, 0.7],
        "equivariance": ["curves_figure", labels, title],
        "equivariance-boxes-1": ["boxes_figure", ["p4unet", "unet"], title],
        "equivariance-boxes-2": ["boxes_figure", ["se2unet"], title],
    }
    folder = output / "cvc-random-64px"
    assert {path.stem: json.loads(path.read_text()) for path in folder.glob("*.png")} == expected
    captions = {
        "Test Dice": "dice",
        "Consistency by rotation angle, means over the test images": "equivariance",
        "Consistency by rotation angle: p4unet, unet": "equivariance-boxes-1",
        "Consistency by rotation angle: se2unet": "equivariance-boxes-2",
    }
    page = (output / "index.html").read_text()
    shown = re.findall(r'base64,([^"]*)"[^>]*><figcaption>(.*?)</figcaption>', page)
    assert {caption: json.loads(base64.b64decode(png)) for png, caption in shown} == {
        caption: expected[name] for caption, name in captions.items()
    }


def test_training_images_are_drawn_where_their_number_differs(write_run, compare, undrawn):
    for images in (4, 2):
        for model in ("unet", "p4unet"):
            train = [f"t{i}" for i in range(images)]
            config = {"data.train_fraction": images / 4}
            write_run(f"{model}{images}", model, train=train, config=config)
    output = compare()
    drawn = json.loads((output / "cvc-random-64px/training-images.png").read_text())
    figure, lines, title, units = drawn
    assert (figure, title.split(":")[0]) == ("images_figure", "cvc")
    assert units == list("abcdef")
    assert sorted(lines) == [
        ["p4unet", "p4unet train_fraction=1.0"],  # the fewest images first
        ["unet", "unet train_fraction=1.0"],
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
    scores = ("dice", "equivariance", "off_grid", "turned_dice", "outliers")
    names = ("systems", *(f"{score}_tests" for score in scores), "runs")
    assert len(shown) == len(names)
    for name, (caption, cells) in zip(names, shown, strict=True):
        text = (output / "cvc-random-64px" / f"{name}.md").read_text()
        first, _, header, _, *lines = text.splitlines()
        written = [cell for line in (header, *lines) for cell in line[2:-2].split(" | ")]
        assert first.startswith(f"{caption.replace('&lt;', '<')}. cvc: random split by image")
        assert cells == [escape(cell) for cell in written]


def test_the_page_lists_the_outliers_of_each_system(three, compare, undrawn):
    page = (compare("runs=runs", "output=out", "outlier_dice=0.7") / "index.html").read_text()
    assert "<h3>Outliers: images with a Dice below 0.7</h3>" in page
    images = three["unet"][0].images
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
    assert not any("tests" in name for name in left)


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
    assert f"output={output}: holds " in told
    assert "is of no comparison" in told


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
        (change("metrics.json", lambda text: "{}"), "lacks 'data'"),
        (change("metrics.json", edit_json(seed="x")), "holds what it should not"),
        (change("metrics.json", edit_json(equivariance={"curve": 1})), "holds what it should not"),
        (change("provenance.json", lambda text: "{}"), "lacks 'training_seconds'"),
        (change("split.json", lambda text: '{"train": []}'), "split.json: not lists"),
        (change("split.json", edit_json(test=["a"])), "scores.csv: holds other images"),
        (change("scores.csv", lambda text: text.replace("iou", "jaccard")), "lacks the column iou"),
        (change("scores.csv", lambda text: ""), "scores.csv: cannot be read"),
        (change("scores.csv", lambda text: text.splitlines()[0]), "holds no rows"),
        (
            change("scores.csv", lambda text: text.replace("0.1", "nan")),
            "holds 'nan', which is no number",
        ),
        (
            change("scores.csv", lambda text: text.replace("0.1", "much")),
            "holds 'much', which is no number",
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
        (["runs=runs/run/.hydra", "output=out"], "holds no run"),
        (["runs=runs", "output=runs/run/metrics.json"], "metrics.json is a file"),
        (["runs=runs", "output=runs/run/metrics.json/below"], "metrics.json is a file"),
        (["runs=runs", "output=out", "outlier_dice=1.5"], "outlier_dice=1.5: must be a number"),
        (["runs=runs", "output=out", "outlier_dice=low"], "outlier_dice=low: must be a number"),
        (["runs=runs", "output=out", "outliers=1"], "outliers"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(write_run, refused, arguments, told):
    write_run("run")
    assert told in refused(*(arguments or ["outlier_dice=0.5"]))


def test_real_runs(command_line, compare, tmp_path):
    """What train.py leaves is what a comparison reads."""
    for model in ("unet", "p4unet"):
        command_line(*TINY_SYNTHETIC, f"model={model}", folder=f"runs/{model}")
    output = compare() / "synthetic-random-32px"
    metrics = json.loads((tmp_path / "runs/unet/metrics.json").read_text())
    with (output / "systems.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["system"].startswith("unet"))
    assert float(row["dice_mean"]) == metrics["test"]["dice"]["mean"]
    assert [float(row[f"dice_ci95_{end}"]) for end in ("low", "high")] == metrics["test"]["dice"][
        "ci95"
    ]
    for name in ("mean", "min", "at_90", "ceiling"):
        assert float(row[f"equivariance_{name}"]) == pytest.approx(metrics["equivariance"][name])


@pytest.mark.parametrize("share", ["one image", "all images"])
def test_undefined_consistency_is_left_out_and_told(write_run, compare, share):
    """Where both masks are empty, equivariance.csv has an empty cell."""
    write_run("sound", "p4unet")
    run = write_run("undefined")
    path = run / "equivariance.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[(table["image"] == "a") | (share == "all images"), "dice"] = ""
    table.to_csv(path, index=False)
    output = compare()
    (folder,) = [place.parent for place in output.rglob("systems.csv")]
    systems = pd.read_csv(folder / "systems.csv").set_index("system")
    turned = table[(table["angle"].astype(float) % 90 != 0) & (table["dice"] != "")]
    off_grid = systems["consistency_off_grid"]["unet"]
    if share == "one image":
        assert off_grid == pytest.approx(turned["dice"].astype(float).mean())
    else:
        assert np.isnan(off_grid)
    assert np.isfinite(systems["consistency_off_grid"]["p4unet"])
    percent = "16.7" if share == "one image" else "100.0"
    assert (
        f"undefined at {percent} % of the images and angles" in (output / "index.html").read_text()
    )
