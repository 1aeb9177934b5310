"""Runs the chosen measurements."""

from importlib import import_module
from pathlib import Path

import torch
from omegaconf import DictConfig

from benchmarks import report
from benchmarks.result import Result, Skipped
from benchmarks.scaling import Curve
from polyp.errors import UserError

MEASURES = ("steps", "families", "peers", "data", "sweep", "start", "memory", "scaling")


def benchmark(config: DictConfig, folder: Path) -> str:
    """Measures what config.measure names; writes benchmark.csv, .md and .png, and returns the page.

    Raises:
        UserError: an unknown measurement, or none; an unknown model or device. Raised before
            anything is measured.
    """
    names = [config.measure] if isinstance(config.measure, str) else list(config.measure)
    unknown = [name for name in names if name not in MEASURES]
    if unknown or not names:
        raise UserError(
            f"measure={','.join(map(str, unknown))}: must be some of {', '.join(MEASURES)}, such "
            "as measure=[steps,peers]"
        )
    _check(config)
    torch.set_num_threads(config.threads)
    results: list[Result] = []
    skipped: list[Skipped] = []
    curves: list[Curve] = []
    for name in names:
        measured = import_module(f"benchmarks.{name}").measure(config)
        if name == "scaling":
            measured, curves = measured
        for item in measured:
            if isinstance(item, Skipped):
                skipped.append(item)
                print(f"{item.measure:8} skipped: {item.what}: {item.reason}", flush=True)
            else:
                results.append(item)
                print(report.line(item), flush=True)
    return report.write(results, skipped, curves, config, folder)


def _check(config: DictConfig) -> None:
    if config.data.model not in config.models:
        raise UserError(
            f"data.model={config.data.model}: must be one of {', '.join(config.models)}"
        )
    try:
        torch.empty(0, device=config.device)
    except (RuntimeError, AssertionError) as error:  # builds without CUDA raise the second
        raise UserError(f"device={config.device}: not available") from error
