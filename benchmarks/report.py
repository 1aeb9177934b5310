"""Writes the results of the benchmark: benchmark.csv, benchmark.md and benchmark.png."""

import csv
import math
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig

from benchmarks.families import table
from benchmarks.figure import scaling_figure
from benchmarks.result import Result, Skipped
from benchmarks.scaling import Curve
from polyp.files import atomic_path

HEADER = ("measure", "what", "value", "unit", "target", "reached", "detail")


def write(
    results: Sequence[Result],
    skipped: Sequence[Skipped],
    curves: Sequence[Curve],
    config: DictConfig,
    folder: Path,
) -> str:
    """Writes the table, the page and, if there are curves, the figure; returns the page."""
    with (
        atomic_path(folder / "benchmark.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for r in results:
            reached = _yes_or_no(r.reached)
            writer.writerow(
                (r.measure, r.what, r.value, r.unit, target(r), reached, r.detail),
            )
    page = _page(results, skipped, config)
    with atomic_path(folder / "benchmark.md") as temporary:
        temporary.write_text(page + "\n", encoding="utf-8")
    if curves:
        with atomic_path(folder / "benchmark.png") as temporary:
            title = f"{config.scaling.name} on {machine(config)}"
            scaling_figure(curves, title).savefig(temporary)
    return page


def line(result: Result) -> str:
    """A result for the terminal."""
    short = f"{result.measure:8} {result.what}: {value(result)}"
    if result.target is None:
        return short
    return f"{short} (target {target(result)}{'' if result.reached else ', not reached'})"


def value(result: Result) -> str:
    """The number with its unit, such as "1.002×"."""
    if math.isnan(result.value):
        return "unknown here"
    number = f"{result.value:.0f}" if result.value == int(result.value) else f"{result.value:.3f}"
    return f"{number}{' ' if result.unit not in ('', '×') else ''}{result.unit}"


def target(result: Result) -> str:
    """The target, such as "≤ 1.03"; empty without one."""
    if result.target is None:
        return ""
    return f"{'≥' if result.at_least else '≤'} {result.target:g}"


def machine(config: DictConfig) -> str:
    """The processor or GPU of the measurements."""
    if torch.device(config.device).type == "cuda":
        return torch.cuda.get_device_name(config.device)
    return f"{_processor()}, {config.threads} thread{'s' if config.threads > 1 else ''}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")  # of Linux; platform.processor() is empty there
    if information.exists():
        for row in information.read_text(encoding="utf-8").splitlines():
            if row.startswith("model name"):
                return row.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _page(results: Sequence[Result], skipped: Sequence[Skipped], config: DictConfig) -> str:
    columns = ("what", "measured", "target", "reached", "details")
    lines = [
        f"Measured on {machine(config)}, torch {torch.__version__}; batches of "
        f"{config.batch_size} images of {config.image_size}×{config.image_size} pixels in float32, "
        "unless stated otherwise. Ratios are ratios of medians of alternating repetitions.",
        "",
        *("| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns))),
    ]
    for r in results:
        if r.target is not None:
            cells = (r.what, value(r), target(r), _yes_or_no(r.reached), r.detail)
            lines.append("| " + " | ".join(cells) + " |")
    if families := table(results):
        sizes = f"{config.families.batch_size} images of {config.families.image_size} pixels"
        lines += ["", f"All networks, in batches of {sizes}:", "", *families]
    lines += [""] * bool(skipped)
    lines += [f"Skipped: {missing.what}: {missing.reason}" for missing in skipped]
    return "\n".join(lines)


def _yes_or_no(reached: bool | None) -> str:
    return {None: "", True: "yes", False: "no"}[reached]
