"""scripts/compare.py from the command line."""

import csv
import json
import re

import pytest

from tests.conftest import TINY_SYNTHETIC


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


def test_quarter_turns_alone_have_no_numbers_off_the_grid(write_run, compare):
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
    assert not re.search(r"<script|<link|@import|url\(|href|http|//", text)
    assert set(re.findall(r'src="([^"]*)"', text)) == {"data:image/png;"}
    assert "<i>" not in text
    assert "<dt>unet: 6</dt><dd>&lt;i&gt;, b, c" in text
    assert "cvc: random split by image, 6 test images" in text
    assert "kvasir: random split by image, 6 test images" in text
    assert "numbers are not to be compared between them" in text


def test_the_same_runs_give_the_same_files(write_run, compare):
    write_run("unet")
    write_run("p4unet", "p4unet")

    def contents(output):
        return {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}

    assert contents(compare()) == contents(compare())


def test_runs_that_cannot_be_compared_are_left_out_by_name(write_run, compare, capfd):
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


def test_a_list_of_folders_also_with_brackets_in_their_names(write_run, compare):
    write_run("model.widths=[4,8],seed=0")
    write_run("b", seed=1)
    output = compare("runs=['runs/model.widths=[4,8],seed=0',runs/b]", "output=out")
    with (output / "cvc-random-64px/runs.csv").open() as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0", "1"]


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
        (change("metrics.json", lambda text: text[:40]), "metrics.json: cannot be read"),
        (change("metrics.json", lambda text: "[]"), "metrics.json: not a JSON object"),
        (change("metrics.json", lambda text: "{}"), "lacks 'equivariance'"),
        (change("metrics.json", edit_json(seed="x")), "holds what it should not"),
        (change("metrics.json", edit_json(equivariance={"curve": 1})), "holds what it should not"),
        (change("provenance.json", lambda text: "{}"), "lacks 'training_seconds'"),
        (change("split.json", lambda text: '{"train": []}'), "split.json: not lists"),
        (change("split.json", edit_json(test=["a"])), "scores.csv: holds other images"),
        (change("scores.csv", lambda text: text.replace("iou", "jaccard")), "lacks the column iou"),
        (change("scores.csv", lambda text: ""), "lacks the column"),
        (change("scores.csv", lambda text: text.splitlines()[0]), "holds no rows"),
        (change("scores.csv", lambda text: text.replace("0.1", "nan")), "not all finite"),
        (change("scores.csv", lambda text: text.replace("0.1", "much")), "not all numbers"),
        (change("scores.csv", lambda text: text + "a,1,1,1,1,1\n"), "image 'a' twice"),
        (change("equivariance.csv", lambda text: text[: len(text) // 2]), "equivariance.csv: "),
        (change(".hydra/config.yaml", lambda text: "a: [1"), "config.yaml: cannot be read"),
        (change(".hydra/config.yaml", lambda text: "- 1"), "config.yaml: not a config"),
    ],
)
def test_bad_runs_are_refused_in_one_line(write_run, refused, spoil, told):
    spoil(write_run)
    assert told in refused("runs=runs", "output=out")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "output and runs missing: python scripts/compare.py"),
        (["runs=runs"], "output missing"),
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
