"""The real benchmark at the smallest sizes."""

import csv
import math
from pathlib import Path

import pytest

TINY = [
    "threads=1",
    "image_size=16",
    "batch_size=2",
    "rounds=1",
    *(f"models.{name}.widths=[2,2]" for name in ("p4unet", "se2unet", "steerableunet")),
    *(f"models.{name}.layers.kernel_size=3" for name in ("se2unet", "steerableunet")),
    *(f"models.{name}.layers.rotations=4" for name in ("se2unet", "steerableunet")),
    "families.image_size=16",
    "families.rounds=1",
    "peers.rounds=1",
    "data.images=16",
    "data.image_size=16",
    *(f"sweep.models.{name}.widths=[2,2]" for name in ("p4unet", "unet")),
    "sweep.image_size=16",
    "sweep.rounds=1",
    "sweep.angles=[0,45]",
    "start.rounds=1",
    "memory.predictions=[2,4]",
    "scaling.rounds=1",
    "scaling.model.widths=[2,2]",
    "scaling.axes.image_size=[16,32]",
    "scaling.axes.batch_size=[1,2]",
    "scaling.axes.rotations=[1,4]",
]


@pytest.fixture
def measured(script, tmp_path: Path):
    """Runs the script at tiny sizes; gives the rows of benchmark.csv by what they are of."""

    def run(measure: str, *options: str) -> dict[str, dict[str, str]]:
        folder = f"hydra.run.dir={tmp_path / 'out'}"
        script("benchmark", *TINY, f"measure=[{measure}]", *options, folder)
        with (tmp_path / "out" / "benchmark.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert {row["measure"] for row in rows} <= {measure}
        assert all(math.isfinite(float(row["value"])) for row in rows)
        return {row["what"]: row for row in rows}

    return run
