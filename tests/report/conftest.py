"""Run folders written directly, and scripts/compare.py's command line."""

import csv
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[2]
ANGLES = (0.0, 45.0, 90.0)
SHIFTS = ((1.0, 0.0), (-5.0, 11.0), (0.5, 0.5), (16.0, 16.0))


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder as train.py would leave it, below tmp_path / "runs"; gives its path.

    config: dotted keys of .hydra/config.yaml that differ from the default, with their values.
    dice: of the test images, in their order; random where it is not given, so is the consistency.
    groups: of the test images. columns: further ones of scores.csv, by name.
    others: images of further test sets, by name; with the same dice, and as long.
    instrument: also what runs of today measure beside the consistency: parts, logit error, shifts.
    """

    def write(
        name: str,
        model: str = "unet",
        seed: int = 0,
        config: dict | None = None,
        dice: Iterable[float] | None = None,
        test: Iterable[str] = ("a", "b", "c", "d", "e", "f"),
        train: Iterable[str] = ("t1", "t2"),
        angles: Iterable[float] = ANGLES,
        area: float = 0.1,
        started: str = "2026-01-01T00:00:00+00:00",
        groups: Iterable[str] | None = None,
        columns: dict[str, list] | None = None,
        others: dict[str, list[str]] | None = None,
        instrument: bool = False,
        **metrics,
    ) -> Path:
        folder = tmp_path / "runs" / name
        (folder / ".hydra").mkdir(parents=True)
        test, angles = list(test), list(angles)
        generator = np.random.default_rng([seed, *name.encode()])
        draw = generator.uniform

        def losses(angle: float) -> tuple:
            """Masks and logit error at each angle, image and corners at 45° alone."""
            two = (draw(0.9, 1), draw(0.8, 1)) if angle == 45 else ("", "")
            return (draw(0.9, 1), *two, draw(0, 0.5))

        dice = list(draw(0.4, 1, len(test)) if dice is None else dice)

        full = {
            "seed": seed,
            "trainer": {"max_epochs": 10, "devices": 1},
            "data": {"resize": "pad", "split": "random", "seed": "${seed}"},
            "model": {"_target_": "polyp.models.UNet", "widths": [4, 8]},
            "augmentation": {"transforms": []},
            "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.003},
        }
        composed = OmegaConf.create(full)
        for key, value in (config or {}).items():
            OmegaConf.update(composed, key, value)
        OmegaConf.save(composed, folder / ".hydra" / "config.yaml")

        parts = {"train": list(train), "val": ["v1"], "test": test}
        (folder / "split.json").write_text(json.dumps(parts))
        provenance = {"training_seconds": 60.0, "machine": "Linux", "gpu": None, "commit": "abc"}
        (folder / "provenance.json").write_text(json.dumps({**provenance, "started": started}))
        curve = {"angles": angles, "ceiling": [0.99] * len(angles)}
        values = {
            "model": model,
            "data": "cvc",
            "augmentation": "none",
            "split": "random",
            "seed": seed,
            "parameters": 1234567,
            "multiply_adds": 5_000_000_000,
            "image_size": 64,
            "epochs": 10,
            "equivariance": {"curve": curve},
            **metrics,
        }
        if others:
            values["test_sets"] = {name: {"equivariance": {"curve": curve}} for name in others}
        (folder / "metrics.json").write_text(json.dumps(values))
        columns = columns or {}
        groups = groups or [""] * len(test)
        sets = {"own": test, **(others or {})}
        write_csv(
            folder / "scores.csv",
            ",".join(["test_set,group,image,dice,iou,precision,recall,polyp_area", *columns]),
            [
                (name, group, image, d, d / (2 - d), d, d, area, *further)
                for name, images in sets.items()
                for image, group, d, *further in zip(
                    images, groups, dice, *columns.values(), strict=True
                )
            ],
        )
        write_csv(
            folder / "equivariance.csv",
            "test_set,group,image,angle,dice,dice_truth"
            + (",dice_masks,dice_image,dice_corners,logit_error" if instrument else ""),
            [
                (name, group, image, angle, 1.0 if angle == 0 else draw(0.5, 1), angle / 360)
                + (losses(angle) if instrument else ())
                for name, images in sets.items()
                for image, group in zip(images, groups, strict=True)
                for angle in angles
            ],
        )
        if instrument:
            write_csv(
                folder / "shifts.csv",
                "test_set,group,image,rows,columns,dice",
                [
                    (name, group, image, *shift, draw(0.5, 1))
                    for name, images in sets.items()
                    for image, group in zip(images, groups, strict=True)
                    for shift in SHIFTS
                ],
            )
        return folder

    return write


def write_csv(path: Path, header: str, rows: Iterable[tuple]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Runs scripts/compare.py's main in this process, as the shell would; gives its output."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Path:
        import compare

        arguments = arguments or ("runs=runs", "output=out")
        monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
        compare.main()
        return tmp_path / "out"

    return run


@pytest.fixture
def refused(compare, capfd: pytest.CaptureFixture, tmp_path: Path) -> Callable[..., str]:
    """Runs it, and it must end with status 1 and one line, and write nothing: that line."""

    def run(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as exit:
            compare(*arguments)
        assert exit.value.code == 1
        lines = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        assert sorted(tmp_path.rglob("*")) == before
        return lines[0]

    return run
