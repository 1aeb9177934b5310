"""How soon the command line answers, and how soon training begins."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from omegaconf import DictConfig

from polyp.benchmark.result import Result

CONFIG_TARGET, STEP_TARGET = 1.5, 8.0
ROOT = Path(__file__).parents[2]
FIRST_STEP = "optimizer._target_=polyp.benchmark.first_step.FirstStep"


def measure(config: DictConfig) -> list[Result]:
    """`train.py --cfg job`; `train.py` up to its first training step; and what these import."""
    answer = [_train("--cfg", "job") for _ in range(config.start.rounds)]
    with tempfile.TemporaryDirectory() as folder:
        options = [*config.start.options, FIRST_STEP]
        step = [
            _train(*options, f"hydra.run.dir={folder}/{index}")
            for index in range(config.start.rounds)
        ]
    command = " ".join(["train.py", *config.start.options])
    return [
        _seconds("train.py --cfg job", answer, CONFIG_TARGET),
        _imports("train.py --cfg job", answer, "torch"),
        _seconds(f"{command}, to its first step", step, STEP_TARGET),
        _imports(command, step, "e2cnn"),
    ]


def _train(*arguments: str) -> tuple[float, float, set[str]]:
    """Seconds, seconds of processor time, and the modules imported by train.py."""
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "train.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, after = time.perf_counter() - started, os.times()
    processor = sum(after[2:4]) - sum(before[2:4])  # of the children
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return seconds, processor, {line.split("|")[-1].strip() for line in lines}


def _seconds(what: str, runs: list[tuple[float, float, set[str]]], target: float) -> Result:
    seconds, processor = (statistics.median(run[i] for run in runs) for i in (0, 1))
    detail = f"{processor:.1f} s of processor time"
    return Result("start", what, seconds, "s", target, detail=detail)


def _imports(what: str, runs: list[tuple[float, float, set[str]]], module: str) -> Result:
    """0 if no run imported the module."""
    count = sum(module in imported for *_, imported in runs)
    return Result("start", f"{what}: runs that import {module}", count, "", 0)
