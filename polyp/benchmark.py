"""What each network costs, beside its floor.

The floor of a network is the plain U-Net with the same number of channels, orientations counted,
and the same kernel size: its convolutions are the same work, done by the same library routine. What
a network takes beyond it is the price of equivariance.
"""

import csv
import math
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from polyp.files import atomic_path
from polyp.layers import PlainLayers
from polyp.models import UNet, multiply_adds
from polyp.training import BCEDiceLoss

COLUMNS = {
    "model": "{}",
    "parameters": "{:,}",
    "multiply-adds (G)": "{:.2f}",
    "build (s)": "{:.2f}",
    "step (s)": "{:.3f}",
    "floor's step (s)": "{:.3f}",
    "step / floor": "{:.3f}",
    "peak memory (MB)": "{:.0f}",
    "floor's peak (MB)": "{:.0f}",
}


def benchmark(config: DictConfig, folder: Path) -> str:
    """Measures every model of the config; writes benchmark.csv and .md, and returns the latter.

    Step: one training step, forward, backward and optimiser, the median of `rounds`. Build: from
    the config, in a fresh process, with the imports that only this model needs. Peak memory: what
    the process's grows by for building and three training steps.
    """
    torch.set_num_threads(config.threads)
    rows = []
    for name, model_config in config.models.items():
        build, peak = _in_fresh_process(config, model_config, floor=False)
        _, floor_peak = _in_fresh_process(config, model_config, floor=True)
        model = instantiate(model_config)
        step, floor_step = _alternating_steps(
            [model, floor_of(model_config)], config.batch_size, config.image_size, config
        )
        values = (
            name,
            sum(p.numel() for p in model.parameters()),
            multiply_adds(model, config.image_size) / 1e9,
            build,
            step,
            floor_step,
            step / floor_step,
            peak,
            floor_peak,
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
        print(", ".join(_cells(rows[-1])), flush=True)
    with (
        atomic_path(folder / "benchmark.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    table = _markdown(rows, config)
    with atomic_path(folder / "benchmark.md") as temporary:
        temporary.write_text(table + "\n", encoding="utf-8")
    return table


def floor_of(model_config: DictConfig) -> UNet:
    """The plain U-Net with as many channels as the model has orientations of fields."""
    order = instantiate(model_config.layers).order
    widths = [order * fields for fields in model_config.widths]
    return UNet(widths, PlainLayers(model_config.layers.kernel_size))


def _alternating_steps(
    models: list[nn.Module], batch_size: int, image_size: int, config: DictConfig
) -> list[float]:
    """Median seconds of a training step of each, taken in turns: what slows one slows the other."""
    steps = [_TrainingStep(m.to(config.device), batch_size, image_size) for m in models]
    for step in steps:  # allocates and chooses algorithms
        step()
        step()
    seconds: list[list[float]] = [[] for _ in steps]
    for _ in range(config.rounds):
        for step, taken in zip(steps, seconds, strict=True):
            taken.append(step())
    return [statistics.median(taken) for taken in seconds]


class _TrainingStep:
    """A step on random images; called, it returns the seconds that it took."""

    def __init__(self, model: nn.Module, batch_size: int, image_size: int):
        self.model, self.loss = model.train(), BCEDiceLoss()
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        self.device = next(model.parameters()).device
        shape = (batch_size, image_size, image_size)
        self.image = torch.rand(shape[0], 3, *shape[1:], device=self.device)
        self.mask = torch.rand(shape[0], 1, *shape[1:], device=self.device) > 0.5

    def __call__(self) -> float:
        self._wait()
        started = time.perf_counter()
        self.optimizer.zero_grad()
        loss: Tensor = self.loss(self.model(self.image), self.mask)
        loss.backward()
        self.optimizer.step()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _in_fresh_process(
    config: DictConfig, model_config: DictConfig, floor: bool
) -> tuple[float, float]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        plain = OmegaConf.to_container(model_config, resolve=True)
        return pool.submit(
            _build_and_peak, plain, floor, config.batch_size, config.image_size, config.device
        ).result()


def _build_and_peak(
    plain: dict, floor: bool, batch_size: int, image_size: int, device: str
) -> tuple[float, float]:
    """Seconds to build a model, and megabytes that building and training it takes."""
    model_config = OmegaConf.create(plain)
    torch.ones(1, device=device)  # starts the device
    before = _peak_megabytes(device)
    started = time.perf_counter()
    model = floor_of(model_config) if floor else instantiate(model_config)
    build = time.perf_counter() - started
    step = _TrainingStep(model.to(device), batch_size, image_size)
    for _ in range(3):
        step()
    return build, _peak_megabytes(device) - before


def _peak_megabytes(device: str) -> float:
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")  # Linux alone tells the peak of this very process
    if not status.exists():
        return math.nan
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 2**10


def _cells(row: dict) -> list[str]:
    return [form.format(row[column]) for column, form in COLUMNS.items()]


def _markdown(rows: list[dict], config: DictConfig) -> str:
    lines = [
        f"Training on {config.device}, {config.threads} threads, float32, batches of "
        f"{config.batch_size} images of {config.image_size}×{config.image_size} pixels; "
        f"medians of {config.rounds} steps, alternating with the floor's; torch "
        f"{torch.__version__}.",
        "",
        *("| " + " | ".join(cells) + " |" for cells in (COLUMNS, ["---"] * len(COLUMNS))),
        *("| " + " | ".join(_cells(row)) + " |" for row in rows),
    ]
    return "\n".join(lines)
