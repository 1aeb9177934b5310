"""Measures the time until the command line answers, and until training starts."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from omegaconf import DictConfig

from benchmarks.result import Result
from polyp.errors import UserError

CONFIG_TARGET, STEP_TARGET = 1.5, 8.0
ROOT = Path(__file__).parents[1]
FIRST_STEP = "optimizer._target_=benchmarks.first_step.FirstStep"


def measure(config: DictConfig) -> list[Result]:
    """The times of `train.py --cfg job` and of `train.py` until its first step; their imports."""
    rounds = config.start.rounds
    command = " ".join(["train.py", *config.start.options])
    with tempfile.TemporaryDirectory() as folder:
        step = [*config.start.options, FIRST_STEP, f"hydra.run.dir={folder}"]
        return [
            _seconds("train.py --cfg job", ["--cfg", "job"], rounds, CONFIG_TARGET),
            _imports("train.py --cfg job", ["--cfg", "job"], "torch"),
            _seconds(f"{command}, to its first step", step, rounds, STEP_TARGET),
            _imports(command, step, "e2cnn"),
        ]


def _seconds(what: str, arguments: list[str], rounds: int, target: float) -> Result:
    seconds, processor = [], []
    for _ in range(rounds):
        before, started = os.times(), time.perf_counter()
        _train(arguments)
        seconds.append(time.perf_counter() - started)
        after = os.times()
        processor.append(sum(after[2:4]) - sum(before[2:4]))  # of the children
    detail = f"{statistics.median(processor):.1f} s of processor time"
    return Result("start", what, statistics.median(seconds), "s", target, detail=detail)


def _imports(what: str, arguments: list[str], module: str) -> Result:
    """1 if it imports the module, else 0."""
    lines = _train(arguments, "-X", "importtime").splitlines()
    imported = any(
        line.startswith("import time:") and line.split("|")[-1].strip() == module for line in lines
    )
    return Result("start", f"{what}: imports of {module}", int(imported), "", 0)


def _train(arguments: list[str], *options: str) -> str:
    """The standard error of train.py."""
    done = subprocess.run(
        [sys.executable, *options, "train.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:]
        raise UserError(f"start.options: train.py {' '.join(arguments)} ends with {reason}")
    return done.stderr
