"""Measures time and memory."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from polyp.training import BCEDiceLoss


def alternating(
    tasks: Mapping[Any, Callable[[], object]],
    rounds: int,
    device: torch.device | str,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Any, float]:
    """Median seconds of each task. They take turns, so other processes slow all of them alike."""
    for task in tasks.values():  # allocates and chooses algorithms
        task()
    seconds: dict[Any, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            _wait(device)
            started = clock()
            task()
            _wait(device)
            seconds[name].append(clock() - started)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def _wait(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


class TrainingStep:
    """One training step on random images when called: forward, backward and optimiser.

    Args:
        model: takes images [B, 3, S, S] to logits [B, 1, S, S]; is moved to `device`.
        batch_size, image_size: B and S.
        bfloat16: under autocast, as trainer.precision=bf16-mixed trains.
    """

    def __init__(
        self,
        model: nn.Module,
        batch_size: int,
        image_size: int,
        device: torch.device | str,
        bfloat16: bool = False,
    ):
        self.model, self.loss = model.to(device).train(), BCEDiceLoss()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.image = images(batch_size, image_size, device)
        self.mask = self.image[:, :1] > 0.5
        self.bfloat16 = bfloat16

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        with torch.autocast(self.image.device.type, torch.bfloat16, enabled=self.bfloat16):
            loss: Tensor = self.loss(self.model(self.image), self.mask)
        loss.backward()
        self.optimizer.step()


def images(batch_size: int, image_size: int, device: torch.device | str) -> Tensor:
    """Random images [B, 3, S, S] in [0, 1]."""
    return torch.rand(batch_size, 3, image_size, image_size, device=device)


def in_fresh_process(function: Callable, *arguments: Any) -> Any:
    """The result of a module's function that is called in a new Python process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_megabytes(device: torch.device | str) -> float:
    """The peak memory of this process, or its peak on the GPU; NaN if unknown."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")  # only on Linux: the peak of this process
    if not status.exists():
        return math.nan
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 2**10


def exponent(work: Sequence[float], cost: Sequence[float]) -> float:
    """The exponent of cost against work: the slope of a line through their logarithms.

    1 means proportional, more than 1 super-linear.
    """
    x, y = ([math.log(value) for value in values] for values in (work, cost))
    return statistics.linear_regression(x, y).slope
