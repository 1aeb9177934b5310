"""The cost of a training step of every network, relative to p4unet: one table."""

import time
from collections.abc import Iterator, Sequence

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from benchmarks.memory import step_peak
from benchmarks.result import Result
from benchmarks.timing import TrainingStep, alternating, in_fresh_process
from polyp.models import multiply_adds

REFERENCE = "p4unet"
QUANTITIES = ("parameters", "MACs", "training step", "memory")


def measure(config: DictConfig) -> Iterator[Result]:
    """Parameters, MACs per image, and time and memory of a step relative to p4unet's.

    Times are medians; each network takes turns with p4unet. With one thread they are processor
    times, which other processes do not lengthen. Memory is the peak of two steps in a process of
    their own, minus the memory in use before.
    """
    options = config.families
    sizes = options.batch_size, options.image_size, config.device
    reference = options.models[REFERENCE]
    least = _peak(reference, sizes)
    alone = config.threads == 1 and config.device == "cpu"
    clock = time.process_time if alone else time.perf_counter
    for name, model_config in options.models.items():
        model = instantiate(model_config)
        parameters = sum(p.numel() for p in model.parameters())
        work = multiply_adds(model, options.image_size) / 1e9
        steps = {
            "p4": TrainingStep(instantiate(reference), *sizes),
            "own": TrainingStep(model, *sizes),
        }
        seconds = alternating(steps, options.rounds, config.device, clock)
        del model, steps
        peak = least if name == REFERENCE else _peak(model_config, sizes)
        times = f"{seconds['own']:.3f} s / {seconds['p4']:.3f} s"
        megabytes = f"{peak:.0f} MB / {least:.0f} MB"
        # In the order of QUANTITIES: value, unit and detail.
        measured = (
            (parameters, "", ""),
            (work, "G", f"an image of {options.image_size} px"),
            (seconds["own"] / seconds["p4"], "×", times),
            (peak / least, "×", megabytes),
        )
        for quantity, (value, unit, detail) in zip(QUANTITIES, measured, strict=True):
            yield Result("families", f"{name}: {quantity}", value, unit, detail=detail)


def table(results: Sequence[Result]) -> list[str]:
    """The lines of the table, a row per network; none without results of this measurement."""
    rows: dict[str, list[Result]] = {}
    for result in results:
        if result.measure == "families":
            rows.setdefault(result.what.split(": ")[0], []).append(result)
    if not rows:
        return []
    header = ("`model=`", "parameters", "G MACs", "step / p4unet's", "memory / p4unet's")
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header))]
    for name, (parameters, work, step, memory) in rows.items():
        cells = (f"{parameters.value:,}", *(f"{r.value:.2f}" for r in (work, step, memory)))
        lines.append("| " + " | ".join((f"`{name}`", *cells)) + " |")
    return lines


def _peak(model_config: DictConfig, sizes: tuple[int, int, str]) -> float:
    plain = OmegaConf.to_container(model_config, resolve=True)
    return in_fresh_process(step_peak, plain, False, *sizes)
