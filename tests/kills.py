"""Kills a run at random moments and resumes it each time, until it is finished.

python -m tests.kills COUNT [SEED] does so, and compares it bit by bit with a run that nothing
stops.
"""

import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

OPTIONS = [
    "model.widths=[4,4]",
    "data.image_size=32",
    "data.batch_size=4",
    "data.dataset.images=20",
    "augmentation=full",
    "trainer=cpu",
    "evaluation.angles=[0,45,90]",
]
TABLES = ("metrics.json", "scores.csv", "equivariance.csv", "split.json")

# Its processes have everything imported when they start, and are then told what to run.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["polyp.commands.train", "polyp.runs.train", "albumentations"])


def train(folder: Path, options: list[str]) -> None:
    """Runs `polyp train`, as a process of its own does."""
    from polyp.commands.train import main

    sys.argv = ["train.py", *OPTIONS, *options, f"hydra.run.dir={folder}"]
    with Path(os.devnull).open("w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        main()


def start(folder: Path, options: list[str]) -> multiprocessing.Process:
    process = _processes.Process(target=train, args=(folder, options))
    process.start()
    return process


def undisturbed(folder: Path, options: list[str]) -> float:
    """A run that nothing stops; returns how many seconds it took."""
    first = _processes.Process(target=os.getpid)  # waits until everything is imported
    first.start()
    first.join()
    started = time.monotonic()
    process = start(folder, options)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - started


def killed(
    folder: Path, options: list[str], count: int, longest: float, rng: random.Random
) -> list[str]:
    """A run that is killed up to `count` times, each within `longest` seconds from its start.

    Returns:
        What each kill found of the run.
    """
    found: list[str] = []
    while True:
        last = folder / "checkpoints" / "last.ckpt"
        resume = [f"resume={last}"] if last.exists() else []
        process = start(folder, [*options, *resume])
        process.join(rng.uniform(0, longest) if len(found) < count else None)
        if process.exitcode is not None:
            assert process.exitcode == 0, f"{folder}: ended with {process.exitcode} after {found}"
            return found
        process.kill()
        process.join()
        found.append(_state(folder))


def _state(folder: Path) -> str:
    last = folder / "checkpoints" / "last.ckpt"
    if (folder / "metrics.json").exists():
        return "finished"
    if not last.exists():
        return "no checkpoint"
    return f"epoch {torch.load(last, weights_only=True)['DataModule']['epoch']}"


def assert_same(one: Path, other: Path) -> None:
    """The same weights and results, bit by bit."""
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (
            torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]
            for folder in (one, other)
        )
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name
    for name in TABLES:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def run(place: Path, epochs: int, count: int, seed: int, longest: Callable[[float], float]) -> list:
    """Kills a run of so many epochs, and compares it with an undisturbed one.

    Args:
        place: an empty folder.
        epochs: of the run.
        count: how often it is killed at most.
        seed: of the moments.
        longest: seconds of the undisturbed run → the latest moment of a kill, from each start.
    """
    options = [f"trainer.max_epochs={epochs}"]
    seconds = undisturbed(place / "whole", options)
    found = killed(place / "killed", options, count, longest(seconds), random.Random(seed))
    assert_same(place / "whole", place / "killed")
    return found


def main() -> None:
    count, seed = int(sys.argv[1]), int((sys.argv[2:] or ["0"])[0])
    found = run(Path(tempfile.mkdtemp(prefix="kills-")), 40, count, seed, lambda whole: whole / 3)
    print(f"{len(found)} kills, then bit-identical; what they met: {', '.join(found)}")


if __name__ == "__main__":
    main()
