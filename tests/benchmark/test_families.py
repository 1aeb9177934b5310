"""The table of all networks: its numbers are those of the networks."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from benchmarks import families
from benchmarks.families import table
from benchmarks.result import Result
from polyp.models import multiply_adds
from tests.conftest import CONFIGS

KEPT = ("p4unet", "lieunet")


def composed():
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("benchmark")


def test_the_table_of_two_networks(measured, tmp_path, monkeypatch):
    # Memory is measured in tests/benchmark/test_measures.py, in processes that take seconds.
    peaks = iter([100.0, 150.0])
    monkeypatch.setattr(families, "in_fresh_process", lambda *_: next(peaks))
    models = composed().families.models
    options = [f"~families.models.{name}" for name in models if name not in KEPT]
    options += [f"families.models.{name}.widths=[2,2]" for name in KEPT]
    rows = measured("families", *options)
    page = (tmp_path / "out" / "benchmark.md").read_text(encoding="utf-8")
    assert "All networks, in batches of 2 images of 16 pixels:\n\n| `model=` |" in page
    for name in KEPT:
        config = models[name]
        config.widths = [2, 2]
        model = instantiate(config)
        parameters = sum(p.numel() for p in model.parameters())
        assert float(rows[f"{name}: parameters"]["value"]) == parameters
        work = float(rows[f"{name}: MACs"]["value"])
        assert work == pytest.approx(multiply_adds(model, 16) / 1e9)
        assert f"| `{name}` | {parameters:,} | {work:.2f} | " in page
        step, p4 = (
            float(part.split()[0]) for part in rows[f"{name}: training step"]["detail"].split(" / ")
        )
        ratio = float(rows[f"{name}: training step"]["value"])
        assert ratio == pytest.approx(step / p4, rel=0.3)  # of rounded numbers
    assert float(rows["p4unet: memory"]["value"]) == 1
    assert rows["lieunet: memory"]["detail"] == "150 MB / 100 MB"
    assert float(rows["lieunet: memory"]["value"]) == 1.5


def test_every_network_is_in_the_table():
    models = composed().families.models
    in_configs = {path.stem for path in (CONFIGS / "model").glob("*.yaml")}
    full = {name for name in in_configs if not name.endswith("_small")}
    # The same cost as se2unet; of other libraries.
    assert full - set(models) == {"se2unet_bilinear", "monai_dynunet", "smp"}
    assert models.lieunet.layers.separable
    assert not models.lieunet_dense.layers.separable
    assert models.symmetrized.in_training


def test_the_page_in_the_docs_has_every_network_with_its_parameters():
    """Of the last measurement; times and memory cannot be measured again here."""
    models = composed().families.models
    text = (CONFIGS.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    section = text.split("## All networks")[1]
    lines = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    shown = {cells[0].strip("| `"): cells[1] for cells in lines[1:]}
    quick = ("p4unet", "unet_wide", "lieunet", "canonicalized")
    assert set(shown) == set(models)
    for name in quick:
        parameters = sum(p.numel() for p in instantiate(models[name]).parameters())
        assert shown[name] == f"{parameters:,}"


def test_how_the_table_is_written():
    values = {"parameters": 1234, "MACs": 2.5, "training step": 3.456, "memory": 0.999}
    results = [Result("families", f"net: {what}", value, "") for what, value in values.items()]
    assert table(results)[-1] == "| `net` | 1,234 | 2.50 | 3.46 | 1.00 |"
    assert table([Result("steps", "a", 1, "×")]) == []
